"""Which search answers: exact where it can be, evolution from a good start elsewhere."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chamnet.errors import ConfigError
from chamnet.search import Problem, SearchSettings, search
from chamnet.search.feasible import within

if TYPE_CHECKING:
    from conftest import Synthetic

QUICK = SearchSettings(generations=3, restarts=1, polish=False)


@pytest.fixture
def additive(tiny: "Synthetic") -> Problem:
    accuracy = tiny.separable(np.random.default_rng(0), slope=0.3)
    return replace(tiny.problem("6MMACs,30kparams"), accuracy=accuracy.top1, separable=accuracy)


def test_auto_proves_what_adds_up(tiny: "Synthetic", additive: Problem) -> None:
    result = search(additive)
    best = additive.accuracy(tiny.levels[within(tiny.levels, additive.constraints)]).max()
    assert (result.solver, result.status, result.gap) == ("exact", "optimal", 0)
    assert result.accuracy == pytest.approx(best)
    assert result.genome == tiny.space.genomes(result.levels)[0]
    assert result.metrics.keys() == {"macs", "params"}


def test_evolution_proves_nothing(additive: Problem) -> None:
    result = search(additive, QUICK, solver="evolution")
    assert (result.solver, result.status, result.bound, result.gap) == ("evolution", "heuristic", None, None)


def test_any_accuracy_starts_from_the_exact_answer_of_its_surrogate(tiny: "Synthetic") -> None:
    surrogate = tiny.separable(np.random.default_rng(0), slope=0.3)
    problem = replace(
        tiny.problem("6MMACs,30kparams"),
        accuracy=lambda levels: surrogate.top1(levels) + 1e-3,
        surrogate=surrogate,
    )
    settings = SearchSettings(generations=0, restarts=1, polish=False, population=2)
    result = search(problem, settings)
    best = surrogate.top1(tiny.levels[within(tiny.levels, problem.constraints)]).max()
    assert result.accuracy == pytest.approx(best + 1e-3)
    assert (result.solver, result.status) == ("evolution", "heuristic")


def test_exact_refuses_what_does_not_add_up(tiny: "Synthetic") -> None:
    with pytest.raises(ConfigError, match="--solver auto or evolution"):
        search(tiny.problem("6MMACs"), solver="exact")
