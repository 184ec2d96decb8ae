"""The chain says of every genome what decoding it says."""

from dataclasses import replace

import numpy as np
import pytest

from chamnet.space import SearchSpace, UnitGrid, unit_grid
from chamnet.space.chain import ABSENT
from chamnet.units import Granularity, Unit

GRANULARITIES: tuple[Granularity, Granularity] = ("op", "block")


def _units(grid: UnitGrid, row: list[int]) -> tuple[Unit, ...]:
    return tuple(grid.units[i] for i in row if i != ABSENT)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_every_genome_of_a_small_space_has_its_own_units(tiny: SearchSpace, granularity: Granularity) -> None:
    grid = unit_grid(tiny, granularity)
    levels = np.stack(np.unravel_index(np.arange(tiny.cardinality), tiny.sizes), axis=1).astype(np.int32)
    held: set[Unit] = set()
    for genome, row in zip(tiny.genomes(levels), grid.unit_indices(levels).tolist(), strict=True):
        decoded = tiny.decode(genome).units(granularity)
        assert _units(grid, row) == decoded
        held.update(decoded)
    assert held == set(grid.units), "the grid holds these units and no others"
    assert len(set(grid.units)) == len(grid.units)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_samples_of_the_shipped_spaces_have_their_own_units(
    mobile: SearchSpace, res: SearchSpace, granularity: Granularity
) -> None:
    for space in (mobile, res):
        grid = unit_grid(space, granularity)
        levels = space.sample(30, np.random.default_rng(2))
        for genome, row in zip(space.genomes(levels), grid.unit_indices(levels).tolist(), strict=True):
            assert _units(grid, row) == space.decode(genome).units(granularity)


# Counted apart from the grid, too, by decoding 48,870 networks that together hold every reachable unit.
@pytest.mark.parametrize(("granularity", "count"), [("block", 49_860), ("op", 35_642)])
def test_the_grid_of_chamnet_mobile_holds_what_its_networks_hold(
    mobile: SearchSpace, granularity: Granularity, count: int
) -> None:
    grid = unit_grid(mobile, granularity)
    assert len(grid.units) == count
    used = np.unique(np.concatenate([link.units.ravel() for link in grid.links]))
    assert np.array_equal(used[used != ABSENT], np.arange(count)), "no unit that no genome has"
    assert all(grid.index[unit.key] == i for i, unit in enumerate(grid.units))


def test_neighbours_that_share_one_axis_object_are_no_repeats(tiny: SearchSpace) -> None:
    first, *rest = tiny.stages
    stages = (
        first,
        *(replace(stage, filters=replace(stage.filters, values=first.filters.values)) for stage in rest),
    )
    space = replace(tiny, stages=tuple(replace(stage, stride=1) for stage in stages))
    grid = unit_grid(space)
    levels = space.sample(50, np.random.default_rng(3))
    for genome, row in zip(space.genomes(levels), grid.unit_indices(levels).tolist(), strict=True):
        assert _units(grid, row) == space.decode(genome).blocks


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_grid_has_the_element_type_of_its_space(tiny: SearchSpace, granularity: Granularity) -> None:
    floats, quantized = unit_grid(tiny, granularity), unit_grid(replace(tiny, dtype="int8"), granularity)
    assert quantized.units == tuple(unit.cast("int8") for unit in floats.units)
    levels = tiny.sample(20, np.random.default_rng(4))
    for genome, row in zip(tiny.genomes(levels), quantized.unit_indices(levels).tolist(), strict=True):
        assert _units(quantized, row) == quantized.space.decode(genome).units(granularity)
