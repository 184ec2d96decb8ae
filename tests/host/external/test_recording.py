from contextlib import closing
from pathlib import Path

import pytest

from chamnet.clock import SystemClock
from chamnet.errors import ConfigError
from chamnet_host.external.base import open_meter, told_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "power.csv"
    file.write_text("time_s,power_w\n10.0,1.5\n10.002,1.6\n10.004,1.7\n")
    return file


def test_a_recording_is_read_on_while_it_grows(file: Path) -> None:
    said = told_of(f"recording:{file}")
    assert (said.name, said.why_not, said.period_s) == ("recording", None, pytest.approx(0.002))
    with closing(open_meter(f"recording:{file}", clock=SystemClock())) as meter:
        assert [reading.values for reading in meter.read()] == [(1.5,), (1.6,), (1.7,)]
        with file.open("a") as more:
            more.write("10.006,2.0\n")
        assert [(reading.t_ns, reading.values) for reading in meter.read()] == [(10_006_000_000, (2.0,))]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "nowhere.csv cannot be read: No such file" in str(
        told_of(f"recording:{tmp_path}/nowhere.csv").why_not
    )


def test_a_recording_needs_a_file() -> None:
    with pytest.raises(ConfigError, match="name its file"):
        told_of("recording")
