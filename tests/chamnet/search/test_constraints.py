from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chamnet.errors import InfeasibleBudgetError
from chamnet.quantities import Budget, parse_budget
from chamnet.search import Constraint, Metric, check_feasible, format_amount

if TYPE_CHECKING:
    from conftest import Synthetic

METRICS = ["latency_ms", "energy_mj", "macs", "params", "weight_bytes"]


def test_the_reachable_range_is_that_of_every_network(tiny: "Synthetic") -> None:
    for metric in tiny.metrics.values():
        total = metric.total(tiny.levels)
        assert metric.lowest == total.min() == metric.total(metric.lowest_levels)[0]
        assert metric.highest == pytest.approx(total.max(), rel=1e-12)


def test_the_constant_is_in_every_value(tiny: "Synthetic") -> None:
    plain = tiny.metrics["macs"]
    shifted = Metric("macs", plain.tables, constant=1e6)
    assert shifted.lowest - plain.lowest == shifted.highest - plain.highest == 1e6
    assert np.all(shifted.total(tiny.levels) - plain.total(tiny.levels) == 1e6)


def test_a_budget_below_the_minimum_is_refused_with_a_budget_that_works(mobile: "Synthetic") -> None:
    metric = mobile.metrics["macs"]
    with pytest.raises(InfeasibleBudgetError, match=r"3MMACs: .*3\.804MMACs, at resolution 96") as caught:
        check_feasible([Constraint(metric, parse_budget("3MMACs"))])
    shown = str(caught.value).split("reachable is ")[1].split(",")[0]
    check_feasible([Constraint(metric, parse_budget(shown))])


def test_the_minimum_itself_is_a_budget_that_can_be_kept(tiny: "Synthetic") -> None:
    for metric in tiny.metrics.values():
        check_feasible([Constraint(metric, Budget(metric.name, metric.lowest, "least"))])
        with pytest.raises(InfeasibleBudgetError):
            check_feasible([Constraint(metric, Budget(metric.name, np.nextafter(metric.lowest, 0), "less"))])


def test_a_budget_on_another_metric_is_a_bug(tiny: "Synthetic") -> None:
    with pytest.raises(ValueError, match="bounds params, not macs"):
        Constraint(tiny.metrics["macs"], parse_budget("1Mparams"))


def test_a_budget_binds_if_some_network_exceeds_it(tiny: "Synthetic") -> None:
    metric = tiny.metrics["macs"]
    assert Constraint(metric, Budget("macs", metric.highest - 1, "")).binding
    assert not Constraint(metric, Budget("macs", metric.highest, "")).binding


@settings(max_examples=300)
@given(st.sampled_from(METRICS), st.floats(1e-6, 1e13))
def test_an_amount_rounded_up_is_a_budget_of_at_least_that(metric: str, value: float) -> None:
    budget = parse_budget(format_amount(metric, value, round_up=True))
    assert budget.metric == metric
    assert value <= budget.limit <= value * 1.0011


@given(st.sampled_from(METRICS), st.floats(1e-6, 1e13))
def test_an_amount_shows_four_digits(metric: str, value: float) -> None:
    assert parse_budget(format_amount(metric, value)).limit == pytest.approx(value, rel=6e-4)
