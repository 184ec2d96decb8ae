"""Energy that is known, told from the files that sensors would make of it in real time."""

import random
import threading
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest

from chamnet.clock import Clock, SystemClock
from chamnet.energy import choose
from chamnet.energy.recorder import Recorder, observe_period_s
from chamnet.errors import MeterError, MeterInterruptedError
from chamnet.testing import FakeClock
from chamnet_agent.power.base import MeterSettings, PowerMeter
from chamnet_agent.power.battery import BatteryMeter
from chamnet_agent.power.ina3221 import Ina3221Meter
from chamnet_agent.power.pixel import PixelMeter
from chamnet_agent.power.rapl import RaplMeter
from chamnet_agent.power.simulated import (
    Battery,
    Ina3221,
    Layout,
    Pixel,
    Powercap,
    Sensor,
    SimulatedDevice,
    TruePower,
)

PERIOD_S = 0.012  # of every sensor here, so that 50 of them pass quickly
WINDOWS = 5
WINDOW_S = 0.7
PAUSE_S = 0.1
IDLE_W, BUSY_W = 2.0, 9.0
LARGEST_ERROR = 0.02
AHEAD_S = 0.02  # that a change of power is set before it is due
NOTICED_S = 60.0  # at most, on a machine however busy
PROMPT_PERIODS = 8  # around both edges and of the files together; three where nothing is late
KINDS: tuple[type[PowerMeter], ...] = (RaplMeter, PixelMeter, Ina3221Meter, BatteryMeter)


def scaled(meter: PowerMeter) -> PowerMeter:
    """Return the meter with the period of the simulated sensors."""
    meter.period_s = PERIOD_S
    meter.shortest_poll_s = PERIOD_S / 8
    return meter


def set_soon(power: TruePower, power_w: float, clock: Clock) -> int:
    """Change the power and return when; it is known beforehand, as no sensor must be told of it too late."""
    while True:
        then_ns = clock.now_ns() + round(AHEAD_S * 1e9)
        power.set_w(then_ns, power_w)
        if clock.now_ns() < then_ns:
            clock.sleep_s(AHEAD_S)
            return then_ns


def test_the_energy_of_windows_is_told_to_two_percent(tmp_path: Path) -> None:
    """By all sensors at once, in windows of 58 periods that begin and end with a step of the power.

    The truth is what was set at the times it was set. A busy machine delays now a sensor, now its reader: then the
    updates around an edge are far apart, which the window says, and its error keeps within that.
    """
    clock = SystemClock()
    start_ns = clock.now_ns()
    power = TruePower(start_ns, IDLE_W, ripple_w=0.3, ripple_hz=7, drift_w_per_s=0.05)
    uncore = TruePower(start_ns, 1.0)
    wraps_uj = 10_000_000_000  # reached once; more than can be used between two readings, however late
    counter = Sensor(period_s=PERIOD_S, quantum=61, first_uj=wraps_uj - 5_000_000, wraps_uj=wraps_uj)
    layouts = (
        Powercap(
            {
                "intel-rapl:0": ("package-0", power),
                "intel-rapl:0/intel-rapl:0:0": ("uncore", uncore),
            },
            start_ns=start_ns,
            sensor=counter,
        ),
        Pixel(
            {"S2M_VDD_CPUCL2": ("CPU(BIG)", power)},
            start_ns=start_ns,
            sensor=Sensor(period_s=PERIOD_S, first_uj=99_000_000),
        ),
        Ina3221({"VDD_IN": power}, sensor=Sensor(period_s=PERIOD_S, quantum=0.04, noise_w=0.1)),
        Battery(power, sensor=Sensor(period_s=PERIOD_S, quantum=0.004, noise_w=0.1), unit="mA", sign=1),
    )
    settings = MeterSettings(root=tmp_path, battery_current="mA")
    errors: dict[str, list[float]] = {}
    with SimulatedDevice(tmp_path, layouts, clock=clock) as device, ExitStack() as stack:
        recorders = {
            kind.__name__: stack.enter_context(Recorder(scaled(kind(settings)), clock=clock))
            for kind in KINDS
        }
        rng = random.Random(0)
        for _ in range(WINDOWS):
            clock.sleep_s(PAUSE_S * (0.5 + rng.random()))
            begin_ns = set_soon(power, BUSY_W, clock)
            clock.sleep_s(WINDOW_S)
            end_ns = set_soon(power, IDLE_W, clock)
            true_uj = power.energy_uj(begin_ns, end_ns)
            clock.sleep_s(3 * PERIOD_S)  # for the updates after the end
            for layout, (name, recorder) in zip(layouts, recorders.items(), strict=True):
                (rail,) = choose(recorder.rails)
                try:
                    recorder.settle(end_ns, [rail.name])
                    stats = recorder.power_w(rail.name, begin_ns, end_ns)
                except MeterInterruptedError:  # so busy that it says so: nothing is claimed
                    continue
                error = stats.mean_w * (end_ns - begin_ns) * 1e-3 / true_uj - 1
                late_s = stats.edge_s + device.lag_s(layout, begin_ns, end_ns + round(PERIOD_S * 1e9))
                allowed = (BUSY_W - IDLE_W) * late_s * 1e6 / true_uj
                assert abs(error) < LARGEST_ERROR + allowed, (name, stats)
                if late_s < PROMPT_PERIODS * PERIOD_S:
                    errors.setdefault(name, []).append(error)
    for name, found in errors.items():
        assert len(found) < 3 or abs(median(found)) < LARGEST_ERROR, (name, found)


