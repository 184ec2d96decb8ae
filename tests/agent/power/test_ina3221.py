from collections.abc import Callable
from pathlib import Path

import pytest

from chamnet.energy import choose
from chamnet.errors import MeterError
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.ina3221 import Ina3221Meter
from chamnet_agent.power.testing import names, said

Write = Callable[[str, object], Path]
Put = Callable[[str], None]


def test_orin_nano(put: Put, tmp_path: Path) -> None:
    put("ina3221")
    meter = Ina3221Meter(MeterSettings(root=tmp_path))
    assert said(meter)["VDD_IN"] == pytest.approx(5.056 * 0.920)
    assert names(choose(meter.rails)) == {"VDD_CPU_GPU_CV", "VDD_SOC"}
    assert names(choose(meter.rails, "device")) == {"VDD_IN"}
    assert {rail.within for rail in meter.rails} == {None, "VDD_IN"}


def test_agx_orin_is_the_sum_of_its_rails(write: Write, tmp_path: Path) -> None:
    """Two chips at 0x40 and 0x41; what is not connected is called NC."""
    for chip, labels in enumerate(
        (("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), ("NC", "VDDQ_VDD2_1V8AO", "NC"))
    ):
        write(f"sys/class/hwmon/hwmon{chip}/name", "ina3221")
        for number, label in enumerate(labels, start=1):
            for name, value in (
                (f"in{number}_label", label),
                (f"in{number}_input", 5_000),
                (f"curr{number}_input", 200),
            ):
                write(f"sys/class/hwmon/hwmon{chip}/{name}", value)
    rails = Ina3221Meter(MeterSettings(root=tmp_path)).rails
    assert names(choose(rails, "device")) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"}
    assert names(choose(rails)) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VDDQ_VDD2_1V8AO"}


def test_the_driver_of_jetpack_4(write: Write, tmp_path: Path) -> None:
    """A first Nano: `/sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0`."""
    chip = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    for number, (rail, milliwatt) in enumerate(
        (("POM_5V_IN", 2_156), ("POM_5V_GPU", 40), ("POM_5V_CPU", 489))
    ):
        write(f"{chip}/rail_name_{number}", rail)
        write(f"{chip}/in_power{number}_input", milliwatt)
    meter = Ina3221Meter(MeterSettings(root=tmp_path))
    assert said(meter) == pytest.approx({"POM_5V_IN": 2.156, "POM_5V_GPU": 0.04, "POM_5V_CPU": 0.489})
    assert names(choose(meter.rails)) == {"POM_5V_GPU", "POM_5V_CPU"}
    assert names(choose(meter.rails, "device")) == {"POM_5V_IN"}


def test_a_rail_that_is_switched_off_is_left_out(put: Put, write: Write, tmp_path: Path) -> None:
    put("ina3221")
    write("sys/class/hwmon/hwmon1/in3_enable", 0)
    assert names(Ina3221Meter(MeterSettings(root=tmp_path)).rails) == {"VDD_IN", "VDD_CPU_GPU_CV"}


def test_rails_that_change_places_are_noticed(put: Put, write: Write, tmp_path: Path) -> None:
    put("ina3221")
    meter = Ina3221Meter(MeterSettings(root=tmp_path))
    write("sys/class/hwmon/hwmon1/in1_label", "VDD_SOC")
    with pytest.raises(MeterError, match="says 'VDD_SOC' now, it said 'VDD_IN'"):
        meter.read()
