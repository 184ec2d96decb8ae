"""Additive costs by table equal sums over decoded networks; extremes equal those over every genome."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chamnet.space import CostTables, SearchSpace, unit_grid
from chamnet.space.space import Levels
from chamnet.units import Granularity


def _all_levels(space: SearchSpace) -> Levels:
    return np.stack(np.unravel_index(np.arange(space.cardinality), space.sizes), axis=1).astype(np.int32)


@pytest.mark.parametrize("granularity", ["op", "block"])
def test_totals_equal_the_counts_of_decoded_networks(
    mobile: SearchSpace, res: SearchSpace, granularity: Granularity
) -> None:
    for space in (mobile, res):
        grid = unit_grid(space, granularity)
        levels = space.sample(40, np.random.default_rng(0))
        networks = [space.decode(genome) for genome in space.genomes(levels)]
        for count in ("macs", "params", "weight_bytes"):
            table = grid.tables([getattr(unit, count) for unit in grid.units])
            assert table.total(levels).tolist() == [getattr(network, count) for network in networks]


def test_extremes_in_macs_are_those_of_every_genome(tiny: SearchSpace) -> None:
    grid = unit_grid(tiny)
    table = grid.tables([unit.macs for unit in grid.units])
    _check_extremes(tiny, table)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), coarse=st.booleans())
def test_extremes_are_exact_for_any_cost(tiny: SearchSpace, seed: int, coarse: bool) -> None:
    grid = unit_grid(tiny, "op")
    rng = np.random.default_rng(seed)
    cost = (
        rng.integers(-2, 3, len(grid.units)) if coarse else rng.normal(size=len(grid.units))
    )  # coarse: ties
    _check_extremes(tiny, grid.tables(cost))


def _check_extremes(space: SearchSpace, table: CostTables) -> None:
    levels = _all_levels(space)
    total = table.total(levels).reshape(len(space.resolution.values), -1)
    least, most = table.bounds()
    np.testing.assert_allclose(least, total.min(axis=1), atol=1e-12)
    np.testing.assert_allclose(most, total.max(axis=1), atol=1e-12)
    np.testing.assert_allclose(table.total(table.lowest_each()), total.min(axis=1), atol=1e-12)
    assert np.array_equal(table.lowest_each()[:, 0], np.arange(len(total)))
    assert table.total(table.lowest())[0] == pytest.approx(total.min(), abs=1e-12)


def test_of_equal_networks_the_lowest_levels_are_the_lowest(tiny: SearchSpace) -> None:
    grid = unit_grid(tiny)
    table = grid.tables(np.zeros(len(grid.units)))
    assert not table.lowest().any()
    assert not table.lowest_each()[:, 1:].any()


def test_the_cheapest_chamnet_mobile_in_macs_is_the_smallest(mobile: SearchSpace) -> None:
    grid = unit_grid(mobile)
    table = grid.tables([unit.macs for unit in grid.units])
    assert mobile.genomes(table.lowest()) == [mobile.extreme(largest=False)]
    assert table.bounds()[1].max() == mobile.decode(mobile.extreme(largest=True)).macs


def test_a_table_of_one_genome_has_one_cost(mobile: SearchSpace) -> None:
    space = mobile.restricted({axis.name: axis.values[0] for axis in mobile.axes})
    grid = unit_grid(space)
    table = grid.tables([unit.macs for unit in grid.units])
    assert table.lowest().shape == (1, 0)
    assert table.total(table.lowest()).tolist() == [space.decode(()).macs]
