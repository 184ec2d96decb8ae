"""The seam behind which the host reads energy, and the names of what there is."""

from importlib import import_module
from typing import Protocol, cast

from chamnet.clock import Clock
from chamnet.energy.recorder import Source
from chamnet.errors import ConfigError
from chamnet.records import Component

__all__ = ["METERS", "HostMeter", "all_told", "is_external", "open_meter", "told_of"]

METERS = {
    "monsoon": "chamnet_host.external.monsoon:MonsoonMeter",
    "recording": "chamnet_host.external.recording:RecordingMeter",
}


class HostMeter(Source, Protocol):
    """A source of the energy of a whole device, read by the host; what it says is told by the host's monotonic clock.

    Attributes:
        settle_s: How long it may take until what it saw can be read.
    """

    settle_s: float

    def __init__(self, argument: str, *, clock: Clock) -> None:
        """Open the source.

        Args:
            argument: What the user wrote after the colon of its name.
            clock: The host's.

        Raises:
            MeterError: It is not usable here; says why and what would help.
            ConfigError: The argument makes no sense.
        """
        ...

    @staticmethod
    def describe(argument: str) -> Component:
        """Return name, source and, if it is not usable here, why and what would help. Changes nothing on the device.

        Raises:
            ConfigError: The argument makes no sense.
        """
        ...


def is_external(meter: str) -> bool:
    """Return whether the host reads the meter of that name, with or without an argument: `monsoon`, `recording:FILE`."""
    return _parted(meter)[0] in METERS


def told_of(meter: str) -> Component:
    """Return what a meter of the host says of itself.

    Raises:
        ConfigError: What follows its name makes no sense.
    """
    name, argument = _parted(meter)
    return _load(name).describe(argument)


def all_told(chosen: str = "") -> list[Component]:
    """Return what each meter of the host says of itself.

    Args:
        chosen: One of them with its argument, such as `recording:FILE`; the others are asked without any.
    """
    return [_told(chosen if _parted(chosen)[0] == name else name) for name in METERS]


def _told(meter: str) -> Component:
    try:
        return told_of(meter)
    except ConfigError as error:  # without an argument that it needs, or with one that makes no sense
        return Component(name=_parted(meter)[0], why_not=str(error))


def open_meter(meter: str, *, clock: Clock) -> HostMeter:
    """Open a meter of the host.

    Raises:
        MeterError: It is not usable here.
        ConfigError: What follows its name makes no sense.
    """
    name, argument = _parted(meter)
    return _load(name)(argument, clock=clock)


def _parted(meter: str) -> tuple[str, str]:
    name, _, argument = meter.partition(":")
    return name, argument


def _load(name: str) -> type[HostMeter]:
    module, _, attribute = METERS[name].partition(":")
    return cast(type[HostMeter], getattr(import_module(module), attribute))
