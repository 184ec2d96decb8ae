"""The exact search: what it proves is what listing every network finds, and what HiGHS finds in the full space."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chamnet.errors import InfeasibleBudgetError
from chamnet.predictors.separable import Separable
from chamnet.quantities import Budget
from chamnet.search import Constraint, ExactSearch, Metric, Problem, Proven
from chamnet.search.feasible import within
from chamnet.space import Levels

if TYPE_CHECKING:
    from conftest import Synthetic


def budgeted(synthetic: "Synthetic", accuracy: Separable, shares: dict[str, float]) -> Problem:
    """Return a problem whose budgets lie that share of the way from the lowest to the highest metric."""
    constraints = []
    for name, share in shares.items():
        metric = synthetic.metrics[name]
        limit = metric.lowest + share * (metric.highest - metric.lowest)
        constraints.append(Constraint(metric, Budget(name, limit, f"{share:.0%} of {name}")))
    return Problem(synthetic.space, accuracy.top1, tuple(constraints))


def solve(problem: Problem, accuracy: Separable) -> Proven:
    metrics = [constraint.metric for constraint in problem.constraints]
    return ExactSearch(accuracy, metrics).best(problem.constraints)


def check(synthetic: "Synthetic", problem: Problem, accuracy: Separable) -> None:
    fits = within(synthetic.levels, problem.constraints)
    if not fits.any():
        with pytest.raises(InfeasibleBudgetError):
            solve(problem, accuracy)
        return
    best = accuracy.top1(synthetic.levels[fits]).max()
    proven = solve(problem, accuracy)
    assert within(proven.levels, problem.constraints).all()
    assert proven.top1 == accuracy.top1(proven.levels)[0]
    assert proven.top1 == pytest.approx(best, abs=1e-8)
    assert proven.gap == 0


@settings(max_examples=60, deadline=None)
@given(
    share=st.floats(0, 1), slope=st.sampled_from([0.0, 0.3, 2.0, 20.0, -0.5, -8.0]), seed=st.integers(0, 99)
)
def test_one_budget(tiny: "Synthetic", share: float, slope: float, seed: int) -> None:
    accuracy = tiny.separable(np.random.default_rng(seed), slope)
    check(tiny, budgeted(tiny, accuracy, {"latency_ms": share}), accuracy)


@settings(max_examples=60, deadline=None)
@given(
    shares=st.tuples(st.floats(0, 0.6), st.floats(0, 0.6), st.floats(0, 0.6)),
    slope=st.sampled_from([0.0, 0.3, 5.0, -0.5]),
    seed=st.integers(0, 99),
)
def test_three_budgets(
    tiny: "Synthetic", shares: tuple[float, float, float], slope: float, seed: int
) -> None:
    accuracy = tiny.separable(np.random.default_rng(seed), slope)
    named = dict(zip(("latency_ms", "params", "macs"), shares, strict=True))
    check(tiny, budgeted(tiny, accuracy, named), accuracy)


def test_no_budget(tiny: "Synthetic") -> None:
    accuracy = tiny.separable(np.random.default_rng(3), 0.3)
    check(tiny, budgeted(tiny, accuracy, {}), accuracy)


def test_a_budget_just_met(tiny: "Synthetic") -> None:
    """The budget is exactly what some network needs: rounding must not lose it."""
    accuracy = tiny.separable(np.random.default_rng(4), 0.3)
    metric = tiny.metrics["latency_ms"]
    for limit in np.sort(metric.total(tiny.levels))[[0, 5, 500, 5_000]]:
        check(
            tiny,
            Problem(
                tiny.space, accuracy.top1, (Constraint(metric, Budget("latency_ms", float(limit), "x")),)
            ),
            accuracy,
        )


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_a_budget_on_what_does_not_add_up(tiny: "Synthetic", share: float) -> None:
    """The upper end of an interval rises with latency and with the number of units, and lies above their plane."""
    accuracy = tiny.separable(np.random.default_rng(5), slope=0.3)
    latency, units = tiny.metrics["latency_ms"].tables, tiny.metrics["params"].tables
    scale = latency.total(tiny.levels).mean() / units.total(tiny.levels).mean()

    def upper(levels: Levels) -> npt.NDArray[np.float64]:
        return np.asarray(np.hypot(latency.total(levels), scale * units.total(levels)))

    halves = tuple((a + scale * b) / np.sqrt(2) for a, b in zip(latency.tables, units.tables, strict=True))
    metric = Metric("latency_ms", replace(latency, tables=halves), exact=upper, rises_with=(latency, units))
    limit = metric.lowest + share * (metric.highest - metric.lowest)
    check(
        tiny,
        Problem(tiny.space, accuracy.top1, (Constraint(metric, Budget("latency_ms", limit, "x")),)),
        accuracy,
    )


def test_alternatives_are_good_different_and_within_budget(tiny: "Synthetic") -> None:
    accuracy = tiny.separable(np.random.default_rng(6), slope=0.3)
    problem = budgeted(tiny, accuracy, {"latency_ms": 0.4, "params": 0.6})
    search = ExactSearch(accuracy, [constraint.metric for constraint in problem.constraints])
    best = search.best(problem.constraints)
    found = search.alternatives(problem.constraints, best, 5)
    assert found[0] is best
    assert len(found) == 5
    for i, one in enumerate(found):
        assert within(one.levels, problem.constraints).all()
        assert one.top1 == accuracy.top1(one.levels)[0]
        assert all((one.levels != other.levels).sum() >= 3 for other in found[:i])
    top1 = [each.top1 for each in found]
    assert top1 == sorted(top1, reverse=True)
    every = np.sort(accuracy.top1(tiny.levels[within(tiny.levels, problem.constraints)]))
    assert top1[-1] > every[int(0.99 * len(every))]


def test_a_budget_that_the_answer_keeps_anyway_costs_no_search_of_its_own(tiny: "Synthetic") -> None:
    accuracy = tiny.separable(np.random.default_rng(6), slope=0.3)
    both = budgeted(tiny, accuracy, {"latency_ms": 0.4, "params": 0.95}).constraints
    alone = ExactSearch(accuracy, [both[0].metric]).best(both[:1])
    assert within(alone.levels, both).all()
    search = ExactSearch(accuracy, [each.metric for each in both])
    best = search.best(both)
    assert (best.top1, best.gap, best.listed) == (alone.top1, 0.0, alone.listed)
    found = search.alternatives(both, best, 5)
    assert len(found) == 5
    assert all(within(each.levels, both).all() for each in found)


@settings(max_examples=40, deadline=None)
@given(
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=5),
    slope=st.sampled_from([0.0, 0.3, 20.0, -8.0]),
    gap=st.sampled_from([0.0, 0.05, 1.0]),
    seed=st.integers(0, 99),
)
def test_one_search_for_many_budgets_certifies_each(
    tiny: "Synthetic", shares: list[float], slope: float, gap: float, seed: int
) -> None:
    accuracy = tiny.separable(np.random.default_rng(seed), slope)
    searcher = ExactSearch(accuracy, [tiny.metrics["latency_ms"]])
    for share in shares:
        constraints = budgeted(tiny, accuracy, {"latency_ms": share}).constraints
        fits = within(tiny.levels, constraints)
        if not fits.any():
            continue
        best = accuracy.top1(tiny.levels[fits]).max()
        proven = searcher.best(constraints, gap=gap)
        assert within(proven.levels, constraints).all()
        assert proven.top1 <= best + 1e-8
        assert proven.bound >= best - 1e-8
        assert proven.gap <= gap + 1e-8
