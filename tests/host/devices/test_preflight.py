"""What stands in the way of a device's usual speed."""

from collections.abc import Callable

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


class Warm:
    """A device whose temperature follows a clock.

    Args:
        clock: The clock.
        temperature_c: From seconds.
    """

    def __init__(self, clock: FakeClock, temperature_c: Callable[[float], float]) -> None:
        self._clock, self._temperature_c = clock, temperature_c

    def describe(self) -> DeviceInfo:
        return device(Conditions(temperature_c=self._temperature_c(self._clock.time_ns / 1e9)))


def waited_s(cool_down: CoolDown, clock: FakeClock, warm: Warm, visit_c: float) -> float:
    """Return how long a device is left to cool after a visit."""
    before_ns = clock.time_ns
    cool_down.saw(Conditions(temperature_c=visit_c))
    list(cool_down.wait(warm))  # type: ignore[arg-type]
    return (clock.time_ns - before_ns) / 1e9


def test_a_device_that_stays_hot_is_refused_where_that_was_asked() -> None:
    clock = FakeClock()
    cool_down = CoolDown(45.0, strict=True, clock=clock, name="1A2B")
    with pytest.raises(DeviceError, match="1A2B: it stays at 60 °C, over the 45 °C of `cool_to_c`"):
        waited_s(cool_down, clock, Warm(clock, lambda _: 60.0), 60.0)


def test_a_device_that_stays_hot_is_waited_for_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    cool_down = CoolDown(45.0, strict=False, clock=clock, name="1A2B")
    warm = Warm(clock, lambda _: 46.0)
    assert [waited_s(cool_down, clock, warm, 46.0) for _ in range(4)] == [120, 0, 0, 0]
    (warning,) = caplog.messages
    assert "1A2B: it stays at 46 °C" in warning
    assert "measured hot" in warning


def test_a_device_that_was_cool_again_is_waited_for_again(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    cool_down = CoolDown(45.0, strict=False, clock=clock)
    warm = Warm(clock, lambda _: 46.0)
    assert [waited_s(cool_down, clock, warm, after_c) for after_c in (46.0, 44.0, 46.0)] == [120, 0, 120]
    assert len(caplog.messages) == 2


def test_a_device_that_cools_is_waited_for_a_quarter_of_an_hour() -> None:
    clock = FakeClock()
    slowly = Warm(clock, lambda time_s: 60 - time_s // 100)
    assert waited_s(CoolDown(55.0, strict=False, clock=clock), clock, slowly, 60.0) == 500
    clock = FakeClock()
    slowly = Warm(clock, lambda time_s: 60 - time_s // 100)
    assert waited_s(CoolDown(45.0, strict=False, clock=clock), clock, slowly, 60.0) == 900
