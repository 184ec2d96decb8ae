import pytest
from hypothesis import given
from hypothesis import strategies as st

from chamnet.errors import BudgetError, UsageError
from chamnet.quantities import (
    Budget,
    format_count,
    ns_to_ms,
    parse_budget,
    parse_budgets,
)


@pytest.mark.parametrize(
    ("text", "metric", "limit"),
    [
        ("20ms", "latency_ms", 20.0),
        ("1500us", "latency_ms", 1.5),
        (".5s", "latency_ms", 500.0),
        ("35mJ", "energy_mj", 35.0),
        ("2J", "energy_mj", 2000.0),
        ("250uJ", "energy_mj", 0.25),
        ("300MMACs", "macs", 3e8),
        ("1.5GMACs", "macs", 1.5e9),
        ("4Mparams", "params", 4e6),
        ("800kparams", "params", 8e5),
        ("5MB", "weight_bytes", 5e6),
        (" 3e2 MMACS ", "macs", 3e8),
        ("20MS", "latency_ms", 20.0),
    ],
)
def test_a_budget_is_read_in_its_metrics_own_unit(text: str, metric: str, limit: float) -> None:
    budget = parse_budget(text)
    assert budget == Budget(metric, budget.limit, text.strip())
    assert budget.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    "text", ["", "20", "ms", "-3ms", "0ms", "nanms", "1e999ms", "20 parsecs", "20ms, 3", "٣ms"]
)
def test_what_is_no_budget_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BudgetError, match=r"20ms|known|above zero"):
        parse_budgets(text)


def test_an_unknown_unit_names_the_known_ones() -> None:
    with pytest.raises(BudgetError, match=r"'fps'; known: us, ms.*MMACs"):
        parse_budget("30fps")


def test_budgets_of_different_metrics_hold_together() -> None:
    assert [budget.metric for budget in parse_budgets("20ms, 5MB")] == ["latency_ms", "weight_bytes"]


def test_one_metric_is_bounded_once() -> None:
    with pytest.raises(BudgetError, match="latency_ms twice"):
        parse_budgets("20ms,30ms")


def test_a_bad_budget_is_a_usage_error() -> None:
    assert BudgetError.exit_code == UsageError.exit_code == 2


@given(st.integers(0, 10**15))
def test_whole_nanoseconds_survive_milliseconds(duration_ns: int) -> None:
    assert round(ns_to_ms(duration_ns) * 1_000_000) == duration_ns


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7"), (1_234, "1.2 k"), (3_504_872, "3.5 M"), (4_089_184_256, "4.1 G"), (0, "0")]
)
def test_counts_are_shortened(count: float, text: str) -> None:
    assert format_count(count) == text
