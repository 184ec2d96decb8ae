"""What the device is like around a visit: clock, temperature, load."""

from collections.abc import Sequence
from pathlib import Path

from chamnet.records import Conditions

__all__ = ["Sensors"]

_MILLI = 1_000


class Sensors:
    """Reads the conditions of the cores that measure.

    Args:
        cores: What the worker is pinned to.
        root: Where the file system of the device begins.
    """

    def __init__(self, *, cores: Sequence[int], root: Path = Path("/")) -> None:
        self._cores = cores
        self._root = root

    def read(self) -> Conditions:
        """Return the conditions now; takes a fraction of a millisecond."""
        return Conditions(
            cpu_khz=self._cpu_khz(), temperature_c=self._temperature_c(), load_1min=self._load_1min()
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


def _number(path: Path) -> float | None:
    """Return the first number in a file; None where there is none to read."""
    try:
        return float(path.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return None
