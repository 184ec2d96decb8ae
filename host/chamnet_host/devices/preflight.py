"""Whether a device is in a state to be measured: at its full clock, charged, cool."""

import logging
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chamnet.clock import Clock
from chamnet.errors import DeviceError
from chamnet.records import Conditions, DeviceInfo

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["LOW_PERCENT", "CoolDown", "obstacles"]

log = logging.getLogger(__name__)

_CAPPED = 0.97  # of the highest clock; less is throttled or a power mode
LOW_PERCENT = 20  # phones save power below
_POLL_S = 1.0
_LONGEST_S = 900
_LONGEST_STILL_S = 120  # without a lower temperature: it is as cool as it gets here


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
    """Leaves a device to cool before each request; one that does not get cool is waited for once.

    Args:
        limit_c: Temperature of its hottest zone above which it is left alone; None for no limit.
        strict: Whether a device that stays hot is an error; otherwise it is measured hot, and every visit says so.
        clock: Paces the wait.
        name: Of the device, for messages.
    """

    def __init__(self, limit_c: float | None, *, strict: bool, clock: Clock, name: str = "") -> None:
        self._limit_c, self._strict, self._clock, self._name = limit_c, strict, clock, name
        self._last_c: float | None = None
        self._in_vain = False  # it was waited for, and has not been seen cool since

    def saw(self, conditions: Conditions) -> None:
        """Take note of the conditions of a visit."""
        self._last_c = conditions.temperature_c
        if self._last_c is not None and self._hot_c() is None:
            self._in_vain = False

    def wait(self, client: "DeviceClient") -> Iterator[float]:
        """Yield the temperature each second until the device is cool enough, or is seen not to get there.

        Raises:
            DeviceError: It stays hot for a quarter of an hour, or does not cool for two minutes, and `strict` was asked for.
        """
        if self._in_vain:
            return
        began_ns = fell_ns = self._clock.now_ns()
        lowest_c = math.inf
        while (now_c := self._hot_c()) is not None:
            now_ns = self._clock.now_ns()
            if now_c < lowest_c:
                lowest_c, fell_ns = now_c, now_ns
            if now_ns - began_ns >= _LONGEST_S * 10**9 or now_ns - fell_ns >= _LONGEST_STILL_S * 10**9:
                self._give_up(now_c)
                return
            yield now_c
            self._clock.sleep_s(_POLL_S)
            self.saw(client.describe().conditions)

    def _hot_c(self) -> float | None:
        """Return the temperature while it is over the limit."""
        hot = self._limit_c is not None and self._last_c is not None and self._last_c > self._limit_c
        return self._last_c if hot else None

    def _give_up(self, now_c: float) -> None:
        stays = f"{self._name}: it stays" if self._name else "the device stays"
        what = f"{stays} at {now_c:.0f} °C, over the {self._limit_c:.0f} °C of `cool_to_c` in its profile"
        if self._strict:
            raise DeviceError(
                f"{what}; what was measured is stored. Cool it and run the same command again, or raise the limit"
            )
        self._in_vain = True
        log.warning("%s; it is measured hot, and not waited for again before it was cool", what)
