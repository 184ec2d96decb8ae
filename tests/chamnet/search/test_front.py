"""The front: for every budget as good as a search for that budget alone, and never out of order."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chamnet.errors import InfeasibleBudgetError
from chamnet.quantities import Budget, parse_budgets
from chamnet.search import Constraint, ExactSearch, pareto_front

if TYPE_CHECKING:
    from conftest import Synthetic


def test_each_point_is_the_best_for_its_budget(tiny: "Synthetic") -> None:
    accuracy = tiny.separable(np.random.default_rng(1), slope=0.3)
    swept, other = tiny.metrics["latency_ms"], tiny.metrics["params"]
    params = Constraint(other, Budget("params", (other.lowest + other.highest) / 3, "x"))
    front = pareto_front(accuracy, swept, [params], points=24)
    costs, params_of, top1 = (of(tiny.levels) for of in (swept.total, other.total, accuracy.top1))
    for point in front:
        fits = (costs <= point.limit) & (params_of <= params.limit)
        assert point.proven.top1 == pytest.approx(top1[fits].max(), abs=1e-9)
        assert point.cost <= point.limit
    assert len(front) > 5
    assert all(a.cost < b.cost and a.proven.top1 < b.proven.top1 for a, b in pairwise(front))
    for limit in np.geomspace(swept.lowest, swept.highest, 24):
        best = max(point.proven.top1 for point in front if point.limit <= limit * (1 + 1e-12))
        alone = ExactSearch(accuracy, [swept]).best([Constraint(swept, Budget("latency_ms", limit, "x"))])
        assert best <= alone.top1 + 1e-9


def test_a_gap_is_kept(tiny: "Synthetic") -> None:
    accuracy = tiny.separable(np.random.default_rng(2), slope=0.3)
    swept = tiny.metrics["latency_ms"]
    costs, top1 = swept.total(tiny.levels), accuracy.top1(tiny.levels)
    for point in pareto_front(accuracy, swept, points=20, gap=0.5):
        assert 0 <= point.proven.gap <= 0.5
        assert top1[costs <= point.limit].max() <= point.proven.bound + 1e-9


def test_progress_is_told(tiny: "Synthetic") -> None:
    told: list[tuple[int, int]] = []
    accuracy = tiny.separable(np.random.default_rng(2))
    pareto_front(accuracy, tiny.metrics["macs"], points=5, progress=lambda *at: told.append(at))
    assert told == [(n, 5) for n in range(1, 6)]


def test_what_the_other_budgets_rule_out_is_refused(tiny: "Synthetic") -> None:
    accuracy = tiny.separable(np.random.default_rng(2))
    (budget,) = parse_budgets("1params")
    with pytest.raises(InfeasibleBudgetError, match="lowest reachable"):
        pareto_front(accuracy, tiny.metrics["macs"], [Constraint(tiny.metrics["params"], budget)], points=3)
