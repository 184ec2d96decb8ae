from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chamnet.errors import ConfigError
from chamnet.search import Problem, SearchSettings
from chamnet.search.problem import reward

if TYPE_CHECKING:
    from conftest import Synthetic

PAPER = SearchSettings()


def test_the_defaults_are_the_papers() -> None:
    assert (PAPER.population, PAPER.generations, PAPER.alpha, PAPER.exponent) == (96, 100, None, 2.0)


@pytest.mark.parametrize(("overrun", "points"), [(0.0, 0.0), (-0.5, 0.0), (0.1, 1.0), (0.2, 4.0)])
def test_a_ten_percent_overrun_costs_one_point_and_twenty_percent_four(overrun: float, points: float) -> None:
    worth = reward(np.array([70.0]), np.array([[20 * (1 + overrun)]]), np.array([[20.0]]), settings=PAPER)
    assert worth[0] == pytest.approx(70.0 - points)


@given(
    accuracy=st.floats(0, 100),
    costs=st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), max_size=3),
    alpha=st.none() | st.floats(0.01, 10),
    exponent=st.sampled_from([1.0, 2.0, 3.0]),
    step=st.booleans(),
)
def test_the_reward_is_the_plain_formula(
    accuracy: float, costs: list[tuple[float, float]], alpha: float | None, exponent: float, step: bool
) -> None:
    expected = accuracy
    for cost, limit in costs:
        weight = 10 / limit if alpha is None else alpha
        over = max(0.0, cost - limit)
        if step:
            over = 1.0 if over > 0 else 0.0
        expected -= (weight * over) ** exponent
    settings = SearchSettings(alpha=alpha, exponent=exponent, penalty="step" if step else "ramp")
    values = np.array([cost for cost, _ in costs]).reshape(-1, 1)
    limits = np.array([limit for _, limit in costs]).reshape(-1, 1)
    assert reward(np.array([accuracy]), values, limits, settings=settings)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("population", 1),
        ("generations", -1),
        ("alpha", 0.0),
        ("exponent", 0.0),
        ("exponent", float("nan")),
        ("penalty", "cliff"),
        ("mutation", -1.0),
        ("crossover", 1.5),
        ("elite", -0.1),
        ("tournament", 0),
        ("restarts", 0),
        ("kicks", -1),
        ("seed", -1),
        ("time_limit_s", 0.0),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: float | str) -> None:
    with pytest.raises(ConfigError, match=name):
        SearchSettings(**{name: value})  # type: ignore[arg-type]


def test_parts_that_do_not_belong_together_are_a_bug(tiny: "Synthetic", mobile: "Synthetic") -> None:
    problem = tiny.problem("5MMACs")
    with pytest.raises(ValueError, match="two constraints"):
        replace(problem, constraints=problem.constraints * 2)
    with pytest.raises(ValueError, match="another space"):
        Problem(mobile.space, problem.accuracy, problem.constraints)
