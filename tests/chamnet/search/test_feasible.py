from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chamnet.errors import InfeasibleBudgetError
from chamnet.quantities import Budget
from chamnet.search import Constraint, Metric, Problem, evolve
from chamnet.search.feasible import find_footholds, shrink, within

if TYPE_CHECKING:
    from conftest import Synthetic

CEILING = 2e8  # above the MACs of any network
NAMES = ("macs", "params", "latency_ms")


def _constraints(tiny: "Synthetic", shares: dict[str, float]) -> tuple[Constraint, ...]:
    """Return budgets at a share of the way from lowest to highest."""
    metrics = [tiny.metrics[name] for name in shares]
    limits = [m.lowest + shares[m.name] * (m.highest - m.lowest) for m in metrics]
    return tuple(
        Constraint(m, Budget(m.name, limit, f"{m.name}<{limit}"))
        for m, limit in zip(metrics, limits, strict=True)
    )


def _falling(metric: Metric) -> Metric:
    """Return a metric that falls as another rises, so that budgets on the two contradict each other."""
    tables = replace(metric.tables, tables=tuple(-table for table in metric.tables.tables))
    return Metric("energy_mj", tables, constant=CEILING)


def test_one_budget_has_a_foothold_at_each_resolution_that_can_keep_it(tiny: "Synthetic") -> None:
    for share in (0.0, 0.05, 0.3, 1.0):
        constraints = _constraints(tiny, {"macs": share})
        able = tiny.levels[within(tiny.levels, constraints), 0]
        levels = find_footholds(tiny.space, constraints).levels
        assert levels[:, 0].tolist() == np.unique(able).tolist()
        assert within(levels, constraints).all()


def test_a_start_within_a_budget_on_what_does_not_add_up_is_a_foothold(tiny: "Synthetic") -> None:
    macs = tiny.metrics["macs"]
    lowest, other = macs.lowest_levels, tiny.levels[[-1]]
    odd = Metric("macs", macs.tables, exact=lambda levels: 2e8 - 1e8 * (levels == other).all(axis=1))
    constraints = (Constraint(odd, Budget("macs", 1.5e8, "150MMACs")),)
    with pytest.raises(InfeasibleBudgetError):
        find_footholds(tiny.space, constraints, lowest)
    found = find_footholds(tiny.space, constraints, np.concatenate([lowest, other]))
    assert (found.levels == other).all()
    assert (evolve(Problem(tiny.space, tiny.accuracy(0), constraints), starts=other).levels == other).all()


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.floats(0, 0.3), min_size=2))
def test_what_is_called_impossible_is(tiny: "Synthetic", shares: dict[str, float]) -> None:
    constraints = _constraints(tiny, shares)
    possible = within(tiny.levels, constraints).any()
    try:
        footholds = find_footholds(tiny.space, constraints)
    except InfeasibleBudgetError:
        assert not possible
        return
    assert within(footholds.levels, constraints).all()
    assert possible or not len(footholds.levels)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.floats(0.5, 1), st.integers(0, 99))
def test_shrunk_networks_keep_every_budget_and_others_stay(
    tiny: "Synthetic", share: float, other: float, seed: int
) -> None:
    constraints = _constraints(tiny, {"macs": share, "params": other})
    footholds = find_footholds(tiny.space, constraints).levels
    rng = np.random.default_rng(seed)
    levels = tiny.space.sample(200, rng)
    fitted = shrink(levels, footholds, constraints=constraints, rng=rng)
    assert within(fitted, constraints).all()
    fits = within(levels, constraints)
    assert np.array_equal(fitted[fits], levels[fits])
    kept = np.isin(levels[:, 0], footholds[:, 0])
    assert np.array_equal(fitted[kept, 0], levels[kept, 0]), "resolution stays where it can"


def test_shrinking_spends_most_of_the_budget(mobile: "Synthetic") -> None:
    metric = mobile.metrics["macs"]
    constraints = (Constraint(metric, Budget("macs", 1e8, "100MMACs")),)
    footholds = find_footholds(mobile.space, constraints).levels
    rng = np.random.default_rng(0)
    levels = mobile.space.sample(500, rng)
    cost = metric.total(shrink(levels, footholds, constraints=constraints, rng=rng))
    assert cost.max() <= 1e8
    assert np.median(cost[metric.total(levels) > 1e8]) > 0.9e8


def test_two_budgets_that_exclude_each_other_are_refused_at_once(tiny: "Synthetic") -> None:
    macs, params = tiny.metrics["macs"], tiny.metrics["params"]
    inverse = _falling(macs)
    half = (macs.lowest + macs.highest) / 2
    pair = (
        Constraint(macs, Budget("macs", half * 0.9, "few")),
        Constraint(inverse, Budget("energy_mj", CEILING - half * 1.1, "many")),
    )
    loose = Constraint(params, Budget("params", params.highest, "free"))
    with pytest.raises(
        InfeasibleBudgetError, match=r"keeps few and many together.*nearest has .*at resolution"
    ):
        find_footholds(tiny.space, pair)
    with pytest.raises(InfeasibleBudgetError, match="few and many alone exclude each other"):
        find_footholds(tiny.space, (loose, *pair))


def test_what_is_neither_proven_nor_found_says_so(tiny: "Synthetic") -> None:
    """A window of MACs between two neighbouring networks: empty, though mixtures of networks would fit."""
    macs = tiny.metrics["macs"]
    values = np.unique(macs.total(tiny.levels))
    gap = int(np.argmax(np.diff(values)[: len(values) // 2]))
    low, high = values[gap] + 1, values[gap + 1] - 1
    inverse = _falling(macs)
    window = (
        Constraint(macs, Budget("macs", high, "at most")),
        Constraint(inverse, Budget("energy_mj", CEILING - low, "at least")),
    )
    assert not within(tiny.levels, window).any()
    with pytest.raises(InfeasibleBudgetError, match="no network was found, though one may exist"):
        evolve(Problem(tiny.space, tiny.accuracy(0), window))
