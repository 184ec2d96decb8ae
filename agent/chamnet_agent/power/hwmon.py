"""Power and energy of any chip that the kernel's hwmon knows: graphics cards, power supplies, AMD's `amd_energy`.

Each chip is a folder `hwmonN` with `name`; numbers change from one start of the machine to the next, so rails are
named after the chip and its label. Power is in `powerN_average` or else `powerN_input`, in µW; energy in
`energyN_input`, in µJ, counted in 64 bits; `powerN_label` and `energyN_label` say of what [sysfs-interface].
Jetson's `ina3221` has a meter of its own (`chamnet_agent.power.ina3221`), and so has a battery.

[sysfs-interface]: https://docs.kernel.org/hwmon/sysfs-interface.html
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chamnet.energy import Rail, Reading
from chamnet.energy.rails import Domain, Nature, Total
from chamnet.errors import MeterError
from chamnet.records import Component
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings
from chamnet_agent.power.sysfs import (
    NamedFile,
    check_names,
    is_there,
    listed,
    optional_number,
    optional_text,
    text,
    why_not,
)

__all__ = ["HwmonMeter"]

_CHANNEL = re.compile(r"(power|energy)(\d+)_(average|input)")
_MICRO = 1e-6
_MILLI = 1e-3
_PERIOD_S = 0.1  # where the chip does not say; look at what is observed
_COMPUTE: frozenset[Total] = frozenset({"compute"})
_DEVICE: frozenset[Total] = frozenset({"device"})
# (chip, label, both as regular expressions) -> what it feeds, what it counts towards
_KNOWN: tuple[tuple[str, str, Domain, frozenset[Total]], ...] = (
    ("amdgpu", "fastPPT", "gpu", frozenset()),  # the sensor of slowPPT, shown twice
    ("amdgpu|radeon", ".*", "gpu", _COMPUTE),
    ("i915", ".*", "gpu", _COMPUTE),
    ("xe", "pkg", "gpu", frozenset()),  # of the card
    ("xe", ".*", "gpu", _COMPUTE),
    ("amd_energy", "Esocket.*", "package", _COMPUTE),
    ("amd_energy", "Ecore.*", "cpu", frozenset()),  # of a socket
    ("fam15h_power|zenpower", ".*", "package", _COMPUTE),
    ("power_meter", ".*", "device", _DEVICE),  # ACPI: what the machine draws
    ("macsmc_hwmon", "Total System Power", "device", _DEVICE),
)
_PERIODS_S = {"amd_energy": 1.5}  # it keeps values for one to two seconds, so that they tell no secrets
_ELSEWHERE = ("ina3221",)


@dataclass(frozen=True, slots=True)
class _Channel:
    """One power or energy of one chip."""

    chip: str
    device: str
    nature: Nature
    file: NamedFile
    label: str
    period_s: float | None

    @property
    def scale(self) -> float:
        return _MICRO if self.nature == "power" else 1.0


class HwmonMeter:
    """The chips under `/sys/class/hwmon`."""

    on_read = False

    def __init__(self, settings: MeterSettings = DEFAULT_SETTINGS) -> None:
        self._channels, self.rails = _found(settings.root)
        periods_s = [channel.period_s for channel in self._channels if channel.period_s]
        self.period_s = max(periods_s, default=_PERIOD_S)
        self.shortest_poll_s = min(self.period_s, 0.01)

    @staticmethod
    def describe(settings: MeterSettings = DEFAULT_SETTINGS) -> Component:
        """Return whether there is a chip that can be read here."""
        return Component(name="hwmon", provider="hwmon", why_not=why_not(lambda: _found(settings.root)))

    def read(self) -> Sequence[Reading]:
        """Return power and energy of every chip; NaN of one that tells nothing now, as a card that sleeps.

        Raises:
            MeterError: None of them can be read; says why the first cannot.
        """
        values, failures = [math.nan] * len(self._channels), [""] * len(self._channels)
        for i, channel in enumerate(self._channels):
            try:
                values[i] = channel.file.read() * channel.scale
            except MeterError as error:
                failures[i] = str(error)
        if all(failures):
            raise MeterError(failures[0])
        return (Reading(tuple(values), why_not=tuple(failures)),)

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _found(root: Path) -> tuple[list[_Channel], tuple[Rail, ...]]:
    hwmon = root / "sys/class/hwmon"
    channels = [channel for chip in listed(hwmon, "hwmon*") for channel in _chip(chip)]
    if not channels:
        raise MeterError(f"no chip under {hwmon} has power or energy: this machine has no such sensor")
    readable, first_error = [], None
    for channel in channels:
        try:
            channel.file.read()
        except MeterError as error:  # for root only, or of a card that sleeps: the others may do
            first_error = first_error or error
        else:
            readable.append(channel)
    if not readable:
        raise MeterError(f"no chip with power or energy can be read: {first_error}") from first_error
    counts = {(channel.chip, channel.device) for channel in readable if channel.nature == "counter"}
    readable = [  # a chip's counter knows better than its power
        channel
        for channel in readable
        if channel.nature == "counter" or (channel.chip, channel.device) not in counts
    ]
    rails = tuple(_rails(readable))
    check_names(rail.name for rail in rails)
    return readable, rails


def _chip(folder: Path) -> Iterator[_Channel]:
    name = optional_text(folder / "name")
    if not name or name in _ELSEWHERE or optional_text(folder / "device/type") == "Battery":
        return
    device = (folder / "device").resolve().name
    files: dict[tuple[str, int], Path] = {}
    for path in listed(folder, "*"):  # `average` comes before `input`, and is the better one
        if match := _CHANNEL.fullmatch(path.name):
            files.setdefault((match[1], int(match[2])), path)
    for (nature, number), path in sorted(files.items()):
        label = folder / f"{nature}{number}_label"
        period_ms = optional_number(folder / f"{nature}{number}_average_interval") or optional_number(
            folder / "update_interval"
        )
        said = text(label) if is_there(label) else ""
        yield _Channel(
            name,
            device,
            "power" if nature == "power" else "counter",
            NamedFile(path, label, said) if said else NamedFile(path, folder / "name", name),
            said or f"{nature}{number}",
            period_ms * _MILLI if period_ms else _PERIODS_S.get(name),
        )


def _rails(channels: Sequence[_Channel]) -> Iterator[Rail]:
    """Name the rails; where chips of one kind are told apart by their bus address, it is part of the name."""
    devices = {(channel.chip, channel.device) for channel in channels}
    alike = Counter(chip for chip, _ in devices)
    for channel in channels:
        name = _name(channel, alike)
        domain, totals = _kind(channel)
        yield Rail(name=name, nature=channel.nature, domain=domain, totals=totals)


def _name(channel: _Channel, alike: Counter[str]) -> str:
    chip = f"{channel.chip}@{channel.device}" if alike[channel.chip] > 1 else channel.chip
    return f"{chip}/{channel.label}"


def _kind(channel: _Channel) -> tuple[Domain, frozenset[Total]]:
    for chip, label, domain, totals in _KNOWN:
        if re.fullmatch(chip, channel.chip) and re.fullmatch(label, channel.label):
            return domain, totals
    return "other", frozenset()
