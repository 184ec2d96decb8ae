from collections.abc import Callable
from pathlib import Path

import pytest

from chamnet.energy import choose, total
from chamnet.energy.recorder import poll_interval_s
from chamnet.errors import MeterError
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.pixel import PixelMeter, pixel_rail
from chamnet_agent.power.testing import names, said

Write = Callable[[str, object], Path]
Put = Callable[[str], None]


def test_rails_of_both_chips(put: Put, tmp_path: Path) -> None:
    put("pixel")
    meter = PixelMeter(MeterSettings(root=tmp_path))
    assert said(meter)["S2M_VDD_CPUCL2"] == 124_265_856
    assert said(meter)["S2S_VDD_G3D"] == 3_702_041_607
    assert names(choose(meter.rails)) == {
        "S2M_VDD_CPUCL2", "S3M_VDD_CPUCL1", "S4M_VDD_CPUCL0",  # CPU
        "S2S_VDD_G3D",  # GPU
        "S1M_VDD_MIF", "S10S_VDD2L", "S4S_VDD2H_MEM",  # memory
    }  # fmt: skip
    assert total(meter.rails, "device") == ()
    domains = {rail.name: rail.domain for rail in meter.rails}
    assert domains["VSYS_PWR_MODEM"] == "radio"
    assert domains["S5M_VDD_INT"] == "soc"


def test_it_is_read_no_faster_than_its_slowest_chip(put: Put, tmp_path: Path) -> None:
    put("pixel")
    meter = PixelMeter(MeterSettings(root=tmp_path))
    assert meter.shortest_poll_s == pytest.approx(8 / 62.5)
    assert poll_interval_s(meter) >= 20 / 62.5


def test_a_phone_before_the_pixel_6(write: Write, tmp_path: Path) -> None:
    """Two chips of the kind `pac1934`, as AOSP's `PowerStats` for sdm845 reads them."""
    for number, (rail, energy) in enumerate((("VPH_PWR_S4C", 77), ("VPH_PWR_OLED", 5))):
        chip = f"sys/bus/iio/devices/iio:device{number}"
        write(f"{chip}/name", "microchip,pac1934")
        write(f"{chip}/sampling_rate", 1_024)
        write(f"{chip}/enabled_rails", f"{rail}:{'CPU' if number == 0 else 'Display'}")
        write(f"{chip}/energy_value", f"16086645\n{rail},{energy}")
    meter = PixelMeter(MeterSettings(root=tmp_path))
    assert said(meter) == {"VPH_PWR_S4C": 77, "VPH_PWR_OLED": 5}
    assert [rail.domain for rail in meter.rails] == ["cpu", "display"]


def test_a_channel_that_is_given_to_another_rail_is_noticed(put: Put, tmp_path: Path) -> None:
    put("pixel")
    meter = PixelMeter(MeterSettings(root=tmp_path))
    file = tmp_path / "sys/bus/iio/devices/iio:device0/energy_value"
    file.write_text(file.read_text().replace("S5M_VDD_INT", "S10M_VDD_TPU"))
    with pytest.raises(MeterError, match=r"S10M_VDD_TPU.* and not S5M_VDD_INT as before"):
        meter.read()


def test_rails_without_a_list_are_known_by_their_names(put: Put, tmp_path: Path) -> None:
    put("pixel")
    for file in tmp_path.rglob("enabled_rails"):
        file.unlink()
    domains = {rail.name: rail.domain for rail in PixelMeter(MeterSettings(root=tmp_path)).rails}
    assert domains["S4M_VDD_CPUCL0"] == "cpu"
    assert domains["S2S_VDD_G3D"] == "gpu"
    assert domains["S4S_VDD2H_MEM"] == domains["S1M_VDD_MIF"] == "memory"
    assert pixel_rail("S10M_VDD_TPU", "").domain == "npu"


@pytest.mark.parametrize("text", ["", "t=5", "five\nCH0(T=5)[A], 1", "t=5\nCH0[A] 1"])
def test_a_format_that_is_not_known_is_refused(write: Write, tmp_path: Path, text: str) -> None:
    write("sys/bus/iio/devices/iio:device0/energy_value", text)
    assert "format is not known" in (PixelMeter.describe(MeterSettings(root=tmp_path)).why_not or "")
