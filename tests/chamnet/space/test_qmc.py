"""Quasi-Monte-Carlo pools with as many small networks as large ones."""

import numpy as np
import pytest

from chamnet.space import CostTables, SearchSpace, load_space, unit_grid
from chamnet.space.qmc import SUBSPACES, imbalanced_qmc, sobol_levels


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load_space("chamnet-mobile-28")


@pytest.fixture(scope="module")
def macs(space: SearchSpace) -> CostTables:
    grid = unit_grid(space)
    return grid.tables([unit.macs for unit in grid.units])


def test_every_subspace_gets_its_quota(space: SearchSpace, macs: CostTables) -> None:
    levels = imbalanced_qmc(space.sizes, macs.total, 512, low=3e5, high=4e6)
    total = macs.total(levels)
    assert len(np.unique(levels, axis=0)) == len(levels) == 512
    assert (total >= 3e5).all()
    assert (total <= 4e6).all()
    counts, _ = np.histogram(np.log(total), np.linspace(np.log(3e5), np.log(4e6), SUBSPACES + 1))
    assert (abs(counts - 64) <= 12).all()  # MACs come in steps: some fall just beyond an edge


def test_so_does_any_beginning(space: SearchSpace, macs: CostTables) -> None:
    total = macs.total(imbalanced_qmc(space.sizes, macs.total, 256, low=3e5, high=4e6)[:40])
    counts, _ = np.histogram(np.log(total), np.linspace(np.log(3e5), np.log(4e6), SUBSPACES + 1))
    assert counts.min() >= 3


def test_edges_and_quotas_can_be_chosen(space: SearchSpace, macs: CostTables) -> None:
    levels = imbalanced_qmc(space.sizes, macs.total, 400, low=3e5, high=4e6, edges=[1e6], quotas=[3, 1])
    small = (macs.total(levels) <= 1e6).mean()
    assert small == pytest.approx(0.75, abs=0.03)


def test_a_plain_sequence_is_mostly_large_networks(space: SearchSpace, macs: CostTables) -> None:
    plain, ours = (
        macs.total(levels)
        for levels in (
            sobol_levels(space.sizes, 512),
            imbalanced_qmc(space.sizes, macs.total, 512, low=3e5, high=4e6),
        )
    )
    assert (plain < 6e5).mean() < 0.05
    assert (ours < 6e5).mean() > 0.2


def test_decisions_stay_spread(space: SearchSpace, macs: CostTables) -> None:
    levels = imbalanced_qmc(space.sizes, macs.total, 512, low=3e5, high=4e6)
    for column, size in zip(levels.T, space.sizes, strict=True):
        assert set(column.tolist()) == set(range(size))


def test_the_seed_decides(space: SearchSpace, macs: CostTables) -> None:
    one, same, other = (
        imbalanced_qmc(space.sizes, macs.total, 64, low=3e5, high=4e6, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_small_space_gives_what_it_has() -> None:
    levels = imbalanced_qmc([2, 3], lambda rows: 1.0 + rows.sum(axis=1), 50, low=1, high=4)
    assert len(levels) == len(np.unique(levels, axis=0)) == 6


def test_a_subspace_that_is_exhausted_passes_its_quota_on() -> None:
    rows = imbalanced_qmc([3] * 8, lambda levels: 1.0 + 3.0 ** levels.sum(axis=1), 240, low=2, high=5e7)
    assert len(rows) == 240
