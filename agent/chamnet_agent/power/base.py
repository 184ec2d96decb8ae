"""The seam behind which energy is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from chamnet.energy import Rail, Reading
from chamnet.records import Component

__all__ = ["DEFAULT_SETTINGS", "MeterSettings", "PowerMeter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSettings:
    """What a meter cannot find out by itself; from the device profile.

    Attributes:
        root: Where the file system of the device begins.
        gpus: Indices or UUIDs of the graphics cards that compute; the others are not counted.
        battery: Name of the power supply that is the battery; empty to look for it.
        battery_current: Unit of the battery's `current_now`, which some vendors give in mA.
        battery_discharge: Sign of that current while the battery gives energy, which some vendors turn round; `any`
            trusts the battery's status instead.
        trace: File of a recorded series of power.
        trace_offset_s: What to add to the times in that file to have those of this device's monotonic clock.
    """

    root: Path = Path("/")
    gpus: tuple[str, ...] = ("0",)
    battery: str = ""
    battery_current: Literal["uA", "mA"] = "uA"
    battery_discharge: Literal["any", "positive", "negative"] = "any"
    trace: Path | None = None
    trace_offset_s: float = 0.0


DEFAULT_SETTINGS = MeterSettings()


class PowerMeter(Protocol):
    """An open source of energy. One thread at a time reads it; reading starts and stops nothing on the device.

    Attributes:
        rails: What it knows, by unique names; they stay the same while it is open.
        period_s: Nominal time between updates of the source.
        shortest_poll_s: Reading more often than this is useless, or disturbs the source.
        on_read: Whether a reading is of its moment; else it is as old as the source's last update.
    """

    rails: tuple[Rail, ...]
    period_s: float
    shortest_poll_s: float
    on_read: bool

    def __init__(self, settings: MeterSettings = DEFAULT_SETTINGS) -> None:
        """Open the source.

        Raises:
            MeterError: It is not usable here; says why and what would help.
        """
        ...

    @staticmethod
    def describe(settings: MeterSettings = DEFAULT_SETTINGS) -> Component:
        """Return name, source and, if it is not usable here, why and what would help. Reads no energy."""
        ...

    def read(self) -> Sequence[Reading]:
        """Return what the source says now: one reading, or what it recorded since the last call, oldest first.

        Raises:
            MeterError: It cannot be read now; the next call may succeed.
        """
        ...

    def close(self) -> None:
        """Give back what is open; calling it again does nothing."""
        ...
