"""Energy as a host is told it: a real server and worker, in real time, and a meter that knows what runs spent, and when."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from chamnet.errors import ConfigError, MeterError
from chamnet.records import EnergyPolicy, EnergyReading, Item, Policy, Visit
from chamnet.testing import FakeClock
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.metering import Metering
from chamnet_agent.server import RunningAgent
from chamnet_agent.testing import Script
from chamnet_host.client import DeviceClient
from tests.agent.power.spent_meter import IDLE_W, RIPPLE_W, SpentMeter

CONV = "conv:f32:1x8x4x4:o8:k3"
POINT = "conv:f32:1x8x4x4:o8"
POOL = "gap:f32:1x8x4x4:o8"
SPENDS_UJ = {CONV: 6_000.0, POINT: 1_500.0, POOL: 4.0}  # 3, 1.5 W, and next to nothing
TAKES_NS = {CONV: (2_000_000,), POINT: (1_000_000,), POOL: (1_000_000,)}
TIMES = EnergyPolicy(meter="spent", window_s=0.8, idle_s=0.8, guard_s=0.05)
RUNS_OFF = 2  # one at either end of a window
RESET_UJ = (
    32 * (SPENDS_UJ[CONV] + SPENDS_UJ[POINT]) + 40 * SPENDS_UJ[CONV]
)  # copies first, and 25 before the window

Starter = Callable[..., RunningAgent]
Connect = Callable[[RunningAgent], DeviceClient]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a device that has the meter `spent`, as a plug-in of a third party."""
    root, info = tmp_path / "root", tmp_path / "meter/spent_meter-1.dist-info"
    for folder in (root, info):
        folder.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spent-meter\nVersion: 1\n")
    target = f"{SpentMeter.__module__}:{SpentMeter.__qualname__}"
    (info / "entry_points.txt").write_text(f"[chamnet.meters]\nspent = {target}\n")
    monkeypatch.syspath_prepend(info.parent)
    return root


@pytest.fixture
def client(start_agent: Starter, connect: Connect, root: Path) -> DeviceClient:
    script = Script(run_ns=TAKES_NS, spends_uj=SPENDS_UJ, spent=str(root / "spent"))
    return connect(start_agent(script, meters=MeterSettings(root=root)))


def measured(client: DeviceClient, *keys: str, energy: EnergyPolicy = TIMES) -> list[Visit]:
    items = [Item(visit_id=key, blocks=(key,)) for key in keys]
    return list(client.measure(items, Policy(mode="energy", energy=energy)))


def allowed_mj(key: str, energy: EnergyReading) -> float:
    """Return 2 %, unless a busy machine runs so few that one at either end, and what idling ripples by, are more."""
    few_mj = RUNS_OFF * SPENDS_UJ[key] / 1e3 / energy.calls + RIPPLE_W * energy.latency_ms
    return max(0.02 * SPENDS_UJ[key] / 1e3, few_mj)


def test_the_energy_of_a_run_is_what_it_spends(client: DeviceClient) -> None:
    *visits, pool = measured(client, CONV, POINT, POOL)
    for key, visit in zip((CONV, POINT), visits, strict=True):
        energy = visit.energy
        assert energy is not None, visit.message
        assert energy.net_mj == pytest.approx(SPENDS_UJ[key] / 1e3, abs=allowed_mj(key, energy))
        assert energy.idle_w == pytest.approx(IDLE_W, rel=0.02)
        assert not energy.is_below_noise
        assert (energy.meter, energy.rails) == ("spent", ("package-0",))
        assert energy.updates >= 30
        assert visit.spans is None
    small = pool.energy
    assert small is not None, pool.message
    assert small.is_below_noise, "what cannot be told from idling says so"
    assert small.spin_w == pytest.approx(IDLE_W, rel=0.02)


