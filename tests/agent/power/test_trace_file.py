from collections.abc import Callable
from pathlib import Path

import pytest

from chamnet.energy import choose
from chamnet.errors import MeterError
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.testing import names
from chamnet_agent.power.trace_file import TraceMeter

Put = Callable[[str], None]


def test_rows_keep_their_times(put: Put, tmp_path: Path) -> None:
    put("trace")
    meter = TraceMeter(MeterSettings(trace=tmp_path / "trace.csv", trace_offset_s=100))
    readings = meter.read()
    assert [(reading.t_ns, reading.values) for reading in readings] == [
        (100_000_000_000, (5.0, 1.0)),
        (100_100_000_000, (5.5, 1.5)),
        (100_200_000_000, (6.0, 2.0)),
    ]
    assert meter.period_s == pytest.approx(0.1)
    assert names(choose(meter.rails)) == {"power"}
    assert meter.rails[1].within == "power"


def test_a_file_that_grows_is_read_on(put: Put, tmp_path: Path) -> None:
    put("trace")
    meter = TraceMeter(MeterSettings(trace=tmp_path / "trace.csv"))
    assert len(meter.read()) == 3
    assert meter.read() == []
    with (tmp_path / "trace.csv").open("a") as file:
        file.write("0.3,7.0,2.5\n0.4,7")
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
    ],
)
def test_a_file_that_holds_no_power_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "trace.csv").write_text(text)
    with pytest.raises(MeterError, match=message):
        TraceMeter(MeterSettings(trace=tmp_path / "trace.csv"))
