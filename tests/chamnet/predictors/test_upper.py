"""Upper bounds: the printed interval's end at 0.95, and never below their plane."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chamnet.predictors.latency import ResidualModel
from chamnet.predictors.upper import UpperLatency

SPREAD = ResidualModel(flat=0.02, call_ms=0.002, quantile=1.86, tested_ms=(0.8, 17.0))


def test_at_95_percent_it_is_the_end_of_the_90_percent_interval() -> None:
    upper = UpperLatency(SPREAD, 0.95)
    assert upper.quantile == pytest.approx(SPREAD.quantile)
    expected = 4.0 * np.exp(SPREAD.quantile * SPREAD.deviation(40, 4.0))
    assert upper.ms(np.array([4.0]), np.array([40.0]))[0] == pytest.approx(expected)


def test_at_half_it_is_the_prediction() -> None:
    assert UpperLatency(SPREAD, 0.5).ms(np.array([4.0]), np.array([40.0]))[0] == pytest.approx(4.0)


@given(
    at=st.tuples(st.floats(0.3, 30), st.floats(20, 70)),
    of=st.tuples(st.floats(0.3, 30), st.floats(20, 70)),
    confidence=st.floats(0.5, 0.99),
)
def test_the_plane_lies_below_and_touches(
    at: tuple[float, float], of: tuple[float, float], confidence: float
) -> None:
    upper = UpperLatency(SPREAD, confidence)
    of_ms, of_units = upper.plane(*at)
    bound = upper.ms(np.array([of[0]]), np.array([of[1]]))[0]
    assert of_ms * of[0] + of_units * of[1] <= bound * (1 + 1e-12)
    if 0.8 <= at[0] <= 17.0:  # beyond what was tested, the interval is wider still
        there = upper.ms(np.array([at[0]]), np.array([at[1]]))[0]
        assert of_ms * at[0] + of_units * at[1] == pytest.approx(there)
