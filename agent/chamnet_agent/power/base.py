"""The seam behind which energy is read."""

from typing import Protocol

from chamnet.records import Component

__all__ = ["PowerMeter"]


class PowerMeter(Protocol):
    """Counts the energy of the whole device. Reading it starts and stops nothing."""

    @staticmethod
    def describe() -> Component:
        """Return name, source and, if it is not usable here, why and what would help. Reads no energy."""
        ...
