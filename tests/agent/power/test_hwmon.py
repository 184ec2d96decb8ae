import math
from collections.abc import Callable
from pathlib import Path

import pytest

from chamnet.energy import choose
from chamnet.errors import MeterError
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.hwmon import HwmonMeter
from chamnet_agent.power.testing import names, said

Write = Callable[[str, object], Path]
Put = Callable[[str], None]


def test_the_mean_is_better_than_the_moment(put: Put, write: Write, tmp_path: Path) -> None:
    put("hwmon")
    write("sys/class/hwmon/hwmon2/power1_input", 99_000_000)
    assert said(HwmonMeter(MeterSettings(root=tmp_path))) == {"amdgpu/PPT": 23.0}


def test_energy_of_sockets_and_cores(write: Write, tmp_path: Path) -> None:
    """Labels of the driver `amd_energy`; its counters come before any power of the same chip."""
    chip = "sys/class/hwmon/hwmon4"
    write(f"{chip}/name", "amd_energy")
    for number, (label, energy) in enumerate((("Ecore000", 11), ("Ecore001", 22), ("Esocket0", 99)), start=1):
        write(f"{chip}/energy{number}_label", label)
        write(f"{chip}/energy{number}_input", energy)
    meter = HwmonMeter(MeterSettings(root=tmp_path))
    assert said(meter) == {
        "amd_energy/Ecore000": 11,
        "amd_energy/Ecore001": 22,
        "amd_energy/Esocket0": 99,
    }
    assert {rail.nature for rail in meter.rails} == {"counter"}
    assert names(choose(meter.rails)) == {"amd_energy/Esocket0"}
    assert meter.period_s == 1.5


def test_a_sensor_that_is_shown_twice_is_counted_once(write: Write, tmp_path: Path) -> None:
    """A Steam Deck: the driver's `power1_average` and `power2_average` read the same."""
    chip = "sys/class/hwmon/hwmon4"
    write(f"{chip}/name", "amdgpu")
    for number, label in enumerate(("slowPPT", "fastPPT"), start=1):
        write(f"{chip}/power{number}_label", label)
        write(f"{chip}/power{number}_average", 9_000_000)
    meter = HwmonMeter(MeterSettings(root=tmp_path))
    assert said(meter) == {"amdgpu/slowPPT": 9.0, "amdgpu/fastPPT": 9.0}
    assert names(choose(meter.rails)) == {"amdgpu/slowPPT"}


def test_cards_of_one_kind_are_told_apart_by_their_address(write: Write, tmp_path: Path) -> None:
    for number, address in ((2, "0000:03:00.0"), (5, "0000:0c:00.0")):
        chip = f"sys/class/hwmon/hwmon{number}"
        write(f"{chip}/name", "amdgpu")
        write(f"{chip}/power1_average", number * 1_000_000)
        write(f"sys/devices/pci0000:00/{address}/vendor", "0x1002")
        (tmp_path / chip / "device").symlink_to(tmp_path / "sys/devices/pci0000:00" / address)
    assert said(HwmonMeter(MeterSettings(root=tmp_path))) == {
        "amdgpu@0000:03:00.0/power1": 2.0,
        "amdgpu@0000:0c:00.0/power1": 5.0,
    }


def test_rails_that_nobody_can_tell_apart_are_refused(write: Write, tmp_path: Path) -> None:
    for number in (0, 1):
        write(f"sys/class/hwmon/hwmon{number}/name", "ina226")
        write(f"sys/class/hwmon/hwmon{number}/power1_input", 5)
    why_not = HwmonMeter.describe(MeterSettings(root=tmp_path)).why_not or ""
    assert "2 rails are called 'ina226/power1'" in why_not


def test_a_card_with_two_counters_is_counted_once(write: Write, tmp_path: Path) -> None:
    """Intel's driver `xe`: the package is a part of the card."""
    chip = "sys/class/hwmon/hwmon1"
    write(f"{chip}/name", "xe")
    for number, label in enumerate(("card", "pkg"), start=1):
        write(f"{chip}/energy{number}_label", label)
        write(f"{chip}/energy{number}_input", 1_000)
        write(f"{chip}/power{number}_label", label)
        write(f"{chip}/power{number}_input", 1_000)
    why_not = HwmonMeter.describe(MeterSettings(root=tmp_path)).why_not
    assert why_not is None
    (rail,) = choose(HwmonMeter(MeterSettings(root=tmp_path)).rails)
    assert (rail.name, rail.nature) == ("xe/card", "counter")


def test_what_cannot_be_read_does_not_spoil_the_rest(put: Put, write: Write, tmp_path: Path) -> None:
    put("hwmon")
    write("sys/class/hwmon/hwmon3/name", "fam15h_power")
    (tmp_path / "sys/class/hwmon/hwmon3/power1_input").mkdir()  # reading it fails
    assert names(HwmonMeter(MeterSettings(root=tmp_path)).rails) == {"amdgpu/PPT"}
    (tmp_path / "sys/class/hwmon/hwmon2/power1_average").unlink()
    assert "cannot be read" in (HwmonMeter.describe(MeterSettings(root=tmp_path)).why_not or "")


def test_a_card_that_sleeps_spoils_its_own_rail_only(put: Put, write: Write, tmp_path: Path) -> None:
    put("hwmon")
    write("sys/class/hwmon/hwmon1/name", "power_meter")
    write("sys/class/hwmon/hwmon1/power1_average", 55_000_000)
    meter = HwmonMeter(MeterSettings(root=tmp_path))
    card = tmp_path / "sys/class/hwmon/hwmon2/power1_average"
    card.unlink()
    card.mkdir()  # reading it fails
    (reading,) = meter.read()
    told = dict(
        zip(
            (rail.name for rail in meter.rails),
            zip(reading.values, reading.why_not, strict=True),
            strict=True,
        )
    )
    assert told["power_meter/power1"] == (55.0, "")
    assert math.isnan(told["amdgpu/PPT"][0])
    assert "cannot be read" in told["amdgpu/PPT"][1]
    (tmp_path / "sys/class/hwmon/hwmon1/power1_average").unlink()
    with pytest.raises(MeterError, match="is gone"):
        meter.read()
