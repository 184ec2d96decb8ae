import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chamnet.clock import SystemClock
from chamnet.errors import ConfigError, MeterError
from chamnet_host.external.base import open_meter, told_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "power.csv"
    now_s = int(time.monotonic())
    file.write_text(f"time_s,power_w\n{now_s}.0,1.5\n{now_s}.002,1.6\n{now_s}.004,1.7\n")
    return file


def test_a_recording_is_read_on_while_it_grows(file: Path) -> None:
    said = told_of(f"recording:{file}")
    assert (said.name, said.why_not, said.period_s) == ("recording", None, pytest.approx(0.002))
    with closing(open_meter(f"recording:{file}", clock=SystemClock())) as meter:
        first, *others = meter.read()
        assert [reading.values for reading in (first, *others)] == [(1.5,), (1.6,), (1.7,)]
        now_s = (first.t_ns or 0) // 10**9
        with file.open("a") as more:
            more.write(f"{now_s}.006,2.0\n")
        (added,) = meter.read()
        assert added.values == (2.0,)
        assert added.t_ns == pytest.approx(now_s * 10**9 + 6_000_000, abs=1_000)


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (lambda: time.time(), "not the time of day"),  # noqa: TID251 - what a user's recorder may write
        (lambda: time.monotonic() * 1e9, "s apart, if time_s is in seconds"),
        (lambda: time.monotonic() - 3_600, "and the recorder run"),
    ],
)
def test_a_recording_by_another_clock_is_refused_at_once(
    tmp_path: Path, now: Callable[[], float], says: str
) -> None:
    file = tmp_path / "power.csv"
    file.write_text("time_s,power_w\n" + "".join(f"{now() + i / 100:.3f},1.0\n" for i in range(10)))
    assert says in str(told_of(f"recording:{file}").why_not)
    with pytest.raises(MeterError, match=says):
        open_meter(f"recording:{file}", clock=SystemClock())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "nowhere.csv cannot be read: No such file" in str(
        told_of(f"recording:{tmp_path}/nowhere.csv").why_not
    )


def test_a_recording_needs_a_file() -> None:
    with pytest.raises(ConfigError, match="name its file"):
        told_of("recording")
