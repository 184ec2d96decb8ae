"""A build on a Ray cluster whose node is lost in the middle: nothing is lost, nothing is trained twice."""

import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chamnet.lut import Store
from chamnet.predictors.trainings import TrainingLog
from chamnet.space import load_space, unit_grid
from chamnet.train import Job, Recipe
from chamnet_host.training.building import Build, BuildPlan, Until

pytest.importorskip("ray")
pytest.importorskip("sklearn")
from chamnet.train.trainer import train
from chamnet_host.training.executors.ray import RayExecutor
from tests.e2e.test_kill import alive, children

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    # Ray's cluster for tests drops the Popen of a node's reaper, which ends when its node does.
    pytest.mark.filterwarnings("ignore:.*subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*Popen.__del__:pytest.PytestUnraisableExceptionWarning"),
]

_STARTS = 3
SPACE = load_space("chamnet-mobile-28")
GRID = unit_grid(SPACE)
RECIPE = Recipe.from_dict(
    {
        "name": "seconds",
        "epochs": 8,
        "batch": 32,
        "images": 128,
        "held_out": 200,
        "optimiser": {"rate": 0.02},
    }
)
PLAN = BuildPlan(
    space=SPACE,
    macs=GRID.tables([unit.macs for unit in GRID.units]),
    dataset="digits",
    recipe=RECIPE,
    pool=32,
    initial=6,
    repeats=0,
    range=(3e5, 1e6),
    until=Until(trainings=6),
    device="cpu",
)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Start a cluster of a head that trains nothing and two nodes with one CPU each, which only this process finds."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # not 15, which starves on a busy machine
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # loopback
        patch.setenv("RAY_agent_register_timeout_ms", "100000")  # of 30 s, after which a node ends itself
        running = _started(Path(folder))
        try:
            yield running
        finally:
            running.shutdown()


def _started(folder: Path) -> Any:
    """Return a cluster; a node that does not start, which happens on busy machines, is tried again."""
    from ray.cluster_utils import Cluster

    for attempts_left in reversed(range(_STARTS)):
        before = set(children(os.getpid()))
        try:
            running = Cluster(
                initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
            )
            for _ in range(2):
                running.add_node(num_cpus=1)
        except Exception:
            sys.stderr.write(_last_words(folder))
            for pid in set(children(os.getpid())) - before:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not attempts_left:
                raise
        else:
            return running
    raise AssertionError("unreachable")


def _last_words(folder: Path) -> str:
    """Return the last lines of what Ray's processes wrote, for whoever reads why a test failed."""
    logs = (file for file in folder.rglob("logs/*") if file.is_file() and file.stat().st_size)
    return "\n".join(f"== {file.name}\n{file.read_text(errors='replace')[-800:]}" for file in sorted(logs))


class Killer(threading.Thread):
    """Kills a node once both nodes are in the middle of a training; `cut` names the trainings that ran then.

    Trainings that start far apart on a busy machine would miss each other, so each is stopped when it starts, and
    goes on, alone, up to its first checkpoint.
    """

    def __init__(self, cluster: Any, scratch: Path) -> None:
        super().__init__()
        self._cluster, self._scratch = cluster, scratch
        self._given_up = threading.Event()
        self._seen: set[int] = set()
        self.cut: set[str] = set()

    def run(self) -> None:
        while not self._given_up.is_set() and not self.cut:
            pair = [self._stopped_at_start(), self._stopped_at_start()]
            if all(self._stopped_at_checkpoint(pid, number) for number, pid in enumerate(pair, start=1)):
                self.cut = self._middle()
                self._cluster.remove_node(next(iter(self._cluster.worker_nodes)), allow_graceful=False)
            for pid in pair:
                _send(pid, signal.SIGCONT)

    def stop(self) -> None:
        self._given_up.set()
        self.join()

    def _middle(self) -> set[str]:
        return {path.stem for path in self._scratch.glob("*.pt")}

    def _stopped_at_start(self) -> int:
        """Return the process of the next training that starts, stopped; 0 where none does any more."""
        while not self._given_up.wait(0.02):
            for pid, text in children(os.getpid()).items():
                if "ray::chamnet_training" in text and pid not in self._seen:
                    self._seen.add(pid)
                    _send(pid, signal.SIGSTOP)
                    return pid
        return 0

    def _stopped_at_checkpoint(self, pid: int, number: int) -> bool:
        """Let a training go on until there are so many checkpoints; return whether there came to be."""
        _send(pid, signal.SIGCONT)
        while alive([pid]) and len(self._middle()) < number and not self._given_up.wait(0.005):
            pass
        _send(pid, signal.SIGSTOP)
        return len(self._middle()) == number


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid:
            os.kill(pid, number)


def test_a_lost_node_costs_no_training(cluster: Any, tmp_path: Path) -> None:
    plan = replace(PLAN, scratch=tmp_path / "scratch")
    killer = Killer(cluster, tmp_path / "scratch")
    with Store.open(tmp_path / "chamnet.db") as store:
        trainings = TrainingLog(store)
        with RayExecutor(None, RECIPE.resources, address=cluster.address) as executor:
            assert executor.slots == 2
            killer.start()
            try:
                done = Build(plan, trainings).run(executor)
            finally:
                killer.stop()
        rows = store.query("SELECT network, dataset, recipe, seed, status FROM training")
        assert trainings.read() == done
    assert len(killer.cut) == 2
    assert len(rows) == len({row[:4] for row in rows}) == 6
    assert {row[4] for row in rows} == {"ok"}
    jobs = {
        job.key: (job, training.top1)
        for training in done
        for job in [Job(architecture=training.architecture, dataset="digits", recipe=RECIPE, device="cpu")]
    }
    for key in killer.cut:
        job, top1 = jobs[key]
        assert train(job).top1 == top1
