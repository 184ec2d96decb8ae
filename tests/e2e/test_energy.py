"""Energies end to end: an agent with real runtimes and a real meter, whose sensor is simulated from what its worker computes.

The sensor counts what an idling device draws, and so much more for each second of CPU time of the agent's worker. So the
true energy of a network is known: its latency times both.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chamnet.clock import SystemClock
from chamnet.lut import Store
from chamnet.wire.endpoint import default_state_dir
from chamnet_agent import sysinfo
from chamnet_agent.config import AgentConfig
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.simulated import Powercap, Sensor, SimulatedDevice
from chamnet_agent.server import RunningAgent, running
from tests.e2e.conftest import TINY, Run
from tests.processes import workers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1_200)]

IDLE_W, ACTIVE_W = 1.5, 4.0


class WorkersPower:
    """True energy of this process's workers and of the idling device around them."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._spent_uj: dict[int, float] = {}

    def energy_uj(self, start_ns: int, end_ns: int) -> float:
        for worker in workers(self._pid):
            self._spent_uj[worker] = max(self._spent_uj.get(worker, 0.0), ACTIVE_W * cpu_ns(worker) / 1e3)
        return IDLE_W * (end_ns - start_ns) / 1e3 + sum(self._spent_uj.values())


def cpu_ns(pid: int) -> int:
    """Return the CPU time of all threads of a process; 0 where it has ended."""
    try:
        return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    except (OSError, IndexError):
        return 0


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> Iterator[RunningAgent]:
    """Run an agent with a simulated sensor where the user's commands look for one."""
    import os

    clock, root = SystemClock(), tmp_path_factory.mktemp("root")
    layout = Powercap(
        {"intel-rapl:0": ("package-0", WorkersPower(os.getpid()))},  # type: ignore[dict-item]
        start_ns=clock.now_ns(),
        sensor=Sensor(period_s=0.02, quantum=61.0),
    )
    config = AgentConfig(
        state_dir=default_state_dir(env),
        backend="onnxruntime",
        cores=sysinfo.usable_cores()[-1:],
        meters=MeterSettings(root=root),
    )
    with SimulatedDevice(root, [layout], clock=clock), running(config) as agent:
        yield agent


