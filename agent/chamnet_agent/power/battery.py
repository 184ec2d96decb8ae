"""The gauge of a battery: what the whole phone or laptop draws, while it is not charged.

A supply of type `Battery` has `voltage_now` (µV) and `current_now` (µA), or `power_now` (µW), or at least
`charge_counter` (µAh), and `status` [sysfs-class-power]. What vendors make of it differs: of the sign of the current
three conventions are in use, so it is not trusted unless the device profile gives it [sign]; some give mA. Some phones
have several supplies of this type that are one battery [several]. While a charger is connected the current is the
charger's business, so nothing is read then, although a weak charger leaves the status at `Discharging`, unless the charger is
cut off [force-discharge]. Gauges update once in a second to once in minutes.

[sysfs-class-power]: https://docs.kernel.org/admin-guide/abi-testing.html, `sysfs-class-power`
[sign]: kernel commit 05f94eb98907, "power: supply: document current direction"
[force-discharge]: `charge_behaviour` of [sysfs-class-power]; `input_suspend` in kernels of Qualcomm's phones
[several]: https://stackoverflow.com/questions/26616073
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chamnet.energy import Rail, Reading
from chamnet.errors import MeterError
from chamnet.records import Component
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings
from chamnet_agent.power.sysfs import check_readable, is_there, listed, number, optional_text, text, why_not

__all__ = ["BatteryMeter"]

_MICRO = 1e-6
_MILLI = 1e-3
_LEAST_V, _MOST_V = 2.0, 120.0  # of a battery's cells in series; tells mV from µV
_LEAST_W, _MOST_W = 0.01, 400.0  # of a device that is awake; tells mA from µA
_UJ_PER_UAH_V = 3_600.0  # 1 µAh x 1 V = 3.6 mJ
_PERIOD_S, _CHARGE_PERIOD_S = 1.0, 30.0
_UNPLUG = "unplug it, and reach it over adb tcpip or Wi-Fi instead"


@dataclass(frozen=True, slots=True)
class _Battery:
    """A battery's files, and what to compute its power from."""

    folder: Path
    source: str  # power_now, current_now or charge_counter

    def file(self, name: str) -> Path:
        return self.folder / name


class BatteryMeter:
    """The battery under `/sys/class/power_supply`, while it gives all the power."""

    shortest_poll_s = 0.1
    on_read = False

    def __init__(self, settings: MeterSettings = DEFAULT_SETTINGS) -> None:
        self._settings = settings
        self._battery = _found(settings)
        counts = self._battery.source == "charge_counter"
        self.period_s = _CHARGE_PERIOD_S if counts else _PERIOD_S
        self.rails = (
            Rail(
                name=self._battery.folder.name,
                nature="counter" if counts else "power",
                domain="battery",
                totals=frozenset({"device"}),
            ),
        )
        self._used_uj = 0.0
        self._charge_uah: float | None = None

    @staticmethod
    def describe(settings: MeterSettings = DEFAULT_SETTINGS) -> Component:
        """Return whether there is a battery that gives all the power now."""
        return Component(name="battery", provider="power_supply", why_not=why_not(lambda: _found(settings)))

    def read(self) -> Sequence[Reading]:
        """Return what the battery gives.

        Raises:
            MeterError: It is being charged, or cannot be read.
        """
        _check_discharging(self._battery.folder)
        if self._battery.source == "charge_counter":
            return (Reading((self._counted_uj(),)),)
        return (Reading((_power_w(self._battery, self._settings),)),)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _counted_uj(self) -> float:
        charge_uah = number(self._battery.file("charge_counter"))
        if self._charge_uah is not None:
            self._used_uj += (self._charge_uah - charge_uah) * _voltage_v(self._battery) * _UJ_PER_UAH_V
        self._charge_uah = charge_uah
        return self._used_uj