class SensorClock(FakeClock):
    """Lets a simulated sensor update in time whenever time passes."""

    def __init__(self, root: Path, layout: Layout) -> None:
        super().__init__()
        self._root, self._layout, self._due_ns = root, layout, 0
        layout.create(root)
        self.sleep_s(0.0)

    def sleep_s(self, seconds: float) -> None:
        end_ns = self.time_ns + round(seconds * 1e9)
        while self._due_ns <= end_ns:
            self._layout.write(self._root, self._due_ns)
            self._due_ns += round(self._layout.period_s * 1e9)
        self.time_ns = end_ns


def test_the_period_of_a_sensor_is_observed(tmp_path: Path) -> None:
    layout = Powercap(
        {"intel-rapl:0": ("package-0", TruePower(0, 5))}, start_ns=0, sensor=Sensor(period_s=0.03)
    )
    clock = SensorClock(tmp_path, layout)
    meter = RaplMeter(MeterSettings(root=tmp_path))
    assert observe_period_s(meter, clock, budget_s=2, updates=8) == {"package-0": pytest.approx(0.03)}
    assert clock.now_ns() < 0.5e9, "so many updates are enough"


def test_a_phone_that_is_plugged_in_meanwhile_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = SystemClock()
    power = TruePower(clock.now_ns(), 3)
    layout = Battery(power, sensor=Sensor(period_s=0.01))
    with SimulatedDevice(tmp_path, [layout], clock=clock):
        meter = scaled(BatteryMeter(MeterSettings(root=tmp_path)))
        with Recorder(meter, clock=clock) as recorder:
            begin_ns = clock.now_ns()
            recorder.settle(begin_ns, timeout_s=NOTICED_S)
            layout.status = "Charging"
            last_ns = clock.now_ns() + round(NOTICED_S * 1e9)
            while "unplug it" not in caplog.text and clock.now_ns() < last_ns:
                clock.sleep_s(0.01)

            def ask() -> None:
                recorder.settle(clock.now_ns(), timeout_s=0)
                recorder.energy_uj(
                    "battery", begin_ns, clock.now_ns()
                )  # what is lost for long is not waited for

            # Charger and battery say so one after the other, and either is enough.
            with pytest.raises(MeterError, match=r"(is 'charging'|usb is connected).*unplug it"):
                ask()


class Stuck:
    """A sensor whose second update does not come before it is let go."""

    period_s = 0.01

    def __init__(self) -> None:
        self.let_go, self._updated = threading.Event(), False

    def create(self, root: Path) -> None:
        pass

    def write(self, root: Path, now_ns: int) -> None:
        if self._updated:
            self.let_go.wait(NOTICED_S)
        self._updated = True


def test_a_sensor_whose_update_is_awaited_lags(tmp_path: Path) -> None:
    clock, layout = SystemClock(), Stuck()
    with SimulatedDevice(tmp_path, [layout], clock=clock) as device:
        begin_ns = clock.now_ns()
        clock.sleep_s(0.05)
        lag_s = device.lag_s(layout, begin_ns, clock.now_ns())
        layout.let_go.set()
    assert lag_s >= 0.05


def test_a_simulated_device_says_that_it_is_one(tmp_path: Path) -> None:
    with SimulatedDevice(tmp_path, [], clock=SystemClock()):
        assert "made up" in (tmp_path / "SIMULATED").read_text()


def test_true_energy_is_the_integral_of_true_power() -> None:
    """Against the slow, obvious version: the sum over many short times."""
    power = TruePower(0, 2, ripple_w=0.5, ripple_hz=3, drift_w_per_s=0.2)
    power.set_w(400_000_000, 7)
    power.set_w(900_000_000, 1)
    step_ns = 10_000
    for begin_ns, end_ns in ((0, 10**9), (350_000_000, 950_000_000), (410_000_000, 420_000_000)):
        summed_uj = sum(
            power.power_w(t_ns + step_ns // 2) * step_ns * 1e-3 for t_ns in range(begin_ns, end_ns, step_ns)
        )
        assert power.energy_uj(begin_ns, end_ns) == pytest.approx(summed_uj, rel=1e-6)
