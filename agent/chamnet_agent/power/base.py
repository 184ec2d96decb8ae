"""The seam behind which energy is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from chamnet.energy.recorder import Source
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


class PowerMeter(Source, Protocol):
    """A source of energy on this device, by the contract of `Source`, that can be looked for before it is opened."""

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
