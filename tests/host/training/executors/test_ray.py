"""Trainings on Ray: on a cluster that runs already, and on one that is started for them."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from held_port import held_port

from chamnet.errors import ConfigError
from chamnet.train.recipe import Resources
from chamnet_host.testing import ExecutorContract

pytest.importorskip("ray")
pytest.importorskip("sklearn")
from chamnet_host.training.executors.ray import RayExecutor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Start a cluster of one node with two CPUs that only this process can find."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        patch.setenv("RAY_TMPDIR", folder)  # else it becomes the machine's cluster for `auto`
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # not 15, which starves on a busy machine
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # loopback
        patch.setenv("RAY_agent_register_timeout_ms", "100000")  # of 30 s, after which a node ends itself
        from ray.cluster_utils import Cluster

        running = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        yield running
        running.shutdown()


class TestRayExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self, cluster: Any) -> RayExecutor:
        return RayExecutor(None, Resources(), address=cluster.address)


def test_slots_are_what_the_nodes_have_room_for(cluster: Any) -> None:
    with RayExecutor(None, Resources(), address=cluster.address) as executor:
        assert executor.slots == 2
    with RayExecutor(None, Resources(cpus=2), address=cluster.address) as executor:
        assert executor.slots == 1
    with RayExecutor(5, Resources(), address=cluster.address) as executor:
        assert executor.slots == 5


def test_auto_is_the_cluster_of_this_machine(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)  # there may be another one
    with RayExecutor(None, Resources(), address="auto") as executor:
        assert executor.slots == 2


def test_a_training_that_fits_no_node_is_refused(cluster: Any) -> None:
    with (
        pytest.raises(ConfigError, match="no node with 1 CPUs and 2 GPUs"),
        RayExecutor(None, Resources(gpus=2), address=cluster.address),
    ):
        pass


OF_ITS_OWN = """
import signal
from dataclasses import replace
from pathlib import Path
from chamnet_host.training.executors import open_executor
from chamnet_host.testing import SHORT_TRAINING

handler = signal.getsignal(signal.SIGTERM)
with open_executor("ray", SHORT_TRAINING.recipe, workers=1) as executor:
    assert executor.slots == 1
    future = executor.submit(replace(SHORT_TRAINING, weights=Path("trained.pt")))
    assert future.result(400).status == "ok"
assert signal.getsignal(signal.SIGTERM) is handler
"""


def test_a_ray_of_its_own_says_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(Path("/tmp").glob("chamnet-ray-*"))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    process = subprocess.run(
        [sys.executable, "-c", OF_ITS_OWN],
        cwd=tmp_path,
        env={**kept, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["trained.pt"]  # and no token at home
    assert set(Path("/tmp").glob("chamnet-ray-*")) <= before
    end_s = time.monotonic() + 60  # what was killed takes a moment to be gone
    while (left := [line for line in commands() if "chamnet-ray-" in line]) and time.monotonic() < end_s:
        time.sleep(0.1)
    assert left == []


def commands() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (OSError, UnicodeDecodeError):
            continue
    return found


@pytest.mark.parametrize("address", ["nonsense", "host:port", ":6379"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with (
        pytest.raises(ConfigError, match="give auto or HOST:PORT"),
        RayExecutor(None, Resources(), address=address),
    ):
        pass


def test_an_address_where_nobody_answers_is_refused() -> None:
    with (
        held_port() as port,
        pytest.raises(ConfigError, match=rf"127.0.0.1:{port}: nobody answers .*ray start --head"),
        RayExecutor(None, Resources(), address=f"127.0.0.1:{port}"),
    ):
        pass


def test_parts_of_several_gpus_are_refused() -> None:
    with pytest.raises(ConfigError, match="a part of one GPU, or several whole ones"):
        RayExecutor(None, Resources(gpus=1.5), address=None)


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'chamnet\[ray\]'"):
        RayExecutor(None, Resources(), address=None)
