from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from chamnet.lut.walks import choose_covering, choose_doubtful, choose_first
from chamnet.space import CostTables, Levels, SearchSpace, UnitGrid, load_space, unit_grid
from chamnet.space.space import Axis

FloatArray = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def grid() -> UnitGrid:
    return unit_grid(load_space("chamnet-res"), "op")


@pytest.fixture(scope="module")
def macs(grid: UnitGrid) -> CostTables:
    return grid.tables([unit.macs for unit in grid.units])


@pytest.fixture(scope="module")
def cost_ms(grid: UnitGrid) -> FloatArray:
    return np.array([unit.macs / 3e7 + 0.01 for unit in grid.units])


def units_of(grid: UnitGrid, levels: Levels) -> list[set[int]]:
    return [set(row[row >= 0].tolist()) for row in grid.unit_indices(levels)]


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_first_walks_repeat_by_seed_and_differ(grid: UnitGrid, macs: CostTables) -> None:
    walks = choose_first(grid, macs, 40, seeded())
    assert np.array_equal(walks, choose_first(grid, macs, 40, seeded()))
    assert not np.array_equal(walks, choose_first(grid, macs, 40, seeded(1)))
    assert len(set(grid.space.genomes(walks))) == 40


def test_first_walks_are_of_all_sizes_in_mixed_order(grid: UnitGrid, macs: CostTables) -> None:
    total = macs.total(choose_first(grid, macs, 60, seeded()))
    largest = macs.bounds()[1].max()
    counts, _ = np.histogram(np.log(total / largest), bins=6, range=(np.log(1 / 100), 0))
    assert counts.sum() == 60
    assert counts.min() >= 6
    # a drift of the machine must not look like an effect of size
    assert abs(np.corrcoef(np.arange(60), np.log(total))[0, 1]) < 0.4


def test_first_walks_see_more_units_than_random_ones(grid: UnitGrid, macs: CostTables) -> None:
    chosen, drawn = (
        len(set().union(*units_of(grid, levels)))
        for levels in (choose_first(grid, macs, 40, seeded()), grid.space.sample(40, seeded()))
    )
    assert chosen > drawn


def test_a_space_with_fewer_networks_has_fewer_walks(tiny: SearchSpace) -> None:
    stages = tuple(
        replace(
            stage,
            expansion=_lowest(stage.expansion),
            filters=_lowest(stage.filters),
            blocks=_lowest(stage.blocks),
        )
        for stage in tiny.stages
    )
    few = replace(tiny, stages=stages)
    assert few.cardinality == 12
    grid = unit_grid(few)
    macs = grid.tables([unit.macs for unit in grid.units])
    doubt = np.ones(len(grid.units))
    for walks in (
        choose_first(grid, macs, 50, seeded()),
        choose_doubtful(grid, macs, 50, seeded(), cost_ms=doubt, deviation=doubt),
    ):
        assert len(set(few.genomes(walks))) == len(walks) <= few.cardinality


def _lowest(axis: Axis) -> Axis:
    return replace(axis, values=axis.values[:1])


def doubtful(
    grid: UnitGrid,
    macs: CostTables,
    cost_ms: FloatArray,
    deviation: FloatArray,
    *,
    count: int = 12,
    budgets_ms: Sequence[float] = (),
) -> Levels:
    return choose_doubtful(
        grid, macs, count, seeded(), cost_ms=cost_ms, deviation=deviation, budgets_ms=budgets_ms
    )


def seldom(grid: UnitGrid) -> list[int]:
    """Return units that a few in a hundred random networks hold."""
    drawn = units_of(grid, grid.space.sample(400, seeded(5)))
    return [i for i in range(len(grid.units)) if 0.02 < np.mean([i in units for units in drawn]) < 0.1]


