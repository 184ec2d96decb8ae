"""Running average power limit: the energy counters of Intel and AMD processors, read through powercap.

Zones are folders `intel-rapl:0` (a package, or `psys`, the whole platform) and `intel-rapl:0:0` (a part of it), each
with `name`, `energy_uj` and `max_energy_range_uj` [powercap]. A package's counter contains those of its cores and of
its graphics (`uncore`), but not that of `dram`, although powercap nests it; `psys` contains everything [SDM].
`intel-rapl-mmio` shows the same packages once more and is left out. The counters are updated about every millisecond
[Hähnel2012]. Since CVE-2020-8694 only root may read them [platypus].

[powercap]: https://docs.kernel.org/power/powercap/powercap.html
[SDM]: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3B
[Hähnel2012]: Measuring energy consumption for short code paths using RAPL. SIGMETRICS PER 40(3).
[platypus]: kernel commit 949dd0104c49, "powercap: restrict energy meter to root access"
"""

import re
from collections.abc import Sequence
from pathlib import Path

from chamnet.energy import Rail, Reading
from chamnet.energy.rails import Domain, Total
from chamnet.errors import MeterError
from chamnet.records import Component
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings
from chamnet_agent.power.sysfs import (
    NamedFile,
    check_readable,
    is_there,
    listed,
    optional_number,
    text,
    why_not,
)

__all__ = ["RaplMeter"]

_ZONE = re.compile(r"intel-rapl:\d+(:\d+)*")
_PLATFORM = "psys"
_COMPUTE: frozenset[Total] = frozenset({"compute"})
_DEVICE: frozenset[Total] = frozenset({"device"})
# first word of a zone's name -> what it feeds, what it counts towards, whether its package contains it
_KINDS: dict[str, tuple[Domain, frozenset[Total], bool]] = {
    "package": ("package", _COMPUTE, False),
    "dram": ("memory", _COMPUTE, False),
    "psys": ("device", _DEVICE, False),
    "core": ("cpu", frozenset(), True),
    "uncore": ("uncore", frozenset(), True),
}


class RaplMeter:
    """The counters under `/sys/class/powercap`."""

    period_s = 0.001
    shortest_poll_s = 0.001
    on_read = False

    def __init__(self, settings: MeterSettings = DEFAULT_SETTINGS) -> None:
        found = _found(settings.root)
        self.rails = tuple(rail for rail, _ in found)
        self._files = tuple(file for _, file in found)

    @staticmethod
    def describe(settings: MeterSettings = DEFAULT_SETTINGS) -> Component:
        """Return whether the counters can be read here."""
        return Component(name="rapl", provider="powercap", why_not=why_not(lambda: _found(settings.root)))

    def read(self) -> Sequence[Reading]:
        """Return the counters.

        Raises:
            MeterError: One is gone, or may not be read any more.
        """
        return (Reading(tuple(file.read() for file in self._files)),)

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _found(root: Path) -> list[tuple[Rail, NamedFile]]:
    powercap = root / "sys/class/powercap"
    zones = _zones(powercap)
    if not zones:
        raise MeterError(
            f"no intel-rapl counters under {powercap}: not an x86 host, a virtual machine that hides them, or the"
            " driver is missing (sudo modprobe intel_rapl_msr)"
        )
    names = {zone: text(folder / "name") for zone, folder in zones.items()}
    found = [(_rail(zone, names, folder), _file(folder)) for zone, folder in zones.items()]
    check_readable(
        (file.value for _, file in found),
        "it is for root only; run the agent as root, or, until the next start of the machine:"
        f" sudo chmod a+r {powercap}/intel-rapl:*/energy_uj",
    )
    for _, file in found:
        file.read()
    return found


def _zones(powercap: Path) -> dict[str, Path]:
    """Return the folders by zone. The kernel lists nested zones beside the others, too; a bare copy may not."""
    folders = [*listed(powercap, "intel-rapl:*"), *listed(powercap, "intel-rapl:*/intel-rapl:*")]
    zones = {each.name: each for each in reversed(folders) if _ZONE.fullmatch(each.name)}
    return {name: zones[name] for name in sorted(zones) if is_there(zones[name] / "energy_uj")}


def _rail(zone: str, names: dict[str, str], folder: Path) -> Rail:
    parent = names.get(zone.rpartition(":")[0])
    name = names[zone]
    kind, totals, contained = _KINDS.get(name.partition("-")[0], ("other", frozenset(), True))
    platform = _PLATFORM if _PLATFORM in names.values() and name != _PLATFORM else None
    return Rail(
        name=f"{parent}/{name}" if parent else name,
        nature="counter",
        domain=kind,
        totals=totals,
        within=parent if contained and parent else platform,
        wraps_uj=optional_number(folder / "max_energy_range_uj") or None,
    )


def _file(folder: Path) -> NamedFile:
    return NamedFile(folder / "energy_uj", folder / "name", text(folder / "name"))