@pytest.fixture(scope="module")
def measured(agent: RunningAgent, cli: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store holds latencies and energies of a tiny space."""
    folder = tmp_path_factory.mktemp("energy")
    done = cli(
        "profile", "--space", TINY, "--target", agent.endpoint.address, "--energy", "--energy-rows", 6,
        "--energy-rounds", 1, cwd=folder,
    )  # fmt: skip
    assert "energy by rapl: 6 units and" in done.stderr
    assert " about " in done.stderr
    return folder


def energies(folder: Path) -> list[Any]:
    with Store.open(folder / "chamnet.db") as store:
        (lut_id,) = store.platforms()
        return [each for each in store.visits(lut_id) if each.mode == "energy" and each.visit.energy]


def test_energies_are_what_the_sensor_was_made_of(measured: Path) -> None:
    found = energies(measured)
    assert len([each for each in found if each.kind == "unit"]) == 6
    assert len([each for each in found if each.kind == "network"]) >= 4
    # On a busy machine the sensor is updated late, and a core is shared; how exact energies are, other tests tell.
    for each in found:
        energy = each.visit.energy
        assert energy.idle_w == pytest.approx(IDLE_W, rel=0.4)
        assert 0 < energy.net_w < 1.4 * ACTIVE_W
        assert (energy.meter, energy.rails) == ("rapl", ("package-0",))


def test_what_was_measured_is_not_measured_again(
    measured: Path, agent: RunningAgent, ask: Callable[..., Any]
) -> None:
    again = ask(
        "profile", "--space", TINY, "--target", agent.endpoint.address, "--energy", "--energy-rows", 6,
        "--energy-rounds", 1, cwd=measured,
    )  # fmt: skip
    assert again["energy"]["windows"]["stored"] == 0
    assert again["energy"]["meter"] == "rapl"
    assert again["visits"]["stored"] == 0


def test_networks_are_searched_within_latency_and_energy(
    measured: Path, agent: RunningAgent, ask: Callable[..., Any], cli: Run
) -> None:
    where = ["--space", TINY, "--target", agent.endpoint.address]
    shown = ask("energy", "show", *where, cwd=measured)
    assert shown["idle_w"] == pytest.approx(IDLE_W, rel=0.2)
    (front,) = ask("search", "--pareto", "--against", "energy", "--points", 8, *where, cwd=measured)["fronts"]
    costs = [each["cost"] for each in front["networks"]]
    assert costs == sorted(costs)
    middle = front["networks"][len(costs) // 2]["predicted"]
    limits = {metric: 1.02 * middle[metric]["value"] for metric in ("latency_ms", "energy_mj")}
    budget = f"{limits['latency_ms']:.5f}ms,{limits['energy_mj']:.5f}mJ"
    answer = ask("search", "--budget", budget, *where, cwd=measured)["best"]
    best = answer["predicted"]
    assert all(best[metric]["value"] <= 1.001 * limit for metric, limit in limits.items())
    if answer["status"] == "optimal":  # a process over networks is searched by sums, which promises less
        assert best["top1"]["value"] >= middle["top1"]["value"] - 1e-6
    assert best["energy_mj"]["value"] > 0.5 * IDLE_W * best["latency_ms"]["value"], "idling is paid for, too"
    refused = cli("search", "--budget", "0.0001mJ", *where, cwd=measured, check=False)
    assert refused.returncode == 2
    assert "mJ" in refused.stderr


def test_the_energy_of_the_winner_is_measured_beside_its_prediction(
    measured: Path, agent: RunningAgent, cli: Run
) -> None:
    where = ["--space", TINY, "--target", agent.endpoint.address]
    shown = cli("search", "--budget", "9s,9J", *where, "--json", cwd=measured)
    predicted = json.loads(shown.stdout)["best"]["predicted"]["energy_mj"]
    before = len(energies(measured))
    done = cli(
        "verify", "best", "--energy", "--energy-rounds", 1, "--visits", 2, *where, "--json", cwd=measured
    )
    assert "energy by rapl (package-0): 1 network, 1 window of each; all to go, about" in done.stderr
    body = json.loads(done.stdout)
    (network,) = body["networks"]
    assert network["predicted"]["energy_mj"] == predicted, "predicted before it is measured"
    assert network["budget_mj"] >= predicted["value"]
    energy = network["energy"]
    assert (energy["meter"], energy["rails"], energy["windows"]) == ("rapl", ["package-0"], 1)
    assert energy["gross_mj"] == pytest.approx(energy["net_mj"] + energy["idle_w"] * energy["latency_ms"])
    assert 0 < energy["net_mj"] < 1.4 * ACTIVE_W * energy["latency_ms"]
    assert energy["comparable"]
    if not energy["below_noise"]:
        assert energy["error"] == pytest.approx(predicted["value"] / energy["gross_mj"] - 1)
        assert body["mean_absolute_energy_error"] == pytest.approx(abs(energy["error"]))
    assert len(energies(measured)) == before + 1


def test_a_device_without_a_meter_says_which_were_tried(
    measured: Path, agent: RunningAgent, cli: Run
) -> None:
    done = cli(
        "profile", "--space", TINY, "--target", agent.endpoint.address, "--energy", "--meter", "battery",
        cwd=measured, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no energy can be read. Tried: battery: " in done.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("meter", "code", "says"),
    [("recording:nowhere.csv", 1, "nowhere.csv cannot be read"), ("monsoon:high", 2, "give the volts")],
)
def test_a_meter_of_the_host_that_cannot_be_read_ends_it_at_once(
    cli: Run, tmp_path: Path, meter: str, code: int, says: str
) -> None:
    done = cli("profile", "--space", TINY, "--energy", "--meter", meter, cwd=tmp_path, check=False)
    assert done.returncode == code
    assert says in done.stderr.replace("\n", " ")
    assert "profiling" not in done.stderr
