"""Running average power limit: the energy counters of Intel and AMD processors, read through powercap."""

import os
from pathlib import Path

from chamnet.records import Component

__all__ = ["RaplMeter"]


class RaplMeter:
    """The package counters under `/sys/class/powercap`."""

    @staticmethod
    def describe(root: Path = Path("/")) -> Component:
        """Return whether the counters can be read here.

        Args:
            root: Where the file system of the device begins.
        """
        return Component(name="rapl", provider="powercap", why_not=_why_not(root / "sys/class/powercap"))


def _why_not(powercap: Path) -> str | None:
    counters = sorted(powercap.glob("intel-rapl:*/energy_uj")) if powercap.is_dir() else []
    if not counters:
        return (
            f"no intel-rapl counters under {powercap}: not an x86 host, or a virtual machine that hides them"
        )
    if not os.access(counters[0], os.R_OK):
        return (
            f"{counters[0]} is readable by root only; run the agent as root, or: sudo chmod a+r {counters[0]}"
        )
    return None
