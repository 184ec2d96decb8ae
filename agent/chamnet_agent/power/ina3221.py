"""Jetson: the INA3221 monitors of its power rails.

Two drivers show them [L4T]. Since L4T 34 (JetPack 5) the kernel's own, a hwmon chip `ina3221` with `inN_label`,
`inN_input` in mV and `currN_input` in mA, N from 1 to 3 [ina3221]; before, `ina3221x` with `rail_name_N` and
`in_powerN_input` in mW, N from 0 to 2. What rails there are depends on the module: Orin Nano and NX and Xavier NX have
`VDD_IN` (all of the module), `VDD_CPU_GPU_CV` and `VDD_SOC`; AGX Orin `VDD_GPU_SOC`, `VDD_CPU_CV`, `VIN_SYS_5V0`,
whose sum is the module's, with `VDDQ_VDD2_1V8AO` fed from the last; AGX Xavier `GPU`, `CPU`, `SOC`, `CV`, `VDDRQ`,
`SYS5V`; the first Nano `POM_5V_IN`, `POM_5V_GPU`, `POM_5V_CPU`. Any user may read them.

[L4T]: Jetson Linux Developer Guide, "Jetson Power Monitoring" of each module series
[ina3221]: https://docs.kernel.org/hwmon/ina3221.html
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chamnet.energy import Rail, Reading
from chamnet.energy.rails import Domain, Total
from chamnet.errors import MeterError
from chamnet.records import Component
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings
from chamnet_agent.power.sysfs import NamedFile, check_names, listed, optional_number, optional_text, why_not

__all__ = ["Ina3221Meter"]

_PERIOD_S = 0.1  # what people observe at the drivers' default settings; `update_interval` may say otherwise
_MILLI = 1e-3
_MICRO = 1e-6
_WHOLE = ("VDD_IN", "POM_5V_IN", "VIN")
_SUMS = (
    frozenset({"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"}),
    frozenset({"GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"}),
)
_WITHIN = {"VDDQ_VDD2_1V8AO": "VIN_SYS_5V0"}
_COMPUTE: dict[str, Domain] = {
    "VDD_CPU_GPU_CV": "package",
    "VDD_GPU_SOC": "gpu",
    "VDD_CPU_CV": "cpu",
    "VDDQ_VDD2_1V8AO": "memory",
    "VDD_SOC": "soc",
    "GPU": "gpu",
    "CPU": "cpu",
    "SOC": "soc",
    "CV": "npu",
    "VDDRQ": "memory",
    "VDD_SYS_GPU": "gpu",
    "VDD_SYS_CPU": "cpu",
    "VDD_SYS_SOC": "soc",
    "VDD_SYS_DDR": "memory",
    "POM_5V_GPU": "gpu",
    "POM_5V_CPU": "cpu",
    "VDD_GPU": "gpu",
    "VDD_CPU": "cpu",
    "VDD_CPU_SOC_MSS": "soc",
}


@dataclass(frozen=True, slots=True)
class _Channel:
    """One monitored rail: a power, or a voltage and a current to multiply."""

    name: str
    files: tuple[NamedFile, ...]
    scale: float

    def power_w(self) -> float:
        value = self.scale
        for file in self.files:
            value *= file.read()
        return value


class Ina3221Meter:
    """The INA3221 monitors of a Jetson."""

    shortest_poll_s = 0.005
    on_read = False

    def __init__(self, settings: MeterSettings = DEFAULT_SETTINGS) -> None:
        self._channels, self.period_s = _found(settings.root)
        names = [channel.name for channel in self._channels]
        self.rails = tuple(_rail(name, names) for name in names)

    @staticmethod
    def describe(settings: MeterSettings = DEFAULT_SETTINGS) -> Component:
        """Return whether there is such a monitor."""
        return Component(name="ina3221", provider="INA3221", why_not=why_not(lambda: _found(settings.root)))

    def read(self) -> Sequence[Reading]:
        """Return the power of every rail.

        Raises:
            MeterError: One is gone, renamed, or may not be read any more.
        """
        return (Reading(tuple(channel.power_w() for channel in self._channels)),)

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _found(root: Path) -> tuple[list[_Channel], float]:
    chips = [
        chip
        for chip in listed(root / "sys/class/hwmon", "hwmon*")
        if optional_text(chip / "name") == "ina3221"
    ]
    channels = [channel for chip in chips for channel in _of_kernel(chip)]
    if not channels:
        drivers = root / "sys/bus/i2c/drivers/ina3221x"
        channels = [channel for label in listed(drivers, "*/iio*/rail_name_*") for channel in _of_l4t(label)]
    if not channels:
        raise MeterError(
            f"no INA3221 monitor under {root / 'sys/class/hwmon'} or {root / 'sys/bus/i2c/drivers/ina3221x'}: not a"
            " Jetson that has one"
        )
    channels.sort(key=lambda channel: channel.name)
    check_names(channel.name for channel in channels)
    for channel in channels:
        channel.power_w()
    intervals_ms = [interval for chip in chips if (interval := optional_number(chip / "update_interval"))]
    return channels, max([_PERIOD_S, *(interval * _MILLI for interval in intervals_ms)])


def _of_kernel(chip: Path) -> list[_Channel]:
    channels = []
    for label in listed(chip, "in[123]_label"):
        number = label.name[2]
        name = optional_text(label)
        if name in ("", "NC") or optional_number(chip / f"in{number}_enable") == 0:
            continue
        files = (NamedFile(chip / f"in{number}_input", label, name), NamedFile(chip / f"curr{number}_input"))
        channels.append(_Channel(name, files, _MICRO))  # mV x mA
    return channels


def _of_l4t(label: Path) -> list[_Channel]:
    match = re.fullmatch(r"rail_name_(\d)", label.name)
    name = optional_text(label)
    if match is None or name in ("", "NC"):
        return []
    return [_Channel(name, (NamedFile(label.with_name(f"in_power{match[1]}_input"), label, name),), _MILLI)]


def _rail(name: str, names: Sequence[str]) -> Rail:
    totals: set[Total] = {"compute"} if name in _COMPUTE else set()
    whole = next((each for each in _WHOLE if each in names), None)
    if name == whole or (whole is None and any(name in each and each <= set(names) for each in _SUMS)):
        totals.add("device")
    within = _WITHIN.get(name, whole)
    return Rail(
        name=name,
        nature="power",
        domain="device" if name == whole else _COMPUTE.get(name, "other"),
        totals=frozenset(totals),
        within=within if within in names and within != name else None,
    )
