"""A device that is not there: power that is known, and the files that a sensor would make of it, in real time.

For tests and for studies of how well energy can be told. No user meets it: it is in no registry, the files lie below
a folder of the caller's, and `SIMULATED` stands in it.
"""

import math
import random
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from chamnet.clock import Clock

__all__ = ["Battery", "Ina3221", "Layout", "Pixel", "Powercap", "Sensor", "SimulatedDevice", "TruePower"]

_NS_PER_S = 1_000_000_000
_UJ_PER_J = 1e6
_JOIN_S = 10.0
_REMEMBERED = 10_000  # writes of each sensor
_STATUS = "SIMULATED"


class TruePower:
    """Power as it really is: steps that are set while time passes, with a ripple and a drift. Safe for any thread.

    Args:
        start_ns: Before it there was nothing.
        power_w: At the start.
        ripple_w: Amplitude of a sine on top.
        ripple_hz: Its frequency.
        drift_w_per_s: What is added each second, as a device that warms up does.
    """

    def __init__(
        self,
        start_ns: int,
        power_w: float,
        *,
        ripple_w: float = 0.0,
        ripple_hz: float = 0.0,
        drift_w_per_s: float = 0.0,
    ) -> None:
        self._start_ns = start_ns
        self._ripple_w = ripple_w
        self._radians_per_s = 2 * math.pi * ripple_hz
        self._drift_w_per_s = drift_w_per_s
        self._steps: list[tuple[int, float, float]] = [(start_ns, power_w, 0.0)]  # since, W, J before it

    def set_w(self, now_ns: int, power_w: float) -> None:
        """Change the power from now on."""
        since_ns, before_w, before_j = self._steps[-1]
        passed_s = (now_ns - since_ns) / _NS_PER_S
        self._steps = [*self._steps, (now_ns, power_w, before_j + before_w * passed_s)]

    def power_w(self, t_ns: int) -> float:
        """Return the power at a time."""
        _, step_w, _ = self._step(t_ns)
        t_s = (t_ns - self._start_ns) / _NS_PER_S
        return step_w + self._drift_w_per_s * t_s + self._ripple_w * math.sin(self._radians_per_s * t_s)

    def energy_uj(self, start_ns: int, end_ns: int) -> float:
        """Return the exact energy between two times."""
        return (self._since_start_j(end_ns) - self._since_start_j(start_ns)) * _UJ_PER_J

    def _step(self, t_ns: int) -> tuple[int, float, float]:
        steps = self._steps
        return steps[bisect_right(steps, t_ns, key=lambda step: step[0]) - 1]

    def _since_start_j(self, t_ns: int) -> float:
        since_ns, step_w, before_j = self._step(t_ns)
        t_s = (t_ns - self._start_ns) / _NS_PER_S
        stepped_j = before_j + step_w * (t_ns - since_ns) / _NS_PER_S
        drifted_j = self._drift_w_per_s * t_s**2 / 2
        rippled_j = (
            self._ripple_w * (1 - math.cos(self._radians_per_s * t_s)) / self._radians_per_s
            if self._radians_per_s
            else 0.0
        )
        return stepped_j + drifted_j + rippled_j


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """What a sensor makes of power.

    Attributes:
        period_s: Time between its updates.
        quantum: Step of what it says: µJ of a counter, W of power.
        noise_w: Standard deviation of what it adds to each update of power.
        first_uj: What its counter says at the start.
        wraps_uj: Where its counter starts over.
    """

    period_s: float
    quantum: float = 1.0
    noise_w: float = 0.0
    first_uj: int = 0
    wraps_uj: int | None = None

    def counter_uj(self, energy_uj: float) -> int:
        """Return what its counter says after so much energy."""
        counted = self.first_uj + int(energy_uj // self.quantum * self.quantum)
        return counted % self.wraps_uj if self.wraps_uj else counted

    def sampled_w(self, power_w: float, rng: random.Random) -> float:
        """Return what it says of power."""
        return max(0.0, round(rng.gauss(power_w, self.noise_w) / self.quantum) * self.quantum)


class Layout(Protocol):
    """The files of one kind of sensor."""

    period_s: float

    def create(self, root: Path) -> None:
        """Make its folders and what never changes."""
        ...

    def write(self, root: Path, now_ns: int) -> None:
        """Write what it says at a time."""
        ...


class Powercap:
    """RAPL: one counter per zone.

    Args:
        zones: Zone such as `intel-rapl:0` or `intel-rapl:0/intel-rapl:0:1` -> its name and its power.
        start_ns: When counting began.
        sensor: Of all zones.
    """

    def __init__(self, zones: Mapping[str, tuple[str, TruePower]], *, start_ns: int, sensor: Sensor) -> None:
        self.period_s = sensor.period_s
        self._zones = zones
        self._start_ns = start_ns
        self._sensor = sensor

    def create(self, root: Path) -> None:
        """Make a folder per zone."""
        for zone, (name, _) in self._zones.items():
            folder = root / "sys/class/powercap" / zone
            folder.mkdir(parents=True)
            _put(folder / "name", name)
            if self._sensor.wraps_uj:
                _put(folder / "max_energy_range_uj", f"{self._sensor.wraps_uj}")

    def write(self, root: Path, now_ns: int) -> None:
        """Write the counters."""
        for zone, (_, power) in self._zones.items():
            counted = self._sensor.counter_uj(power.energy_uj(self._start_ns, now_ns))
            _put(root / "sys/class/powercap" / zone / "energy_uj", f"{counted}")


class Pixel:
    """The power rails of a Pixel, one chip.

    Args:
        rails: Name of the rail -> its subsystem and its power.
        start_ns: When counting began.
        sensor: Of all rails; its period is that between values, 20 samples of the chip.
    """

    def __init__(self, rails: Mapping[str, tuple[str, TruePower]], *, start_ns: int, sensor: Sensor) -> None:
        self.period_s = sensor.period_s / 4  # the driver takes a value whenever it is read
        self._rails = rails
        self._start_ns = start_ns
        self._sensor = sensor

    def create(self, root: Path) -> None:
        """Make the folder of a chip."""
        folder = self._folder(root)
        folder.mkdir(parents=True)
        _put(folder / "name", "s2mpg10-odpm")
        _put(folder / "sampling_rate", f"{20 / self._sensor.period_s:.6f}")
        lines = [f"CH{i}[{name}]:{subsystem}" for i, (name, (subsystem, _)) in enumerate(self._rails.items())]
        _put(folder / "enabled_rails", "\n".join(lines))

    def write(self, root: Path, now_ns: int) -> None:
        """Write time and counters."""
        time_ms = now_ns // 1_000_000
        lines = [f"t={time_ms}"]
        for i, (name, (_, power)) in enumerate(self._rails.items()):
            counted = self._sensor.counter_uj(power.energy_uj(self._start_ns, now_ns))
            lines.append(f"CH{i}(T={time_ms})[{name}], {counted}")
        _put(self._folder(root) / "energy_value", "\n".join(lines))

    def _folder(self, root: Path) -> Path:
        return root / "sys/bus/iio/devices/iio:device0"


class Ina3221:
    """The monitor of a Jetson, as the kernel's own driver shows it.

    Args:
        rails: Name of the rail -> its power.
        sensor: Of all rails.
        seed: Of its noise.
    """

    _VOLTAGE_MV = 5_000

    def __init__(self, rails: Mapping[str, TruePower], *, sensor: Sensor, seed: int = 0) -> None:
        self.period_s = sensor.period_s
        self._rails = rails
        self._sensor = sensor
        self._rng = random.Random(seed)

    def create(self, root: Path) -> None:
        """Make the folder of a chip."""
        folder = self._folder(root)
        folder.mkdir(parents=True)
        _put(folder / "name", "ina3221")
        for i, name in enumerate(self._rails, start=1):
            _put(folder / f"in{i}_label", name)
            _put(folder / f"in{i}_enable", "1")
            _put(folder / f"in{i}_input", f"{self._VOLTAGE_MV}")

    def write(self, root: Path, now_ns: int) -> None:
        """Write the currents."""
        for i, power in enumerate(self._rails.values(), start=1):
            said_w = self._sensor.sampled_w(power.power_w(now_ns), self._rng)
            _put(self._folder(root) / f"curr{i}_input", f"{round(said_w * 1e6 / self._VOLTAGE_MV)}")

    def _folder(self, root: Path) -> Path:
        return root / "sys/class/hwmon/hwmon3"


class Battery:
    """The gauge of a phone's battery.

    Args:
        power: What the phone draws.
        sensor: Of the gauge.
        seed: Of its noise.
        unit: `uA`, or `mA` as some vendors have it.
        sign: Of the current while it gives energy.
    """

    _VOLTAGE_UV = 3_900_000

    def __init__(
        self, power: TruePower, *, sensor: Sensor, seed: int = 0, unit: str = "uA", sign: int = -1
    ) -> None:
        self.period_s = sensor.period_s
        self.status = "Discharging"
        self._power = power
        self._sensor = sensor
        self._rng = random.Random(seed)
        self._scale = sign * (1e6 if unit == "uA" else 1e3)

    def create(self, root: Path) -> None:
        """Make the folders of a battery and of a charger."""
        for name, kind in (("battery", "Battery"), ("usb", "USB")):
            folder = root / "sys/class/power_supply" / name
            folder.mkdir(parents=True)
            _put(folder / "type", kind)
        _put(root / "sys/class/power_supply/battery/voltage_now", f"{self._VOLTAGE_UV}")

    def write(self, root: Path, now_ns: int) -> None:
        """Write status and current."""
        said_w = self._sensor.sampled_w(self._power.power_w(now_ns), self._rng)
        folder = root / "sys/class/power_supply/battery"
        status = self.status  # another thread may change it meanwhile
        _put(folder.with_name("usb") / "online", "0" if status == "Discharging" else "1")
        _put(folder / "current_now", f"{round(said_w * 1e6 / self._VOLTAGE_UV * self._scale)}")
        _put(folder / "status", status)


class SimulatedDevice:
    """Keeps a tree of files up to date in a thread while it is entered.

    Args:
        root: Empty folder; meters are given it as `MeterSettings.root`.
        layouts: Its sensors.
        clock: Real: files and meters share its time.
    """

    def __init__(self, root: Path, layouts: Sequence[Layout], *, clock: Clock) -> None:
        self.root = root
        self._layouts = layouts
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulated device", daemon=True)
        self._writes: list[deque[tuple[int, int]]] = [deque(maxlen=_REMEMBERED) for _ in layouts]

    def __enter__(self) -> Self:
        """Make the tree and begin."""
        _put(self.root / _STATUS, "Nothing here is measured: the power is made up.")
        for layout in self._layouts:
            layout.create(self.root)
        for index in range(len(self._layouts)):
            self._write(index)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; the tree stays as it is."""
        self._stop.set()
        self._thread.join(_JOIN_S)

    def lag_s(self, layout: Layout, start_ns: int, end_ns: int) -> float:
        """Return how old a sensor's files became between two times; more than its period where it came too late, or is still awaited."""
        now_ns = self._clock.now_ns()
        writes = [*self._writes[self._layouts.index(layout)], (now_ns, now_ns)]
        ages_ns = [
            written_ns - true_ns
            for (true_ns, _), (_, written_ns) in pairwise(writes)
            if written_ns > start_ns and true_ns < end_ns
        ]
        return max(ages_ns, default=0) / _NS_PER_S

    def _write(self, index: int) -> None:
        true_ns = self._clock.now_ns()
        self._layouts[index].write(self.root, true_ns)
        self._writes[index].append((true_ns, self._clock.now_ns()))

    def _run(self) -> None:
        """Let each sensor update in its own rhythm; one that is late updates at once, with what is true then."""
        if not self._layouts:
            return
        due_ns = [self._clock.now_ns()] * len(self._layouts)
        while not self._stop.wait(max(0, min(due_ns) - self._clock.now_ns()) / _NS_PER_S):
            index = due_ns.index(min(due_ns))
            self._write(index)
            period_ns = round(self._layouts[index].period_s * _NS_PER_S)
            due_ns[index] = max(due_ns[index] + period_ns, self._clock.now_ns())


def _put(path: Path, said: str) -> None:
    """Replace a file at once, as files of the kernel change: nobody reads half of it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(f"{said}\n", encoding="utf-8")
    fresh.replace(path)
