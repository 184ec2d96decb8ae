"""Power of units from rows of which some are below the noise."""

from pathlib import Path

import numpy as np
import pytest

from chamnet.lut import EnergyRow
from chamnet.predictors.power import PowerModel, PowerRows
from chamnet.space import load_space, unit_grid
from chamnet.testing import make_energy
from chamnet.units import Unit

TINY = Path(__file__).parents[2] / "data" / "tiny-mobile.toml"
UNITS = unit_grid(load_space(str(TINY)), "op").units
NOISE_W = 0.15  # of a window's net power; what is below five times that is below the noise


def true_w(unit: Unit) -> float:
    """Return the power of a unit: from 0.1 W to 2 W, less where it is small."""
    sizes = np.log([each.activation_bytes for each in UNITS])
    share = (np.log(unit.activation_bytes) - sizes.min()) / np.ptp(sizes)
    return float(np.exp(np.log(0.1) + share * np.log(20)))


def row(unit: Unit, rng: np.random.Generator, *, noise_w: float = NOISE_W) -> tuple[Unit, EnergyRow]:
    readings = tuple(
        make_energy(true_w(unit) + noise_w * float(rng.standard_normal()), noise_w=noise_w) for _ in range(2)
    )
    return unit, EnergyRow(kind="unit", key=unit.key, name="", readings=readings)


def log_errors(model: PowerModel) -> np.ndarray:
    known = model.predict(UNITS)
    return np.log(known.net_w) - np.log([true_w(unit) for unit in UNITS])


def test_rows_below_noise_keep_their_kind_from_being_overrated() -> None:
    every, chosen, below = [], [], []
    for seed in range(5):
        rows = [row(unit, np.random.default_rng((seed, i))) for i, unit in enumerate(UNITS)]
        told = [(unit, each) for unit, each in rows if not each.is_below_noise]
        below.append(1 - len(told) / len(rows))
        every.append(log_errors(PowerModel.fit(PowerRows.of(rows), usual_w=1.0)).mean())
        chosen.append(log_errors(PowerModel.fit(PowerRows.of(told), usual_w=1.0)).mean())
    assert 0.3 < np.mean(below) < 0.8, "the case is one"
    assert np.mean(chosen) > 0.25
    assert abs(np.mean(every)) < 0.1


def test_without_noise_nothing_is_below_it_and_rows_are_kept() -> None:
    rows = PowerRows.of([row(unit, np.random.default_rng(0), noise_w=1e-4) for unit in UNITS])
    assert rows.told.all()
    quiet = PowerRows(rows.units, rows.net_w, np.full(len(rows.units), 1e-4))
    assert PowerModel.fit(quiet, usual_w=1.0).predict(UNITS).net_w == pytest.approx(rows.net_w, rel=1e-3)


def test_a_row_below_noise_is_no_measured_one_and_unsure() -> None:
    rows = PowerRows.of([row(unit, np.random.default_rng(i)) for i, unit in enumerate(UNITS)])
    model = PowerModel.fit(rows, usual_w=1.0)
    known = model.predict(UNITS)
    assert (known.hidden == ~rows.told).all()
    assert (known.measured == rows.told).all()
    assert known.deviation[known.hidden].min() > 0.5
    assert known.deviation[known.measured].max() < 0.5
    assert model.left_out is not None
    assert model.left_out < 0.5, "of rows above the noise only"


@pytest.mark.parametrize("noise_w", [0.0, 0.01])
def test_net_power_at_or_below_zero_is_a_small_power(noise_w: float) -> None:
    """A coarse meter may say zero without any noise; drift may leave less than the idling device takes."""
    net_w = np.where(np.arange(len(UNITS)) % 3 == 0, 1.0, np.where(np.arange(len(UNITS)) % 3 == 1, 0.0, -0.3))
    hidden = frozenset(unit.key for unit, w in zip(UNITS, net_w, strict=True) if w <= 0)
    rows = PowerRows(UNITS, net_w, np.where(net_w > 0, 0.01, noise_w), hidden)
    known = PowerModel.fit(rows, usual_w=1.0).predict(UNITS)
    assert np.isfinite(known.net_w).all()
    assert np.isfinite(known.deviation).all()
    assert (known.net_w > 0).all()
    assert np.median(known.net_w[known.hidden]) < 0.3


def test_rows_that_are_all_below_noise_say_that_power_is_low() -> None:
    count = len(UNITS)
    hidden = frozenset(unit.key for unit in UNITS)
    rng = np.random.default_rng(0)
    rows = PowerRows(UNITS, 0.02 + 0.02 * rng.standard_normal(count), np.full(count, 0.02), hidden)
    known = PowerModel.fit(rows, usual_w=1.0).predict(UNITS)
    assert known.net_w.mean() == pytest.approx(0.02, rel=0.5)
    assert not known.known.any()
    assert not known.measured.any()


def test_a_fit_is_the_same_each_time_and_survives_the_store() -> None:
    rows = PowerRows.of([row(unit, np.random.default_rng(i)) for i, unit in enumerate(UNITS)])
    model, again = PowerModel.fit(rows, usual_w=1.0), PowerModel.fit(rows, usual_w=1.0)
    read = PowerModel.unpack(model.pack())
    for other in (again, read):
        assert (other.predict(UNITS).net_w == model.predict(UNITS).net_w).all()
    assert read.left_out == model.left_out
