import sys
from types import ModuleType

import pytest

from chamnet.energy import choose
from chamnet.errors import MeterError
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.nvml import NvmlMeter
from chamnet_agent.power.testing import names, said


def test_cards_count_energy_or_tell_power(pynvml: ModuleType) -> None:
    meter = NvmlMeter()
    volta, pascal = meter.rails
    assert (volta.nature, pascal.nature) == ("counter", "power")
    assert said(meter) == {pynvml.UUIDS[0]: 7_000_000, pynvml.UUIDS[1]: 61.5}  # µJ and W
    assert names(choose(meter.rails)) == {pynvml.UUIDS[0]}
    meter.close()
    assert pynvml.started == 0


def test_cards_are_chosen_by_index_or_by_name(pynvml: ModuleType) -> None:
    for gpus in (("1",), (pynvml.UUIDS[1],)):
        assert names(choose(NvmlMeter(MeterSettings(gpus=gpus)).rails)) == {pynvml.UUIDS[1]}
    assert len(choose(NvmlMeter(MeterSettings(gpus=("0", "1"))).rails)) == 2
    assert "there is no card '2'" in (NvmlMeter.describe(MeterSettings(gpus=("2",))).why_not or "")
    assert NvmlMeter.describe().version == "550.54.15"


def test_a_card_that_is_lost_is_noticed(pynvml: ModuleType) -> None:
    meter = NvmlMeter()
    pynvml.lost = True
    with pytest.raises(MeterError, match="GPU is lost"):
        meter.read()


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in (NvmlMeter.describe().why_not or "")
