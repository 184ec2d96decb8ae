"""What stands in the way of a device's usual speed."""

import pytest

from chamnet.errors import DeviceError
from chamnet.records import Conditions, CoreCluster, DeviceInfo
from chamnet.testing import FakeClock
from chamnet_host.devices.preflight import CoolDown, obstacles

CLUSTERS = (CoreCluster(cores=(0, 1), max_khz=1_800_000), CoreCluster(cores=(4, 5), max_khz=2_800_000))


def device(conditions: Conditions, cores: tuple[int, ...] = (5,)) -> DeviceInfo:
    return DeviceInfo(
        agent_version="1",
        protocol_version=1,
        cpu_model="Test CPU",
        arch="aarch64",
        cpu_flags=(),
        clusters=CLUSTERS,
        memory_bytes=0,
        os="",
        python="",
        backends=(),
        meters=(),
        default_backend="fake",
        cores=cores,
        threads=1,
        conditions=conditions,
    )


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (Conditions(), None),
        (Conditions(cap_khz=2_800_000, battery_percent=80, charging=False), None),
        (Conditions(cap_khz=1_900_000), r"held at 1\.90 of 2\.80 GHz"),
        (Conditions(cap_khz=2_800_000, governor="powersave"), "governor is `powersave`"),
        (Conditions(battery_percent=12, charging=False), "battery is at 12 %"),
        (Conditions(battery_percent=12, charging=True), None),
    ],
)
def test_what_slows_a_device_is_named(conditions: Conditions, expected: str | None) -> None:
    found = obstacles(device(conditions))
    assert (found == []) if expected is None else any(expected.replace("\\", "") in each for each in found)


def test_a_little_core_is_judged_by_its_own_clock() -> None:
    assert obstacles(device(Conditions(cap_khz=1_800_000), cores=(1,))) == []


class Hot:
    """Never cools."""

    def describe(self) -> DeviceInfo:
        return device(Conditions(temperature_c=60.0))


def test_a_device_that_stays_hot_is_measured_hot_or_refused() -> None:
    for strict in (False, True):
        clock = FakeClock()
        cool_down = CoolDown(45.0, strict=strict, clock=clock)
        cool_down.saw(Conditions(temperature_c=60.0))
        if strict:
            with pytest.raises(DeviceError, match="stays at 60 °C, over the 45 °C"):
                list(cool_down.wait(Hot()))  # type: ignore[arg-type]
        else:
            assert set(cool_down.wait(Hot())) == {60.0}  # type: ignore[arg-type]
        assert clock.time_ns == 900 * 10**9
