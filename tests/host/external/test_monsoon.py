import time
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from chamnet.clock import SystemClock
from chamnet.energy.recorder import Recorder
from chamnet.errors import ConfigError, MeterError
from chamnet_host.external.base import HostMeter, is_external, open_meter, told_of

if TYPE_CHECKING:
    from tests.host.external.conftest import Usb


def recorded_w(usb: "Usb", *windows_s: tuple[float, float]) -> list[float]:
    """Return the mean power in windows, by seconds since it is sampled; the current doubles after half a second."""
    usb.current_ma = lambda t_s: 500.0 if t_s < 0.5 else 1_000.0
    with Recorder(open_meter("monsoon", clock=usb.clock), clock=usb.clock) as recorder:
        windows_ns = [(round(start_s * 1e9), round(end_s * 1e9)) for start_s, end_s in windows_s]
        recorder.settle(max(end_ns for _, end_ns in windows_ns), timeout_s=60)
        return [recorder.power_w("main", *window_ns).mean_w for window_ns in windows_ns]


def test_power_is_current_times_voltage_at_its_time(usb: "Usb") -> None:
    before_w, across_w, after_w = recorded_w(usb, (0.15, 0.45), (0.3, 0.7), (0.6, 0.9))
    assert before_w == pytest.approx(2.1, rel=0.01)
    assert across_w == pytest.approx(3.15, rel=0.05)
    assert after_w == pytest.approx(4.2, rel=0.01)


def test_batches_that_are_collected_late_keep_their_times(usb: "Usb") -> None:
    """The third comes 120 ms late; those sampled meanwhile come at once."""
    usb.late_s = lambda batch: 0.12 * (batch == 3)
    (across_w,) = recorded_w(usb, (0.3, 0.7))
    assert across_w == pytest.approx(3.15, rel=0.05)


def test_the_main_channel_is_set_before_anything_is_sampled(
    usb: "Usb", capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(open_meter("monsoon:3.85", clock=SystemClock())):
        assert usb.done == [("setup_usb", (2, "10001")), ("setVout", 3.85), ("setUSBPassthroughMode", 2)]
        assert usb.sampling
    assert not usb.sampling
    assert usb.done[-1][0] == "setUSBPassthroughMode", "the device stays fed"
    assert capsys.readouterr().out == "", "what the package prints is no output of ours"


def test_the_white_model_is_driven_as_what_it_is(usb: "Usb") -> None:
    usb.model = 1
    with closing(open_meter("monsoon", clock=SystemClock())):
        assert ("setup_usb", (1, "10001")) in usb.done
        assert ("setVout", 4.2) in usb.done


def read_on(meter: HostMeter) -> None:
    for _ in range(6_000):
        meter.read()
        time.sleep(0.01)


def test_a_cable_that_is_pulled_ends_it(usb: "Usb") -> None:
    with closing(open_meter("monsoon", clock=SystemClock())) as meter:
        usb.unplugged = True
        with pytest.raises(MeterError, match=r"monsoon: .*No such device"):
            read_on(meter)


def test_it_says_what_it_is(usb: "Usb") -> None:
    said = told_of("monsoon:4")
    assert (said.name, said.version, said.why_not, said.period_s) == ("monsoon", "0.1.88", None, 0.001)
    assert said.provider == "Monsoon power monitor, main channel at 4 V"
    assert usb.done == [], "asking changes nothing"


def no_monitor(usb: "Usb") -> None:
    usb.serials = []


def two_monitors(usb: "Usb") -> None:
    usb.serials = ["10001", "10002"]


def not_allowed(usb: "Usb") -> None:
    usb.refuses = ValueError("The device has no langid (permission issue, no string descriptors supported)")


@pytest.mark.parametrize(
    ("happens", "says"),
    [
        (no_monitor, "no power monitor is on this machine's USB; plug it in"),
        (two_monitors, "2 power monitors .*10001, 10002.*leave one"),
        (not_allowed, "no langid .*udev rule"),
    ],
)
def test_what_is_missing_is_said(usb: "Usb", happens: Callable[["Usb"], None], says: str) -> None:
    happens(usb)
    with pytest.raises(MeterError, match=says):
        open_meter("monsoon", clock=SystemClock())
    why_not = told_of("monsoon").why_not
    assert why_not is not None


@pytest.mark.skipif(find_spec("Monsoon") is not None, reason="the package is installed here")
def test_without_its_package_it_says_what_to_install() -> None:
    assert "pip install 'chamnet[monsoon]'" in str(told_of("monsoon").why_not)


@pytest.mark.parametrize("argument", ["high", "0.3", "48", "nan"])
def test_a_voltage_that_cannot_be_is_refused(argument: str) -> None:
    with pytest.raises(ConfigError, match=f"meter monsoon:{argument}"):
        told_of(f"monsoon:{argument}")


def test_meters_of_the_host_have_names_of_their_own() -> None:
    assert is_external("monsoon")
    assert is_external("recording:a:b.csv")
    assert not is_external("rapl")
    assert not is_external("")
