"""Pixel phones: the power rails that their power-management chips count, read through the IIO files of the kernel.

Each chip is a folder `iio:deviceN` with `name`, `sampling_rate` (Hz), `enabled_rails` and `energy_value`. Since the
Pixel 6 (`s2mpg10-odpm`, `s2mpg11-odpm` and later ones) `energy_value` says [odpm]:

    t=16086645                                  ms since the start of the phone
    CH3(T=16086645)[S2M_VDD_CPUCL2], 124265856  µWs since the channel began to count

and `enabled_rails` says `CH3[S2M_VDD_CPUCL2]:CPU(BIG)`. Before (`microchip,pac1934`) the lines were `16086645`,
`VPH_PWR_S5C_S6C,124265856` and `VPH_PWR_S5C_S6C:CPU` [powerstats]. The driver takes a new value when it is read, at
most once in 20 samples of the chip (which tells each step to 2.5 %, the sum better); what comes sooner gets the last
one again. Channels can be given to other rails
while the phone runs, and then count from zero. Only root and the system may read the files; the shell of a phone that is not
rooted gets the same rails from Perfetto (`chamnet_agent.power.perfetto`).

[odpm]: drivers/power/odpm of Google's kernel modules, `energy_value_show`, `ODPM_MIN_INTERVAL_ACC_COUNT`
[powerstats]: AOSP hardware/google/pixel/powerstats, `IioEnergyMeterDataProvider`, `RailDataProvider`
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chamnet.energy import Rail, Reading
from chamnet.energy.rails import Domain
from chamnet.errors import MeterError
from chamnet.records import Component
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings
from chamnet_agent.power.sysfs import (
    check_names,
    check_readable,
    listed,
    optional_number,
    optional_text,
    text,
    why_not,
)

__all__ = ["PixelMeter", "pixel_rail"]

_SAMPLES_PER_VALUE = 20
_LEAST_SAMPLES = 8  # read more often than this, the chip itself is kept from sampling
_RATE_HZ = 125.0  # where a chip does not say
_TIME = re.compile(r"(?:t=)?(\d+)")
_ENERGY = re.compile(r"(?:CH\d+\(T=\d+\)\[([^\]]+)\]|([^,\[\]]+)), *(-?\d+)")
_RAIL = re.compile(r"(?:CH\d+\[([^\]]+)\]|([^:\[\]]+)):(.*)")
# what a subsystem, or a rail's name where no subsystem is known, says -> what it feeds
_DOMAINS: tuple[tuple[str, Domain], ...] = (
    (r"CPU|.*_CPUCL\d", "cpu"),
    (r"GPU|.*_G3D", "gpu"),
    (r"TPU|.*_TPU", "npu"),
    (r"DDR|MIF|SLC|.*_MIF|.*_VDD2|.*_MEM", "memory"),
    (r"INT|.*_INT", "soc"),
    (r"Display|.*_DISP", "display"),
    (r"Modem|Cellular|WLAN|.*MODEM|.*RFFE|.*WLAN|GPS|UWB", "radio"),
    (r"UFS|IO|USB|PCIE", "io"),
)
_COMPUTE = ("cpu", "gpu", "npu", "memory")


@dataclass(frozen=True, slots=True)
class _Chip:
    """One power-management chip, and the rails that its channels count, by name."""

    file: Path
    rails: tuple[Rail, ...]
    rate_hz: float


class PixelMeter:
    """The counters of `energy_value` under `/sys/bus/iio/devices`."""

    on_read = True

    def __init__(self, settings: MeterSettings = DEFAULT_SETTINGS) -> None:
        self._chips = _found(settings.root)
        self.rails = tuple(rail for chip in self._chips for rail in chip.rails)
        slowest_hz = min(chip.rate_hz for chip in self._chips)
        self.period_s = _SAMPLES_PER_VALUE / slowest_hz
        self.shortest_poll_s = _LEAST_SAMPLES / slowest_hz

    @staticmethod
    def describe(settings: MeterSettings = DEFAULT_SETTINGS) -> Component:
        """Return whether this is a phone whose rails can be read."""
        return Component(
            name="pixel", provider="IIO power rails", why_not=why_not(lambda: _found(settings.root))
        )

    def read(self) -> Sequence[Reading]:
        """Return the counters of all rails.

        Raises:
            MeterError: A rail is not counted any more, or the files cannot be read.
        """
        values: list[float] = []
        stamp = 0
        for chip in self._chips:
            time_ms, energies = _energies(chip.file)
            stamp += time_ms
            for rail in chip.rails:
                if rail.name not in energies:
                    raise MeterError(
                        f"{chip.file} counts {', '.join(energies)} now, and not {rail.name} as before: open the meter again"
                    )
                values.append(energies[rail.name])
        return (Reading(tuple(values), stamp=stamp),)

    def close(self) -> None:
        """Do nothing: no file stays open."""


def pixel_rail(name: str, subsystem: str) -> Rail:
    """Return a rail of a Pixel by its own name and that of the subsystem it feeds, which may be empty.

    >>> pixel_rail("S2M_VDD_CPUCL2", "CPU(BIG)").domain
    'cpu'
    """
    domain: Domain = "other"
    for said in (subsystem, name):
        matching = [known for pattern, known in _DOMAINS if said and re.match(pattern, said, re.IGNORECASE)]
        if matching:
            domain = matching[0]
            break
    return Rail(
        name=name,
        nature="counter",
        domain=domain,
        totals=frozenset({"compute"}) if domain in _COMPUTE else frozenset(),
    )


def _found(root: Path) -> list[_Chip]:
    devices = root / "sys/bus/iio/devices"
    files = listed(devices, "iio:device*/energy_value")
    if not files:
        raise MeterError(f"no power rails under {devices}: not a Pixel phone, or one before the Pixel 3")
    check_readable(
        files,
        "root only: adb root on a userdebug build, or an agent started through su; without root take the meter"
        " perfetto, which has the same rails",
    )
    chips = [_chip(file) for file in files]
    check_names(rail.name for chip in chips for rail in chip.rails)
    return chips


def _chip(file: Path) -> _Chip:
    subsystems = {}
    for line in optional_text(file.with_name("enabled_rails")).splitlines():
        if match := _RAIL.fullmatch(line.strip()):
            subsystems[match[1] or match[2]] = match[3]
    _, energies = _energies(file)
    return _Chip(
        file,
        tuple(pixel_rail(name, subsystems.get(name, "")) for name in energies),
        optional_number(file.with_name("sampling_rate")) or _RATE_HZ,
    )


def _energies(file: Path) -> tuple[int, dict[str, float]]:
    """Return the time in ms, and µJ by rail."""
    first, *lines = text(file).splitlines() or [""]
    time = _TIME.fullmatch(first.strip())
    matches = [_ENERGY.fullmatch(line.strip()) for line in lines]
    if time is None or not lines:
        raise MeterError(f"{file} says {first[:40]!r}, which is no time; this phone's format is not known")
    energies: dict[str, float] = {}
    for line, match in zip(lines, matches, strict=True):
        if match is None:
            raise MeterError(
                f"{file} says {line[:60]!r}, which is no energy; this phone's format is not known"
            )
        energies[match[1] or match[2]] = float(match[3])
    return int(time[1]), energies
