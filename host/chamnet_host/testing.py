"""The contracts that every transport, shell and executor keep; shipped for plug-ins' tests."""

import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from chamnet.errors import ConfigError, DeviceError, DeviceUnreachableError
from chamnet.networks import Architecture, Stage
from chamnet.train import Job, Recipe
from chamnet_host.client import DeviceClient
from chamnet_host.training.executors.base import Executor
from chamnet_host.transport.base import Transport
from chamnet_host.transport.shell import DeviceShell, Upload

__all__ = ["SHORT_TRAINING", "DeviceShellContract", "ExecutorContract", "TransportContract", "endless"]

_PATIENCE_S = 240.0  # for what takes a second on an idle machine
_LEAVE_S = 60.0

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
        with DeviceClient(
            connection.address, connection.token, timeout_s=_PATIENCE_S, tls=connection.tls
        ) as client:
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


class DeviceShellContract:
    """What every shell of a device keeps. Subclass it as `Test...` and give a `shell` fixture.

    Attributes:
        folder: On the device, to write to; its parent exists.
        sh: Path of its shell.
        echo: Command that listens on a port of the device's loopback and sends back what comes, for `{port}`.
        port: On the device; free.
    """

    folder = "/data/local/tmp/contract"
    sh = "/system/bin/sh"
    echo = "nc -L -p {port} cat"
    port = 18_766

    @pytest.fixture
    def shell(self) -> DeviceShell:
        """Return the shell of a device that can be reached."""
        raise NotImplementedError("give a shell fixture")

    def test_a_command_ends_with_its_code_and_both_outputs_apart(self, shell: DeviceShell) -> None:
        """Nothing is mixed, nothing is lost, and the shell's own rules hold."""
        done = shell.run("echo out; echo 'e r r' >&2; x=7; exit $x")
        assert (done.code, done.stdout, done.stderr) == (7, "out\n", "e r r\n")

    def test_a_command_has_nothing_to_read(self, shell: DeviceShell) -> None:
        """One that reads stdin does not wait."""
        assert shell.run("cat; echo end").stdout == "end\n"

    def test_long_output_is_whole(self, shell: DeviceShell) -> None:
        """Megabytes arrive to the last byte."""
        done = shell.run("seq 200000; seq 5 >&2")
        assert done.stdout == "".join(f"{i}\n" for i in range(1, 200_001))
        assert done.stderr == "1\n2\n3\n4\n5\n"

    def test_a_command_that_does_not_end_is_given_up(self, shell: DeviceShell) -> None:
        """The budget holds, and other commands still run."""
        with pytest.raises(DeviceUnreachableError, match="sleep 20"):
            shell.run("sleep 20", timeout_s=0.3)
        assert shell.run("echo still here").code == 0

    def test_what_is_left_in_the_background_goes_on(self, shell: DeviceShell) -> None:
        """A command that detaches something ends at once, and the other thing when it is let."""
        mark, leave = f"{self.folder}/mark", f"{self.folder}/leave"
        shell.run(
            f"mkdir -p {self.folder}; rm -f {mark} {leave};"
            f" setsid sh -c 'until [ -e {leave} ]; do sleep 0.1; done; touch {mark}' </dev/null >/dev/null 2>&1 &"
        )
        assert shell.read(mark) is None
        shell.run(f"touch {leave}")
        deadline_s = time.monotonic() + _PATIENCE_S
        while shell.read(mark) is None:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert shell.read(mark) == b""

    def test_files_arrive_as_they_are(self, shell: DeviceShell, tmp_path: Path) -> None:
        """Empty, long, binary, oddly named, in folders that do not exist yet; and they come back."""
        contents = {
            "empty": b"",
            "deep/er/still/file.txt": b"text\n",
            "odd name, with commas 'and' ünïcode": b"odd",
            "binary": bytes(range(256)) * 256,
            "long": b"0123456789abcdef" * 300_001,
        }
        shell.run(f"rm -rf {self.folder}")
        assert shell.push(_uploads(contents, tmp_path, self.folder)) == sum(map(len, contents.values()))
        for name, content in contents.items():
            assert shell.read(f"{self.folder}/{name}") == content

    def test_many_files_arrive(self, shell: DeviceShell, tmp_path: Path) -> None:
        """As many as a bundle has."""
        contents = {f"many/{i // 50}/{i}": b"x" * i for i in range(400)}
        shell.run(f"rm -rf {self.folder}")
        shell.push(_uploads(contents, tmp_path, self.folder))
        assert shell.run(f"find {self.folder}/many -type f | wc -l").stdout.strip() == "400"
        assert shell.read(f"{self.folder}/many/7/399") == b"x" * 399

    def test_programs_stay_programs(self, shell: DeviceShell, tmp_path: Path) -> None:
        """The owner's permissions arrive; what ran from the old file is not changed under its feet."""
        script = tmp_path / "script"
        for words in ("first", "second"):
            script.write_text(f"#!{self.sh}\necho {words}\n")
            shell.push([Upload(source=script, target=f"{self.folder}/script", mode=0o755)])
            assert shell.run(f"{self.folder}/script").stdout == f"{words}\n"

    def test_a_file_that_cannot_be_written_is_named(self, shell: DeviceShell, tmp_path: Path) -> None:
        """The message says which, and the shell goes on."""
        file = tmp_path / "file"
        file.write_bytes(b"x" * 200_000)
        with pytest.raises(DeviceError, match=f"{shell.name}: .*/proc/no/such"):
            shell.push([Upload(source=file, target="/proc/no/such")])
        assert shell.run("echo still here").code == 0

    def test_a_file_that_is_not_there_is_none(self, shell: DeviceShell) -> None:
        """Where a folder lies instead, that is an error."""
        assert shell.read(f"{self.folder}/absent") is None
        with pytest.raises(DeviceError, match="/proc"):
            shell.read("/proc")

    def test_a_port_is_brought_here(self, shell: DeviceShell) -> None:
        """Two connections at once, each with its own bytes, whole, both ways."""
        shell.run(f"{self.echo.format(port=self.port)} </dev/null >/dev/null 2>&1 &")
        host, _, port = shell.forward(self.port).partition(":")
        assert host == "127.0.0.1"
        content = bytes(range(256)) * 8_000
        with _patient(host, int(port)) as first, _patient(host, int(port)) as second:
            second.sendall(b"second")
            assert _exactly(second, 6) == b"second"
            for start in range(0, len(content), 32_000):
                first.sendall(content[start : start + 32_000])
                assert (
                    _exactly(first, len(content[start : start + 32_000])) == content[start : start + 32_000]
                )

    def test_a_port_where_nobody_listens_hangs_up(self, shell: DeviceShell) -> None:
        """The connection ends, it does not wait."""
        host, _, port = shell.forward(self.port + 1).partition(":")
        with socket.create_connection((host, int(port)), timeout=_PATIENCE_S) as connection:
            assert _ended(connection)

    def test_closing_ends_forwards(self, shell: DeviceShell) -> None:
        """Nobody listens here any more; closing again is harmless."""
        host, _, port = shell.forward(self.port).partition(":")
        shell.close()
        shell.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=10).close()


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


def _uploads(contents: dict[str, bytes], here: Path, there: str) -> list[Upload]:
    """Write files, and return how they are to be sent."""
    uploads = []
    for name, content in contents.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(content)
        uploads.append(Upload(source=here / name, target=f"{there}/{name}"))
    return uploads


def _patient(host: str, port: int) -> socket.socket:
    """Return a connection that echoes, once what listens at its far end has started."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        connection = socket.create_connection((host, port), timeout=_PATIENCE_S)
        try:
            connection.sendall(b"?")
            if connection.recv(1):
                return connection
        except ConnectionError:
            pass
        connection.close()
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count and (chunk := connection.recv(count - len(content))):
        content += chunk
    return content


def _ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
