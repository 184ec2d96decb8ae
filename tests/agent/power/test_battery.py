from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from chamnet.errors import MeterError
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.battery import BatteryMeter
from chamnet_agent.power.testing import said

Write = Callable[[str, object], Path]
Put = Callable[[str], None]


@pytest.mark.parametrize("current", [-412_000, 412_000])
def test_the_sign_of_the_current_does_not_matter(
    put: Put, write: Write, tmp_path: Path, current: int
) -> None:
    put("battery")
    write("sys/class/power_supply/battery/current_now", current)
    assert said(BatteryMeter(MeterSettings(root=tmp_path))) == pytest.approx({"battery": 4.012 * 0.412})


def test_a_profile_may_give_the_sign(put: Put, write: Write, tmp_path: Path) -> None:
    put("battery")
    meter = BatteryMeter(MeterSettings(root=tmp_path, battery_discharge="negative"))
    assert said(meter)["battery"] > 0
    write("sys/class/power_supply/battery/current_now", 90_000)  # it takes energy, whatever its status says
    assert said(meter)["battery"] < 0


def test_milliampere_are_suspected_and_can_be_set(put: Put, write: Write, tmp_path: Path) -> None:
    put("battery")
    write("sys/class/power_supply/battery/current_now", 412)
    why_not = BatteryMeter.describe(MeterSettings(root=tmp_path)).why_not or ""
    assert 'likely battery_current = "mA"' in why_not
    meter = BatteryMeter(MeterSettings(root=tmp_path, battery_current="mA"))
    assert said(meter) == pytest.approx({"battery": 4.012 * 0.412})


def test_millivolt_are_recognized(put: Put, write: Write, tmp_path: Path) -> None:
    put("battery")
    write("sys/class/power_supply/battery/voltage_now", 4_012)
    assert said(BatteryMeter(MeterSettings(root=tmp_path)))["battery"] == pytest.approx(4.012 * 0.412)
    write("sys/class/power_supply/battery/voltage_now", 0)
    assert "neither in µV" in (BatteryMeter.describe(MeterSettings(root=tmp_path)).why_not or "")


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "Discharging"])
def test_a_phone_on_its_charger_is_refused(put: Put, write: Write, tmp_path: Path, status: str) -> None:
    put("battery")
    meter = BatteryMeter(MeterSettings(root=tmp_path))
    write("sys/class/power_supply/battery/status", status)
    write("sys/class/power_supply/usb/online", 1)
    with pytest.raises(MeterError, match=f"battery is '{status.lower()}', usb is connected"):
        meter.read()
    assert "unplug it" in (BatteryMeter.describe(MeterSettings(root=tmp_path)).why_not or "")


@pytest.mark.parametrize(
    ("file", "said"), [("input_suspend", "1"), ("charge_behaviour", "auto inhibit-charge [force-discharge]")]
)
def test_a_charger_that_is_cut_off_does_not_matter(
    put: Put, write: Write, tmp_path: Path, file: str, said: str
) -> None:
    put("battery")
    write("sys/class/power_supply/usb/online", 1)
    write(f"sys/class/power_supply/battery/{file}", said)
    assert BatteryMeter.describe(MeterSettings(root=tmp_path)).why_not is None
    write(f"sys/class/power_supply/battery/{file}", said.translate(str.maketrans("1", "0", "[]")))
    assert "unplug it" in (BatteryMeter.describe(MeterSettings(root=tmp_path)).why_not or "")


def test_a_gauge_that_does_not_know_is_trusted_without_a_charger(
    put: Put, write: Write, tmp_path: Path
) -> None:
    put("battery")
    write("sys/class/power_supply/battery/status", "Unknown")
    assert BatteryMeter.describe(MeterSettings(root=tmp_path)).why_not is None
    write("sys/class/power_supply/usb/online", 1)
    assert "usb is connected" in (BatteryMeter.describe(MeterSettings(root=tmp_path)).why_not or "")


def test_charge_is_counted_where_there_is_no_current(put: Put, write: Write, tmp_path: Path) -> None:
    put("battery")
    (tmp_path / "sys/class/power_supply/battery/current_now").unlink()
    write("sys/class/power_supply/battery/charge_counter", 3_000_000)
    meter = BatteryMeter(MeterSettings(root=tmp_path))
    assert said(meter)["battery"] == 0
    write("sys/class/power_supply/battery/charge_counter", 2_999_000)  # 1 mAh
    assert said(meter)["battery"] == pytest.approx(3.6 * 4.012 * 1e6)
    assert meter.rails[0].nature == "counter"


@pytest.mark.parametrize(
    ("power_uw", "sign", "told_w"),
    [
        (8_731_000, "any", 8.731),
        (-8_731_000, "any", 8.731),
        (-8_731_000, "negative", 8.731),
        (-8_731_000, "positive", -8.731),
    ],
)
def test_a_laptop_tells_its_power(
    write: Write,
    tmp_path: Path,
    power_uw: int,
    sign: Literal["any", "positive", "negative"],
    told_w: float,
) -> None:
    write("sys/class/power_supply/BAT0/type", "Battery")
    write("sys/class/power_supply/BAT0/status", "Discharging")
    write("sys/class/power_supply/BAT0/power_now", power_uw)
    meter = BatteryMeter(MeterSettings(root=tmp_path, battery_discharge=sign))
    assert said(meter) == pytest.approx({"BAT0": told_w})


def test_of_several_batteries_one_is_named(write: Write, tmp_path: Path) -> None:
    """A Nexus 10: three supplies of the type Battery, which are one."""
    for name, current in (("ds2784-fuelgauge", -500_000), ("manta-battery", -1), ("smb347-battery", -2)):
        for file, value in (
            ("type", "Battery"),
            ("status", "Discharging"),
            ("voltage_now", 4_153_100),
            ("current_now", current),
        ):
            write(f"sys/class/power_supply/{name}/{file}", value)
    why_not = BatteryMeter.describe(MeterSettings(root=tmp_path)).why_not or ""
    assert "several batteries: ds2784-fuelgauge, manta-battery, smb347-battery" in why_not
    settings = MeterSettings(root=tmp_path, battery="ds2784-fuelgauge")
    assert said(BatteryMeter(settings)) == pytest.approx({"ds2784-fuelgauge": 4.1531 * 0.5})
    assert "there is no battery 'bms'" in (
        BatteryMeter.describe(MeterSettings(root=tmp_path, battery="bms")).why_not or ""
    )
