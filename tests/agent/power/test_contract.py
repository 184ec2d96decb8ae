"""Every meter keeps the contract, on the files of a device that has it."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from chamnet.errors import ConfigError, MeterError
from chamnet_agent import registry
from chamnet_agent.power.base import MeterSettings, PowerMeter
from chamnet_agent.power.testing import FakeMeter, PowerMeterContract

OF_FILES = sorted(set(registry.METERS) - {"nvml"})


class TestMetersOfFiles(PowerMeterContract):
    @pytest.fixture(params=OF_FILES)
    def name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def kind(self, name: str) -> type[PowerMeter]:
        return registry.load_meter(name)

    @pytest.fixture
    def settings(self, name: str, put: Callable[[str], None], tmp_path: Path) -> MeterSettings:
        put(name)
        return MeterSettings(root=tmp_path, trace=tmp_path / "trace.csv")

    @pytest.fixture
    def unusable(self, tmp_path: Path) -> MeterSettings:
        return MeterSettings(root=tmp_path / "nothing", trace=tmp_path / "nothing.csv")

    def test_it_is_not_taken_for_another(self, name: str, settings: MeterSettings, tmp_path: Path) -> None:
        usable = {each.name for each in registry.meters(settings) if each.why_not is None}
        assert usable == {name}
        meter = registry.open_meter(name, settings)
        assert meter.rails
        meter.close()


class TestNvml(PowerMeterContract):
    @pytest.fixture
    def kind(self) -> type[PowerMeter]:
        return registry.load_meter("nvml")

    @pytest.fixture
    def settings(self, pynvml: ModuleType) -> MeterSettings:
        return MeterSettings()

    @pytest.fixture
    def unusable(self, pynvml: ModuleType) -> MeterSettings:
        return MeterSettings(gpus=("7",))


class TestFake(PowerMeterContract):
    @pytest.fixture
    def kind(self) -> type[PowerMeter]:
        return FakeMeter

    @pytest.fixture
    def settings(self) -> MeterSettings:
        return MeterSettings()

    test_it_says_why_it_is_not_usable = None  # it always is


def test_a_meter_that_is_not_usable_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="meter 'rapl' is not usable here: no intel-rapl counters"):
        registry.open_meter("rapl", MeterSettings(root=tmp_path))
    with pytest.raises(ConfigError, match="unknown meter 'wattmeter'; known: battery, hwmon"):
        registry.open_meter("wattmeter")
