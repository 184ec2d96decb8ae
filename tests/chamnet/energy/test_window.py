import math
import statistics
from collections.abc import Callable

import pytest

from chamnet.energy import EnergySeries, Rail, Reading, energy_of
from chamnet.errors import MeterInterruptedError
from chamnet.records import EnergyReading, EnergySpans

S = 1_000_000_000
SPANS = EnergySpans(
    before_ns=(10 * S, 50 * S), window_ns=(54 * S, 104 * S), after_ns=(108 * S, 148 * S), calls=100
)
GAUGE = Rail(name="battery", nature="power", domain="battery")
CARD = Rail(name="card", nature="power", domain="gpu")


def power_w(t_s: float) -> float:
    return (3.0 if 52 <= t_s < 106 else 1.0) + 0.003 * math.sin(t_s)


def told(*rails: tuple[Rail, Callable[[float], float]], until_s: float = 200) -> EnergyReading:
    """Return what is told of a window by rails that are read four times a second."""
    series = EnergySeries([rail for rail, _ in rails], period_s=1.0)
    for i in range(round(until_s * 4)):
        series.add(Reading(tuple(says(i / 4) for _, says in rails)), i * S // 4)
    return energy_of(series, SPANS, meter="fake", rails=[rail.name for rail, _ in rails], period_s=1.0)


def held(every_s: float, phase_s: float = 0.0) -> Callable[[float], float]:
    """Return a gauge that gives its mean since its last update, now and then."""

    def says(t_s: float) -> float:
        update_s = (t_s - phase_s) // every_s * every_s + phase_s
        return statistics.fmean(power_w(update_s - every_s * i / 16) for i in range(16))

    return says


def test_a_gauge_that_follows_is_believed() -> None:
    assert told((GAUGE, held(1.0))).net_w == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(("every_s", "phase_s"), [(20, 0), (20, 7.4), (60, 0), (60, 48)])
def test_a_gauge_that_is_hardly_updated_in_a_window_tells_nothing(every_s: float, phase_s: float) -> None:
    with pytest.raises(MeterInterruptedError, match=r"'battery' was updated \d times in the window"):
        told((GAUGE, held(every_s, phase_s)))


def test_a_rail_that_feeds_nothing_may_stand_still() -> None:
    energy = told((GAUGE, held(1.0)), (CARD, lambda t_s: 0.5))
    assert energy.net_w == pytest.approx(2, rel=0.02)
    assert energy.idle_w == pytest.approx(1.5, rel=0.02)


def test_a_coarse_sensor_may_stand_still_while_power_does() -> None:
    energy = told((CARD, lambda t_s: float(round(power_w(t_s)))))
    assert energy.net_w == pytest.approx(2, rel=0.001)


def test_idling_that_is_too_short_to_tell_its_noise_is_compared() -> None:
    """Seven seconds of idling are less than two blocks of ten updates: what differs is the power before and after."""
    series = EnergySeries([GAUGE], period_s=1.0)
    for i in range(800):
        series.add(Reading((power_w(i / 4) + 0.001 * (i % 8) + 0.2 * (i / 4 > 107),)), i * S // 4)
    spans = EnergySpans(
        before_ns=(43 * S, 50 * S), window_ns=SPANS.window_ns, after_ns=(108 * S, 115 * S), calls=1
    )
    energy = energy_of(series, spans, meter="fake", rails=["battery"], period_s=1.0)
    assert energy.idle_std_w == pytest.approx(0.2 / math.sqrt(2), rel=0.05)
