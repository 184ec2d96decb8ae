"""Trainings in processes of this machine."""

import os
import signal
import time
from pathlib import Path

import pytest

from chamnet.train.recipe import Resources
from chamnet_host.testing import ExecutorContract, endless
from chamnet_host.training.executors import LocalExecutor

pytest.importorskip("sklearn")
pytestmark = pytest.mark.slow  # each process imports torch


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self) -> LocalExecutor:
        return LocalExecutor(2, Resources())


def trainings_of_this_process() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if parent == os.getpid() and b"chamnet.train" in command:
            found.append(int(entry.name))
    return found


def test_a_training_that_is_killed_has_crashed(tmp_path: Path) -> None:
    checkpoint = tmp_path / "cut.pt"
    with LocalExecutor(1, Resources()) as executor:
        future = executor.submit(endless(checkpoint))
        while not checkpoint.exists():  # the test's own timeout ends this
            time.sleep(0.05)
        (pid,) = trainings_of_this_process()
        os.kill(pid, signal.SIGKILL)
        outcome = future.result(240)
    assert outcome.status == "crashed"
    assert f"signal {signal.SIGKILL:d}" in outcome.message


def test_a_core_trains_one_network() -> None:
    cores = len(os.sched_getaffinity(0))
    assert LocalExecutor(None, Resources(cpus=1)).slots == cores
    assert LocalExecutor(None, Resources(cpus=10 * cores)).slots == 1
    assert LocalExecutor(3, Resources(cpus=10 * cores)).slots == 3