def test_doubtful_walks_go_where_the_doubt_is(grid: UnitGrid, macs: CostTables, cost_ms: FloatArray) -> None:
    for unit in seldom(grid)[:3]:
        deviation = np.full(len(grid.units), 1e-3)
        deviation[unit] = 3.0
        assert any(unit in units for units in units_of(grid, doubtful(grid, macs, cost_ms, deviation)))


def test_what_a_walk_settles_is_no_reason_for_the_next(
    grid: UnitGrid, macs: CostTables, cost_ms: FloatArray
) -> None:
    first, second = seldom(grid)[:2]
    deviation = np.full(len(grid.units), 1e-3)
    deviation[first], deviation[second] = 100.0, 3.0
    walks = units_of(grid, doubtful(grid, macs, cost_ms, deviation))
    assert any(first in units for units in walks)
    assert any(second in units for units in walks)
    assert sum(first in units for units in walks) < len(walks) / 2


def test_doubtful_walks_go_near_budgets(grid: UnitGrid, macs: CostTables, cost_ms: FloatArray) -> None:
    latency = grid.tables(cost_ms)
    budgets_ms = (60.0, 250.0)
    deviation = np.full(len(grid.units), 0.1)

    def near(levels: Levels) -> float:
        log_ms = np.log(latency.total(levels))[:, None] - np.log(budgets_ms)
        return float((np.abs(log_ms).min(axis=1) < 0.3).mean())

    aimed = doubtful(grid, macs, cost_ms, deviation, count=24, budgets_ms=budgets_ms)
    assert near(aimed) >= 0.6
    assert near(aimed) > near(doubtful(grid, macs, cost_ms, deviation, count=24))
    assert near(aimed) < 1, "some walks go elsewhere all the same"
    assert len(set(grid.space.genomes(aimed))) == len(aimed)


@pytest.mark.parametrize("budget_ms", [17.0, 60.0, 1_480.0])
def test_a_budget_that_few_networks_are_near_leaves_no_walk_out(
    grid: UnitGrid, macs: CostTables, cost_ms: FloatArray, budget_ms: float
) -> None:
    deviation = np.full(len(grid.units), 0.1)
    walks = doubtful(grid, macs, cost_ms, deviation, count=60, budgets_ms=(budget_ms,))
    assert len(set(grid.space.genomes(walks))) == len(walks) == 60


def test_a_budget_that_no_network_is_near_changes_nothing(
    grid: UnitGrid, macs: CostTables, cost_ms: FloatArray
) -> None:
    deviation = np.full(len(grid.units), 0.1)
    assert np.array_equal(
        doubtful(grid, macs, cost_ms, deviation, budgets_ms=(1e-6,)),
        doubtful(grid, macs, cost_ms, deviation),
    )


@pytest.mark.parametrize("granularity", ["op", "block"])
def test_covering_walks_reach_every_unit_in_the_end(tiny: SearchSpace, granularity: str) -> None:
    grid = unit_grid(tiny, granularity)  # type: ignore[arg-type]
    visits = np.zeros(len(grid.units), dtype=np.int64)
    rng = seeded()
    for _ in range(len(grid.units)):  # more than enough
        walks = choose_covering(grid, visits, 5, rng)
        if not len(walks):
            break
        for units in units_of(grid, walks):
            assert any(visits[unit] == 0 for unit in units), "each walk holds something new"
            visits[list(units)] += 1
    assert (visits > 0).all()
    assert choose_covering(grid, visits, 5, rng).shape == (0, len(tiny.decisions))


def test_covering_walks_go_where_something_is_missing(grid: UnitGrid) -> None:
    visits = np.ones(len(grid.units), dtype=np.int64)
    missing = seeded().choice(len(grid.units), 30, replace=False)
    visits[missing] = 0
    walks = choose_covering(grid, visits, 1_000, seeded(1))
    assert len(walks) <= 30
    assert set(missing.tolist()) <= set().union(*units_of(grid, walks))
    assert len(choose_covering(grid, visits, 3, seeded(1))) == 3
