import random
from collections.abc import Callable

import pytest

from chamnet.energy import EnergySeries, Rail, Reading
from chamnet.energy.marker import Marker, find_marker
from chamnet.errors import MeterInterruptedError

MS, S = 1_000_000, 1_000_000_000
RAIL = Rail(name="main", nature="power", domain="device", totals=frozenset({"device"}))
WORK_NS = (10 * S, 11 * S)


def recorded(power_w: Callable[[int], float], *, period_ns: int = MS, noise_w: float = 0.0) -> EnergySeries:
    """Return what a meter records of power around the work; its noise is between samples."""
    rng = random.Random(1)
    series = EnergySeries([RAIL], period_s=period_ns / S)
    for t_ns in range(8 * S, 13 * S + 1, period_ns):
        series.add(Reading((max(rng.gauss(power_w(t_ns), noise_w), 0.0),), t_ns=t_ns), t_ns)
    return series


def working(shift_ns: int, *, idle_w: float = 0.8, step_w: float = 1.2) -> Callable[[int], float]:
    start_ns, end_ns = (each + shift_ns for each in WORK_NS)
    return lambda t_ns: idle_w + step_w * (start_ns <= t_ns < end_ns)


def found(series: EnergySeries) -> Marker:
    return find_marker(series, ["main"], WORK_NS, flank_ns=S, most_ns=250 * MS)


@pytest.mark.parametrize("shift_ms", [-200, -3, 0, 90, 240])
@pytest.mark.parametrize(("period_ns", "noise_w", "off_ms"), [(MS, 0.0, 1), (MS, 0.8, 5), (20 * MS, 0.1, 20)])
def test_the_clock_is_off_by_what_moves_the_step(
    shift_ms: int, period_ns: int, noise_w: float, off_ms: float
) -> None:
    series = recorded(working(shift_ms * MS), period_ns=period_ns, noise_w=noise_w)
    assert found(series).shift_ns / MS == pytest.approx(shift_ms, abs=off_ms + 0.01)
    assert not found(series).doubt


def test_the_step_is_what_the_work_adds() -> None:
    marker = found(recorded(working(0), noise_w=0.1))
    assert marker.step_w == pytest.approx(1.2, rel=0.02)
    assert marker.noise_w < 0.05


def test_a_device_that_warms_up_is_no_step() -> None:
    assert "not seen" in found(recorded(lambda t_ns: 1.0 + 0.5 * (t_ns - 8 * S) / S)).doubt


@pytest.mark.parametrize("noise_w", [0.0, 0.3])
def test_idling_alone_has_no_marker(noise_w: float) -> None:
    assert "not seen" in found(recorded(lambda t_ns: 1.0, noise_w=noise_w)).doubt


def test_what_works_at_another_time_is_not_taken_for_it() -> None:
    """Twice as far off as clocks may be, all that shows is the flank of a step."""
    assert "not seen" in found(recorded(working(500 * MS))).doubt


def test_a_step_just_beyond_what_was_looked_through_is_not_trusted() -> None:
    assert "not seen within 0.25 s" in found(recorded(working(260 * MS))).doubt


@pytest.mark.parametrize("gap_ms", [0, 15, 60])
def test_a_short_gap_hides_no_marker(gap_ms: int) -> None:
    """It is looked for in steps of a millisecond, each of which such a gap would fill."""
    power_w = working(40 * MS)
    series = EnergySeries([RAIL], period_s=MS / S)
    for t_ns in range(8 * S, 13 * S + 1, MS):
        if not 9_200 * MS < t_ns < (9_200 + gap_ms) * MS:
            series.add(Reading((power_w(t_ns),), t_ns=t_ns), t_ns)
    assert found(series).shift_ns / MS == pytest.approx(40, abs=1.01)
    assert not found(series).doubt


def test_a_long_gap_is_no_idling() -> None:
    series = EnergySeries([RAIL], period_s=MS / S)
    for t_ns in range(8 * S, 13 * S + 1, MS):
        if not 9 * S < t_ns < 9_600 * MS:
            series.add(Reading((1.0,), t_ns=t_ns), t_ns)
    with pytest.raises(MeterInterruptedError, match="was not updated for"):
        found(series)


def test_work_that_is_interrupted_now_and_then_is_still_seen() -> None:
    """As on a machine whose other work takes a third of the core's time, in slices."""

    def power_w(t_ns: int) -> float:
        return working(40 * MS)(t_ns) if t_ns // (8 * MS) % 3 else 0.8

    marker = found(recorded(power_w))
    assert marker.shift_ns / MS == pytest.approx(40, abs=10)
    assert not marker.doubt
