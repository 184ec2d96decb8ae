"""Whether a device is in a state to be measured: at its full clock, charged, cool."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chamnet.clock import Clock
from chamnet.errors import DeviceError
from chamnet.records import Conditions, DeviceInfo

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["LOW_PERCENT", "CoolDown", "obstacles"]

_CAPPED = 0.97  # of the highest clock; less is throttled or a power mode
LOW_PERCENT = 20  # phones save power below
_POLL_S = 1.0
_LONGEST_S = 900


def obstacles(info: DeviceInfo) -> list[str]:
    """Return what makes a device slower now than it usually is, each with what helps; nothing where it says nothing."""
    now = info.conditions
    found = []
    highest = min(
        (each.max_khz for each in info.clusters if each.max_khz and set(each.cores) & set(info.cores)),
        default=None,
    )
    if highest and now.cap_khz and now.cap_khz < _CAPPED * highest:
        found.append(
            f"its measuring cores are held at {now.cap_khz / 1e6:.2f} of {highest / 1e6:.2f} GHz: let it cool, and leave"
            " power saving"
        )
    if "powersave" in now.governor.split(",") and now.cap_khz:
        found.append(
            "its clock governor is `powersave`: choose another, or set `governor` in the device profile"
        )
    if now.battery_percent is not None and now.battery_percent < LOW_PERCENT and not now.charging:
        found.append(f"its battery is at {now.battery_percent} %, where devices save power: charge it first")
    return found


class CoolDown:
    """Leaves a device to cool before each request.

    Args:
        limit_c: Temperature of its hottest zone above which it is left alone; None for no limit.
        strict: Whether a device that stays hot is an error; otherwise it is measured hot, and every visit says so.
        clock: Paces the wait.
    """

    def __init__(self, limit_c: float | None, *, strict: bool, clock: Clock) -> None:
        self._limit_c, self._strict, self._clock = limit_c, strict, clock
        self._last_c: float | None = None

    def saw(self, conditions: Conditions) -> None:
        """Take note of the conditions of a visit."""
        self._last_c = conditions.temperature_c

    def wait(self, client: "DeviceClient") -> Iterator[float]:
        """Yield the temperature each second until the device is cool enough.

        Raises:
            DeviceError: It stays hot for a quarter of an hour, and `strict` was asked for.
        """
        if self._limit_c is None or self._last_c is None or self._last_c <= self._limit_c:
            return
        end_ns = self._clock.now_ns() + _LONGEST_S * 10**9
        while self._last_c is not None and self._last_c > self._limit_c:
            if self._clock.now_ns() >= end_ns:
                if self._strict:
                    raise DeviceError(
                        f"the device stays at {self._last_c:.0f} °C, over the {self._limit_c:.0f} °C of `cool_to_c` in its"
                        " profile; what was measured is stored. Cool it and run the same command again, or raise the limit"
                    )
                return
            yield self._last_c
            self._clock.sleep_s(_POLL_S)
            self._last_c = client.describe().conditions.temperature_c
