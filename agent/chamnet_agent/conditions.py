"""What the device is like around a visit: clocks, temperature, load, battery."""

from collections.abc import Sequence
from pathlib import Path

from chamnet.machine import core_ranges
from chamnet.records import Conditions
from chamnet_agent.power.sysfs import listed

__all__ = ["Sensors"]

_MILLI = 1_000
_CHARGING = {"Charging": True, "Full": True, "Discharging": False, "Not charging": False}


class Sensors:
    """Reads the conditions of the cores that measure.

    Args:
        cores: What the worker is pinned to.
        root: Where the file system of the device begins.
    """

    def __init__(self, *, cores: Sequence[int], root: Path = Path("/")) -> None:
        self._cores = cores
        self._root = root
        self._cpu = root / "sys/devices/system/cpu"

    def read(self) -> Conditions:
        """Return the conditions now; takes a fraction of a millisecond, a few on a phone with many thermal zones."""
        percent, charging = self._battery()
        return Conditions(
            cpu_khz=self._lowest_khz("scaling_cur_freq"),
            temperature_c=self._temperature_c(),
            load_1min=_number(self._root / "proc/loadavg"),
            cap_khz=self._lowest_khz("scaling_max_freq"),
            governor=self._governor(),
            online_cores=self._online_cores(),
            battery_percent=percent,
            charging=charging,
        )

    def _lowest_khz(self, name: str) -> int | None:
        """Return the lowest clock among the cores: the slowest one sets the pace."""
        clocks = [_number(self._cpu / f"cpu{core}/cpufreq" / name) for core in self._cores]
        return min((int(khz) for khz in clocks if khz is not None), default=None)

    def _governor(self) -> str:
        names = {_text(self._cpu / f"cpu{core}/cpufreq/scaling_governor") for core in self._cores}
        return ",".join(sorted(name for name in names if name))

    def _online_cores(self) -> int | None:
        try:
            return len(tuple(core_ranges(_text(self._cpu / "online")))) or None
        except ValueError:
            return None

    def _temperature_c(self) -> float | None:
        """Return the temperature of the hottest zone; zones that say 0 or below have no sensor."""
        zones = listed(self._root / "sys/class/thermal", "thermal_zone*/temp")
        readings = [reading for zone in zones if (reading := _number(zone)) is not None and reading > 0]
        return max(readings) / _MILLI if readings else None

    def _battery(self) -> tuple[int | None, bool | None]:
        """Return charge in percent, and whether it is being charged, of the first battery."""
        for supply in listed(self._root / "sys/class/power_supply", "*"):
            if _text(supply / "type") == "Battery":
                percent = _number(supply / "capacity")
                charging = _CHARGING.get(_text(supply / "status"))
                return None if percent is None or percent < 0 else int(percent), charging
        return None, None


def _text(path: Path) -> str:
    """Return what a file says; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    """Return the first number in a file; None where there is none to read."""
    try:
        return float(_text(path).split()[0])
    except (ValueError, IndexError):
        return None
