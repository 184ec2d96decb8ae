"""Energy as a host is told it: a real server and worker, a real meter on files of a simulated sensor, in real time."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from chamnet.clock import SystemClock
from chamnet.errors import ConfigError, MeterError
from chamnet.records import EnergyPolicy, Item, Policy, Visit
from chamnet.testing import FakeClock
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.metering import Metering
from chamnet_agent.power.simulated import Powercap, Sensor, SimulatedDevice
from chamnet_agent.server import RunningAgent
from chamnet_agent.testing import Script, shared_float
from chamnet_host.client import DeviceClient

CONV = "conv:f32:1x8x4x4:o8:k3"
POINT = "conv:f32:1x8x4x4:o8"
POOL = "gap:f32:1x8x4x4:o8"
IDLE_W, RIPPLE_W, RIPPLE = 2.0, 0.02, 2 * math.pi * 1.3  # idling devices are never quite steady
SPENDS_UJ = {CONV: 6_000.0, POINT: 1_500.0, POOL: 4.0}  # 3, 1.5 W, and next to nothing
TAKES_NS = {CONV: (2_000_000,), POINT: (1_000_000,), POOL: (1_000_000,)}
TIMES = EnergyPolicy(meter="rapl", window_s=0.8, idle_s=0.8, guard_s=0.05)
TRIES = 4  # of a window: a busy machine updates its simulated sensor late, and then no energy is told

Starter = Callable[..., RunningAgent]
Connect = Callable[[RunningAgent], DeviceClient]


class Spent:
    """True energy: that of an idling device, and what the runs of a fake backend spent."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(8))
        self._spent = shared_float(file)

    def energy_uj(self, start_ns: int, end_ns: int) -> float:
        seconds = (end_ns - start_ns) / 1e9
        rippled_j = RIPPLE_W * (1 - math.cos(RIPPLE * seconds)) / RIPPLE
        return 1e6 * (IDLE_W * seconds + rippled_j) + self._spent[0]

    def reset_after(self, spent_uj: float) -> None:
        """Take back all and more once so much was spent: the counter falls."""
        while self._spent[0] < spent_uj:
            time.sleep(0.001)
        self._spent[0] = -1e8


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "spent"


@pytest.fixture
def spent(file: Path) -> Spent:
    return Spent(file)


@pytest.fixture
def device(tmp_path: Path, spent: Spent) -> Iterator[SimulatedDevice]:
    clock = SystemClock()
    wraps_uj = 262_143_328_850  # of a server's package; it wraps around in the first window, after some 5 J
    sensor = Sensor(period_s=0.02, quantum=61.0, wraps_uj=wraps_uj, first_uj=wraps_uj - 5_000_000)
    layout = Powercap({"intel-rapl:0": ("package-0", spent)}, start_ns=clock.now_ns(), sensor=sensor)  # type: ignore[dict-item]
    (tmp_path / "root").mkdir()
    with SimulatedDevice(tmp_path / "root", [layout], clock=clock) as running:
        yield running


@pytest.fixture
def client(start_agent: Starter, connect: Connect, device: SimulatedDevice, file: Path) -> DeviceClient:
    script = Script(run_ns=TAKES_NS, spends_uj=SPENDS_UJ, spent=str(file))
    return connect(start_agent(script, meters=MeterSettings(root=device.root)))


def measured(client: DeviceClient, *keys: str, energy: EnergyPolicy = TIMES) -> dict[str, Visit]:
    visits: dict[str, Visit] = {}
    for _ in range(TRIES):
        left = [key for key in keys if key not in visits or visits[key].status == "cancelled"]
        if left:
            items = [Item(visit_id=key, blocks=(key,)) for key in left]
            made = client.measure(items, Policy(mode="energy", energy=energy))
            visits |= {visit.visit_id: visit for visit in made}
    return visits


def test_the_energy_of_a_run_is_what_it_spends(client: DeviceClient) -> None:
    visits = measured(client, CONV, POINT, POOL)
    for key in (CONV, POINT):
        energy = visits[key].energy
        assert energy is not None
        assert energy.net_mj == pytest.approx(SPENDS_UJ[key] / 1e3, rel=0.02)
        assert energy.idle_w == pytest.approx(IDLE_W, rel=0.02)
        assert not energy.is_below_noise
        assert (energy.meter, energy.rails) == ("rapl", ("package-0",))
        assert energy.updates >= 30
        assert visits[key].spans is None
    small = visits[POOL].energy
    assert small is not None
    assert small.is_below_noise, "what cannot be told from idling says so"
    assert small.spin_w == pytest.approx(IDLE_W, rel=0.02)


def test_a_counter_that_is_reset_spoils_its_window_and_no_other(client: DeviceClient, spent: Spent) -> None:
    reset = threading.Thread(
        target=spent.reset_after, args=(200 * SPENDS_UJ[CONV],)
    )  # well inside its window
    reset.start()
    items = [Item(visit_id=key, blocks=(key,)) for key in (CONV, POINT)]
    spoiled, _ = client.measure(items, Policy(mode="energy", energy=TIMES))
    reset.join()
    assert spoiled.status == "cancelled"
    assert spoiled.energy is spoiled.spans is None
    assert any(words in spoiled.message for words in ("reset", "set anew", "too busy"))
    energy = measured(client, CONV)[CONV].energy
    assert energy is not None
    assert energy.net_mj == pytest.approx(SPENDS_UJ[CONV] / 1e3, rel=0.02)


@pytest.mark.parametrize(
    ("energy", "error", "says"),
    [
        (EnergyPolicy(meter="crystal-ball"), ConfigError, "unknown meter 'crystal-ball'; known: .*rapl"),
        (
            EnergyPolicy(meter="rapl", rails="left"),
            ConfigError,
            "'left' is not known here; known: .*package-0",
        ),
        (EnergyPolicy(meter="rapl", window_s=-1.0), ConfigError, "times of windows"),
        (EnergyPolicy(meter="rapl", idle_s=float("nan")), ConfigError, "times of windows"),
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