def _found(settings: MeterSettings) -> _Battery:
    supplies = settings.root / "sys/class/power_supply"
    battery = _chosen(supplies, settings.battery)
    check_readable(
        [path for name in ("status", battery.source, "voltage_now") if is_there(path := battery.file(name))],
        "on a phone its shell may be kept from it: an agent started through su can read it; else take the meter"
        " perfetto or an external one",
    )
    _check_discharging(battery.folder)
    if battery.source == "current_now":
        _check_unit(battery, settings)
    return battery


def _chosen(supplies: Path, wanted: str) -> _Battery:
    """Return the battery by name; `battery` is its name on almost all phones, `BAT0` on laptops."""
    known = {
        battery.folder.name: battery
        for folder in listed(supplies, "*")
        if optional_text(folder / "type") == "Battery" and (battery := _with_source(folder))
    }
    if not known:
        raise MeterError(f"no battery under {supplies} tells current, power or charge: a device without one")
    names = [wanted] if wanted else [name for name in ("battery", "BAT0", *known) if name in known][:1]
    laptop = all(re.fullmatch(r"BAT\d", name) for name in known)
    if len(known) > 1 and not wanted and (laptop or names[0] not in ("battery", "BAT0")):
        raise MeterError(f"there are several batteries: {', '.join(known)}; name one in the device profile")
    if names[0] not in known:
        raise MeterError(f"there is no battery {wanted!r} under {supplies}; there is {', '.join(known)}")
    return known[names[0]]


def _with_source(folder: Path) -> _Battery | None:
    for source, others in (
        ("power_now", ()),
        ("current_now", ("voltage_now",)),
        ("charge_counter", ("voltage_now",)),
    ):
        if all(is_there(folder / name) for name in (source, *others)):
            return _Battery(folder, source)
    return None


def _check_discharging(folder: Path) -> None:
    status = text(folder / "status")
    online = [
        other.name
        for other in listed(folder.parent, "*")
        if optional_text(other / "type") not in ("", "Battery") and optional_text(other / "online") == "1"
    ]
    if status == "Unknown" and not online:
        return  # some gauges never say more
    if status != "Discharging" or (online and not _is_cut_off(folder)):
        plugged = f", {', '.join(online)} is connected" if online else ""
        raise MeterError(
            f"{folder.name} is {status.lower()!r}{plugged}: what it gives tells nothing; {_UNPLUG}"
        )


def _is_cut_off(folder: Path) -> bool:
    """Return whether the device takes nothing of its charger, though it is connected [force-discharge]."""
    forced = "[force-discharge]" in optional_text(folder / "charge_behaviour")
    return forced or optional_text(folder / "input_suspend") == "1"


def _power_w(battery: _Battery, settings: MeterSettings) -> float:
    if battery.source == "power_now":
        power_w = number(battery.file("power_now")) * _MICRO
    else:
        unit = _MICRO if settings.battery_current == "uA" else _MILLI
        power_w = number(battery.file("current_now")) * unit * _voltage_v(battery)
    if settings.battery_discharge == "any":
        return abs(power_w)
    return -power_w if settings.battery_discharge == "negative" else power_w


def _voltage_v(battery: _Battery) -> float:
    said = number(battery.file("voltage_now"))
    for unit in (_MICRO, _MILLI):
        if _LEAST_V <= said * unit <= _MOST_V:
            return said * unit
    raise MeterError(
        f"{battery.file('voltage_now')} says {said:.0f}: neither in µV nor in mV the voltage of a battery"
    )


def _check_unit(battery: _Battery, settings: MeterSettings) -> None:
    power_w = abs(_power_w(battery, settings))
    if power_w and not _LEAST_W <= power_w <= _MOST_W:
        said, other = text(battery.file("current_now")), "mA" if settings.battery_current == "uA" else "uA"
        raise MeterError(
            f"{battery.file('current_now')} says {said}, in {settings.battery_current} that would be {power_w:.3g} W:"
            f' give its unit in the device profile, likely battery_current = "{other}"'
        )