def test_a_counter_that_is_reset_spoils_its_window_and_no_other(client: DeviceClient, root: Path) -> None:
    (root / "reset_uj").write_text(f"{RESET_UJ}")
    spoiled, other = measured(client, CONV, POINT)
    assert spoiled.status == "cancelled"
    assert spoiled.energy is spoiled.spans is None
    assert any(words in spoiled.message for words in ("reset", "set anew"))
    assert other.energy is not None, other.message
    assert other.energy.net_mj == pytest.approx(SPENDS_UJ[POINT] / 1e3, abs=allowed_mj(POINT, other.energy))


@pytest.mark.parametrize(
    ("energy", "error", "says"),
    [
        (EnergyPolicy(meter="crystal-ball"), ConfigError, "unknown meter 'crystal-ball'; known: .*rapl"),
        (
            EnergyPolicy(meter="spent", rails="left"),
            ConfigError,
            "'left' is not known here; known: .*package-0",
        ),
        (EnergyPolicy(meter="spent", window_s=-1.0), ConfigError, "times of windows"),
        (EnergyPolicy(meter="spent", idle_s=float("nan")), ConfigError, "times of windows"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    client: DeviceClient, energy: EnergyPolicy, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        measured(client, CONV, energy=energy)


class SensorClock(FakeClock):
    """Writes what sensors say whenever time passes."""

    def __init__(self, says: dict[Path, Callable[[float], float]]) -> None:
        super().__init__()
        self._says = says
        self.sleep_s(0.0)

    def sleep_s(self, seconds: float) -> None:
        super().sleep_s(seconds)
        for file, says in self._says.items():
            file.write_text(f"{says(self.now_ns() / 1e9):.0f}\n")


def counted_uj(power_w: float, t_s: float) -> float:
    return power_w * 1e6 * t_s // 61 * 61


def battery(root: Path) -> Path:
    folder = root / "sys/class/power_supply/battery"
    folder.mkdir(parents=True)
    for name, said in (("type", "Battery"), ("status", "Discharging"), ("voltage_now", 4_000_000)):
        (folder / name).write_text(f"{said}\n")
    return folder / "current_now"


def test_windows_are_as_long_as_a_slow_gauge_needs(tmp_path: Path) -> None:
    clock = SensorClock({battery(tmp_path): lambda t_s: 500_000 + t_s // 12})
    times = Metering(EnergyPolicy(meter="battery"), settings=MeterSettings(root=tmp_path), clock=clock).times
    assert times.window_s == pytest.approx(50 * 12, rel=0.02)


def test_a_gauge_that_is_too_slow_is_refused(tmp_path: Path) -> None:
    clock = SensorClock({battery(tmp_path): lambda t_s: 500_000 + t_s // 60})
    with pytest.raises(MeterError, match="fewer than three updates of battery within 60 s"):
        Metering(EnergyPolicy(meter="battery"), settings=MeterSettings(root=tmp_path), clock=clock)


def test_a_rail_that_was_not_chosen_makes_no_window_longer(tmp_path: Path) -> None:
    """The graphics of a package at 0.4 mW: its counter moves by 61 µJ every 0.15 s."""
    says: dict[Path, Callable[[float], float]] = {}
    for zone, name, power_w in (("intel-rapl:0", "package-0", 5.0), ("intel-rapl:0:0", "uncore", 4e-4)):
        folder = tmp_path / "sys/class/powercap" / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        says[folder / "energy_uj"] = partial(counted_uj, power_w)
    metering = Metering(
        EnergyPolicy(meter="rapl"), settings=MeterSettings(root=tmp_path), clock=SensorClock(says)
    )
    assert metering.times.rails == "package-0"
    assert metering.times.window_s == 1.0


def test_without_a_meter_it_says_which_were_tried(live_agent: DeviceClient, tmp_path: Path) -> None:
    if any(meter.why_not is None for meter in live_agent.describe().meters):
        pytest.skip("this machine has a meter")
    with pytest.raises(MeterError, match=r"no meter works here. Tried: rapl: .*"):
        measured(live_agent, CONV, energy=EnergyPolicy())
