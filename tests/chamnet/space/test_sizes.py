import numpy as np
import pytest

from chamnet.space import CostTables, SearchSpace, draw_tilted, spread_sizes, unit_grid


def macs_of(space: SearchSpace) -> CostTables:
    grid = unit_grid(space)
    return grid.tables([unit.macs for unit in grid.units])


@pytest.fixture(scope="module")
def macs(res: SearchSpace) -> CostTables:
    return macs_of(res)


def test_sizes_are_evenly_spread_in_log(res: SearchSpace, macs: CostTables) -> None:
    lowest, highest = (float(edge) for edge in (macs.bounds()[0].min(), macs.bounds()[1].max()))
    drawn = np.log(macs.total(spread_sizes(res, macs, 200, np.random.default_rng(0))))
    places = (drawn - np.log(lowest)) / (np.log(highest) - np.log(lowest))
    assert np.abs(places - (np.arange(200) + 0.5) / 200).max() < 0.06  # fewer are drawn at the very ends
    random = np.log(macs.total(res.sample(200, np.random.default_rng(0))))
    assert random.std() < 0.6 * drawn.std(), "random genomes crowd in the middle"


def test_genomes_differ_and_come_smallest_first(res: SearchSpace, macs: CostTables) -> None:
    levels = spread_sizes(res, macs, 100, np.random.default_rng(1))
    assert levels.shape == (100, len(res.decisions))
    assert len(set(res.genomes(levels))) == 100
    assert (np.diff(macs.total(levels)) >= 0).all()


def test_a_seed_repeats(res: SearchSpace, macs: CostTables) -> None:
    one, same, other = (spread_sizes(res, macs, 20, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_range_is_kept_and_filled(res: SearchSpace, macs: CostTables) -> None:
    total = macs.total(spread_sizes(res, macs, 50, np.random.default_rng(2), low=5e8, high=2e9))
    assert total.min() >= 5e8
    assert total.max() <= 2e9
    assert total.min() < 5.5e8
    assert total.max() > 1.8e9


def test_where_there_are_fewer_they_are_all_returned(
    res: SearchSpace, macs: CostTables, tiny: SearchSpace
) -> None:
    assert spread_sizes(res, macs, 5, np.random.default_rng(0), low=1e15).shape == (0, len(res.decisions))
    few = tiny.restricted({"resolution": 32})
    levels = spread_sizes(few, macs_of(few), few.cardinality + 1, np.random.default_rng(0))
    assert 0.9 * few.cardinality < len(set(few.genomes(levels))) == len(levels) <= few.cardinality
    assert (np.diff(macs_of(few).total(levels)) >= 0).all()


def test_tilted_draws_reach_both_ends_of_every_decision(mobile: SearchSpace) -> None:
    levels = draw_tilted(mobile, 4_000, np.random.default_rng(0))
    assert levels.dtype == np.int32
    assert (levels.min(axis=0) == 0).all()
    assert (levels.max(axis=0) == mobile.sizes - 1).all()
    lean = (levels / (mobile.sizes - 1)).mean(axis=1)
    even = (mobile.sample(4_000, np.random.default_rng(0)) / (mobile.sizes - 1)).mean(axis=1)
    assert lean.std() > 2 * even.std()
