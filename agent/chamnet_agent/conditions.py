"""What the device is like around a visit: clock, temperature, load, and a fixed computation as a probe."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from chamnet import stats
from chamnet.clock import Clock
from chamnet.records import Conditions

__all__ = ["Sensors"]

_PROBE_SIZE = 128
_PROBE_RUNS = 5
_MILLI = 1_000


class Sensors:
    """Reads the conditions of the cores that measure.

    Args:
        cores: What the worker is pinned to.
        clock: Times the probe.
        root: Where the file system of the device begins.
        probe: The reference computation; a matrix product of fixed size by default.
    """

    def __init__(
        self,
        *,
        cores: Sequence[int],
        clock: Clock,
        root: Path = Path("/"),
        probe: Callable[[], object] | None = None,
    ) -> None:
        self._cores = cores
        self._clock = clock
        self._root = root
        self._probe = probe or _matrix_product()

    def read(self) -> Conditions:
        """Return the conditions now; takes about a millisecond."""
        return Conditions(
            cpu_khz=self._cpu_khz(),
            temperature_c=self._temperature_c(),
            probe_ns=self._probe_ns(),
            load_1min=self._load_1min(),
        )

    def _cpu_khz(self) -> int | None:
        """Return the lowest clock among the cores: the slowest one sets the pace."""
        cpu = self._root / "sys/devices/system/cpu"
        clocks = [_number(cpu / f"cpu{core}/cpufreq/scaling_cur_freq") for core in self._cores]
        return min((int(khz) for khz in clocks if khz is not None), default=None)

    def _temperature_c(self) -> float | None:
        """Return the temperature of the hottest zone; zones that say 0 or below have no sensor."""
        zones = (self._root / "sys/class/thermal").glob("thermal_zone*/temp")
        readings = [reading for zone in zones if (reading := _number(zone)) is not None and reading > 0]
        return max(readings) / _MILLI if readings else None

    def _load_1min(self) -> float | None:
        return _number(self._root / "proc/loadavg")

    def _probe_ns(self) -> int:
        samples = []
        for _ in range(_PROBE_RUNS):
            start_ns = self._clock.now_ns()
            self._probe()
            samples.append(self._clock.now_ns() - start_ns)
        return round(stats.median(samples))


def _matrix_product() -> Callable[[], object]:
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((2, _PROBE_SIZE, _PROBE_SIZE), dtype=np.float32)
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)


def _number(path: Path) -> float | None:
    """Return the first number in a file; None where there is none to read."""
    try:
        return float(path.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
