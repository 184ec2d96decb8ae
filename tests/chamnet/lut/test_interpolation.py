import numpy as np
import pytest

from chamnet.errors import NotProfiledError
from chamnet.lut import EFFORTS, make_plan
from chamnet.lut.interpolation import UnitInterpolator, unit_features
from chamnet.space import load_space, unit_grid
from chamnet.units import Unit

GRID = unit_grid(load_space("chamnet-res"), "block")


def made_up_ms(unit: Unit) -> float:
    return unit.macs / 2e7 + unit.activation_bytes / 4e7 + unit.weight_bytes / 1e8 + 0.01


MEASURED = make_plan(GRID, EFFORTS["quick"]).units
FITTED = UnitInterpolator.fit(MEASURED, [made_up_ms(unit) for unit in MEASURED])


def test_a_smooth_cost_is_found_again() -> None:
    latency_ms, _, known = FITTED.predict(GRID.units)
    truth = np.array([made_up_ms(unit) for unit in GRID.units])
    assert known.all()
    assert np.abs(latency_ms / truth - 1).mean() < 0.02


def test_a_sum_over_networks_is_closer_still() -> None:
    latency_ms = FITTED.predict(GRID.units)[0]
    levels = GRID.space.sample(200, np.random.default_rng(0))
    truth = GRID.tables([made_up_ms(unit) for unit in GRID.units]).total(levels)
    assert np.abs(GRID.tables(latency_ms).total(levels) / truth - 1).mean() < 0.015


def test_it_is_less_sure_far_from_measurements() -> None:
    few = MEASURED[::7]
    sparse = UnitInterpolator.fit(few, [made_up_ms(unit) for unit in few])
    at, away = sparse.predict(few)[1], sparse.predict(GRID.units)[1]
    assert np.median(away) > np.median(at)


def test_an_unknown_group_is_missing_but_never_zero() -> None:
    foreign = Unit.parse("conv:f32:1x8x14x14:o16:k5")
    latency_ms, deviation, known = FITTED.predict([foreign])
    assert not known[0]
    assert latency_ms[0] > 0
    assert deviation[0] > 0.05


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(NotProfiledError, match="chamnet-host profile"):
        UnitInterpolator.fit([], [])


def test_features_tell_units_apart() -> None:
    features = unit_features(GRID.units)
    assert features.shape == (len(GRID.units), 8)
    assert np.isfinite(features).all()
