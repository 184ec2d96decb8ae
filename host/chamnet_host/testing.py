"""The contracts that every transport and every executor keep; shipped for plug-ins' tests."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from chamnet.errors import ConfigError, DeviceError
from chamnet.networks import Architecture, Stage
from chamnet.train import Job, Recipe
from chamnet_host.client import DeviceClient
from chamnet_host.executors.base import Executor
from chamnet_host.transport.base import Transport

__all__ = ["SHORT_TRAINING", "ExecutorContract", "TransportContract", "endless"]

_PATIENCE_S = 90.0  # for what takes a second on an idle machine
_LEAVE_S = 15.0

SHORT_TRAINING = Job(
    architecture=Architecture(
        resolution=8,
        stem=8,
        stages=(Stage(expansion=2, filters=8, blocks=1, stride=2),),
        head=16,
        classes=10,
    ),
    dataset="digits",
    recipe=Recipe.from_dict({"name": "short", "epochs": 1, "batch": 32, "images": 128, "held_out": 100}),
    device="cpu",
)


class TransportContract:
    """What every transport keeps. Subclass it as `Test...` and give a `transport` fixture.

    Attributes:
        ends_agent: Whether `close` ends the agent, for `open` started it.
    """

    ends_agent = True

    @pytest.fixture
    def transport(self) -> Transport:
        """Return a transport whose device can be reached, not open yet."""
        raise NotImplementedError("give a transport fixture")

    def test_the_agent_answers_at_once(self, transport: Transport) -> None:
        """What `open` returns can be called at once."""
        connection = transport.open()
        try:
            with DeviceClient(connection.address, connection.token, tls=connection.tls) as client:
                assert client.health()
                assert client.describe().backends
        finally:
            transport.close()

    def test_opening_twice_is_opening_once(self, transport: Transport) -> None:
        """A second `open` returns the same connection."""
        try:
            assert transport.open() == transport.open()
        finally:
            transport.close()

    def test_closing_is_always_harmless(self, transport: Transport) -> None:
        """`close` may come before `open`, and twice."""
        transport.close()
        transport.open()
        transport.close()
        transport.close()

    def test_closing_ends_what_opening_started(self, transport: Transport) -> None:
        """After `close` an agent that `open` started is gone, and one that ran before is not."""
        connection = transport.open()
        transport.close()
        with DeviceClient(connection.address, connection.token, timeout_s=2, tls=connection.tls) as client:
            if self.ends_agent:
                with pytest.raises(DeviceError):
                    client.health()
            else:
                assert client.health()

    def test_the_token_stays_out_of_logs(self, transport: Transport) -> None:
        """Printing a connection does not print the token."""
        try:
            connection = transport.open()
            assert connection.token
            assert connection.token not in repr(connection)
        finally:
            transport.close()

    def test_there_are_last_words(self, transport: Transport) -> None:
        """The agent's last lines are text, even before it was opened."""
        assert isinstance(transport.last_words(), str)


class ExecutorContract:
    """What every executor keeps. Subclass it as `Test...` and give an `executor` fixture.

    Needs chamnet[train].
    """

    @pytest.fixture
    def executor(self) -> Executor:
        """Return an executor that is not entered yet, whose trainings see the files of this machine."""
        raise NotImplementedError("give an executor fixture")

    def test_a_training_comes_to_what_it_comes_to_here(self, executor: Executor) -> None:
        """Wherever it runs, a seed gives the same outcome."""
        from chamnet.train.trainer import train

        with executor:
            outcome = executor.submit(SHORT_TRAINING).result(_PATIENCE_S)
        assert outcome.status == "ok"
        assert outcome.top1 is not None
        assert 0 <= outcome.top1 <= 100
        assert outcome == train(SHORT_TRAINING)

    def test_trainings_may_be_submitted_together(self, executor: Executor) -> None:
        """Each future gives the outcome of its own training, be there room for both or not."""
        with executor:
            assert executor.slots >= 1
            futures = [executor.submit(replace(SHORT_TRAINING, seed=seed)) for seed in (0, 1)]
            outcomes = [future.result(_PATIENCE_S) for future in futures]
        assert [outcome.status for outcome in outcomes] == ["ok", "ok"]
        assert outcomes[0].loss != outcomes[1].loss

    def test_a_missing_dataset_is_an_error_of_its_own_kind(self, executor: Executor, tmp_path: Path) -> None:
        """What the training raises comes out of the future as it was."""
        job = replace(SHORT_TRAINING, dataset=f"fashion-mnist:{tmp_path}")
        with executor, pytest.raises(ConfigError, match=str(tmp_path)) as caught:
            executor.submit(job).result(_PATIENCE_S)
        assert type(caught.value) is ConfigError

    def test_a_training_that_diverges_is_an_outcome(self, executor: Executor) -> None:
        """A loss that is no number any more is no error."""
        recipe = SHORT_TRAINING.recipe
        wild = replace(recipe, epochs=20, optimiser=replace(recipe.optimiser, rate=1e9))
        with executor:
            outcome = executor.submit(replace(SHORT_TRAINING, recipe=wild)).result(_PATIENCE_S)
        assert (outcome.status, outcome.top1) == ("diverged", None)

    def test_leaving_ends_what_still_runs(self, executor: Executor, tmp_path: Path) -> None:
        """A training that runs, and one that waits for its turn perhaps, are gone soon after."""
        checkpoint = tmp_path / "running.pt"
        with executor:
            running = executor.submit(endless(checkpoint))
            more = [executor.submit(endless(tmp_path / f"{i}.pt", seed=i)) for i in range(executor.slots)]
            _wait_for(checkpoint)
            began_s = time.monotonic()
        assert time.monotonic() - began_s < _LEAVE_S
        for future in (running, *more):
            assert future.done()
            assert future.cancelled() or future.result().status == "crashed"
        left = checkpoint.stat().st_mtime_ns
        time.sleep(1)
        assert checkpoint.stat().st_mtime_ns == left


def endless(checkpoint: Path, *, seed: int = 0) -> Job:
    """Return a training that does not end by itself; the checkpoint appears after its first epoch."""
    return replace(
        SHORT_TRAINING,
        recipe=replace(SHORT_TRAINING.recipe, epochs=100_000),
        checkpoint=checkpoint,
        seed=seed,
    )


def _wait_for(path: Path) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while not path.exists():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"no {path.name} after {_PATIENCE_S:g} s")
        time.sleep(0.05)
