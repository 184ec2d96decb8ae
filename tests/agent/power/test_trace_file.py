import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chamnet.energy import choose
from chamnet.errors import MeterError
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.testing import names
from chamnet_agent.power.trace_file import TraceMeter

Put = Callable[[str], None]


def test_rows_keep_their_times(tmp_path: Path) -> None:
    now_s = int(time.monotonic())
    (tmp_path / "trace.csv").write_text("time_s,power_w,gpu_w\n0.0,5.0,1.0\n0.1,5.5,1.5\n0.2,6.0,2.0\n")
    meter = TraceMeter(MeterSettings(trace=tmp_path / "trace.csv", trace_offset_s=now_s))
    readings = meter.read()
    assert [((reading.t_ns or 0) / 1e9, reading.values) for reading in readings] == [
        (pytest.approx(now_s, abs=1e-6), (5.0, 1.0)),
        (pytest.approx(now_s + 0.1, abs=1e-6), (5.5, 1.5)),
        (pytest.approx(now_s + 0.2, abs=1e-6), (6.0, 2.0)),
    ]
    assert meter.period_s == pytest.approx(0.1)
    assert names(choose(meter.rails)) == {"power"}
    assert meter.rails[1].within == "power"


def test_a_file_that_grows_is_read_on(put: Put, tmp_path: Path) -> None:
    put("trace")
    meter = TraceMeter(MeterSettings(trace=tmp_path / "trace.csv"))
    first, *others = meter.read()
    assert len(others) == 2
    assert meter.read() == []
    now_s = (first.t_ns or 0) // 10**9
    with (tmp_path / "trace.csv").open("a") as file:
        file.write(f"{now_s}.3,7.0,2.5\n{now_s}.4,7")
        file.flush()
        assert [reading.values for reading in meter.read()] == [(7.0, 2.5)]
        file.write(".5,3\n")
    assert [reading.values for reading in meter.read()] == [(7.5, 3.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("power_w,time_s\n1,2\n", "expected time_s,power_w"),
        ("time_s,power_w,volt\n1,2,3\n", "expected time_s,power_w"),
        ("time_s,power_w\n1,2\n", "1 rows of power"),
        ("time_s,power_w\n1,2\n2,three\n", r"line 3: '2,three' is no power"),
        ("time_s,power_w\n1,2\n2,3,4\n", "line 3: not 2 numbers"),
        ("time_s,power_w\n1,2\n0.5,3\n", "line 3: the time goes back"),
        ("time_s,power_w\n1000,2\n2000,3\n", "its rows are 1000 s apart, if time_s is in seconds"),
    ],
)
def test_a_file_that_holds_no_power_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "trace.csv").write_text(text)
    with pytest.raises(MeterError, match=message):
        TraceMeter(MeterSettings(trace=tmp_path / "trace.csv"))


@pytest.mark.parametrize("off_s", [1.7e9, 3_600.0, -600.0, -7_200.0])
def test_times_of_another_clock_are_refused(tmp_path: Path, off_s: float) -> None:
    now_s = time.monotonic()
    rows = "".join(f"{now_s + off_s - (9 - i) / 100:.3f},1.0\n" for i in range(10))
    (tmp_path / "trace.csv").write_text(f"time_s,power_w\n{rows}")
    settings = MeterSettings(trace=tmp_path / "trace.csv")
    with pytest.raises(MeterError, match=r"its last row is of .* the monotonic clock of who reads it says"):
        TraceMeter(settings)
    assert "time.monotonic()" in (TraceMeter.describe(settings).why_not or "")
    right = MeterSettings(trace=tmp_path / "trace.csv", trace_offset_s=-off_s)
    assert TraceMeter.describe(right).why_not is None
