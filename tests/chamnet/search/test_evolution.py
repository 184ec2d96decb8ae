"""The search: always within budget, the same by seed, the best of small spaces, and close to it in large ones."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chamnet.errors import InfeasibleBudgetError
from chamnet.networks import find
from chamnet.search import Problem, SearchSettings, evolve
from chamnet.search.feasible import within
from chamnet.space import Levels

if TYPE_CHECKING:
    from conftest import Synthetic

QUICK = SearchSettings(generations=15, restarts=1, kicks=4)


def _optimum(tiny: "Synthetic", problem: Problem) -> float:
    fits = within(tiny.levels, problem.constraints)
    return float(problem.accuracy(tiny.levels[fits]).max())


@pytest.mark.parametrize(
    "budgets", ["", "1MMACs", "6MMACs", "20MMACs", "6MMACs,20kparams", "1ms,60kB,14kparams"]
)
@pytest.mark.parametrize("amplitude", [0.6, 2.0])
def test_the_best_network_of_a_small_space_is_found(
    tiny: "Synthetic", budgets: str, amplitude: float
) -> None:
    problem = tiny.problem(budgets, seed=1, amplitude=amplitude)
    best = _optimum(tiny, problem)
    for seed in range(3):
        assert evolve(problem, replace(QUICK, seed=seed)).accuracy == pytest.approx(best, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1), other=st.floats(0, 1), seed=st.integers(0, 9))
def test_no_answer_exceeds_a_budget(tiny: "Synthetic", share: float, other: float, seed: int) -> None:
    limits = {
        name: tiny.metrics[name].lowest + part * (tiny.metrics[name].highest - tiny.metrics[name].lowest)
        for name, part in (("latency_ms", share), ("params", other))
    }
    problem = tiny.problem("1ms,1params", seed=seed)
    constraints = tuple(
        replace(c, budget=replace(c.budget, limit=limits[c.metric.name])) for c in problem.constraints
    )
    try:
        result = evolve(
            replace(problem, constraints=constraints), SearchSettings(generations=3, restarts=1, kicks=1)
        )
    except InfeasibleBudgetError:
        assert not within(tiny.levels, constraints).any()
        return
    for constraint in constraints:
        value = float(constraint.metric.total(tiny.space.levels([result.genome]))[0])
        assert result.metrics[constraint.metric.name] == value <= constraint.limit


def test_the_same_seed_gives_the_same_search(tiny: "Synthetic") -> None:
    problem = tiny.problem("4MMACs")
    one, other = (evolve(problem, QUICK, rng=np.random.default_rng(7)) for _ in range(2))
    assert (one.genome, one.accuracy, one.evaluations, one.history) == (
        other.genome,
        other.accuracy,
        other.evaluations,
        other.history,
    )
    assert evolve(problem, replace(QUICK, seed=7)).history == one.history
    assert evolve(problem, replace(QUICK, seed=8)).history != one.history


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["8MMACs", "40MMACs", "200MMACs"])
def test_seeds_agree_in_chamnet_mobile(mobile: "Synthetic", budget: str) -> None:
    problem = mobile.problem(budget, seed=3)
    found = [evolve(problem, SearchSettings(seed=seed)).accuracy for seed in range(5)]
    assert np.ptp(found) < 0.05


def test_the_result_says_everything_about_the_network(tiny: "Synthetic") -> None:
    problem = tiny.problem("3MMACs,1000MB")
    result = evolve(problem, QUICK)
    network = tiny.space.decode(result.genome)
    assert tiny.space.genomes(result.levels) == [result.genome]
    assert result.accuracy == problem.accuracy(result.levels)[0]
    assert result.metrics == {"macs": network.macs, "weight_bytes": network.weight_bytes}
    assert result.binding == {"macs": True, "weight_bytes": False}
    assert (result.status, result.interrupted, result.timed_out) == ("heuristic", False, False)
    assert result.elapsed_s > 0


def test_every_evaluation_is_counted(tiny: "Synthetic") -> None:
    problem, rows = tiny.problem("6MMACs"), [0]

    def counting(levels: Levels) -> npt.NDArray[np.float64]:
        rows[0] += len(levels)
        return problem.accuracy(levels)

    assert evolve(replace(problem, accuracy=counting), QUICK).evaluations == rows[0]


def test_history_and_progress_tell_of_each_generation(tiny: "Synthetic") -> None:
    told: list[tuple[int, float | None]] = []
    result = evolve(
        tiny.problem("6MMACs"),
        replace(QUICK, restarts=2),
        progress=lambda generation, best: told.append((generation, best)),
    )
    assert [generation for generation, _ in told] == list(range(1, 3 * 15 + 1))
    assert [best for _, best in told] == [generation.best for generation in result.history]
    bests = [best for _, best in told if best is not None]
    assert bests == sorted(bests)
    assert len(bests) == len(told)


def test_an_unreachable_budget_fails_before_anything_is_predicted(tiny: "Synthetic") -> None:
    def never(levels: Levels) -> npt.NDArray[np.float64]:
        raise AssertionError

    with pytest.raises(InfeasibleBudgetError, match="lowest reachable is"):
        evolve(replace(tiny.problem("1kMACs"), accuracy=never))


def test_the_answer_is_never_worse_than_a_start(mobile: "Synthetic") -> None:
    start = mobile.space.levels([mobile.space.genome(find("chamnet-e").architecture)])

    def needle(levels: Levels) -> npt.NDArray[np.float64]:
        return np.where((levels == start).all(axis=1), 90.0, 10.0)

    problem = replace(mobile.problem("60MMACs"), accuracy=needle)
    result = evolve(problem, QUICK, starts=start)
    assert result.accuracy == 90.0
    assert result.metrics["macs"] == find("chamnet-e").build().macs


def test_starts_over_budget_are_shrunk_and_help(mobile: "Synthetic") -> None:
    start = mobile.space.levels([mobile.space.genome(find("chamnet-a").architecture)])
    result = evolve(
        mobile.problem("60MMACs"), SearchSettings(generations=0, restarts=1, polish=False), starts=start
    )
    assert result.metrics["macs"] <= 6e7


@pytest.mark.parametrize(
    "starts", [np.zeros((2, 3)), np.full((1, 10), 99), np.full((1, 10), -1), np.zeros(10)]
)
def test_starts_that_are_no_levels_are_a_bug(tiny: "Synthetic", starts: npt.NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="starts must be levels of tiny, n x 10"):
        evolve(tiny.problem("6MMACs"), starts=starts.astype(np.int32))


@pytest.mark.parametrize(
    "give", [lambda n: np.full(n, np.nan), lambda n: np.zeros((n, 1)), lambda n: np.zeros(n + 1)]
)
def test_a_predictor_that_gives_something_else_is_a_bug(
    tiny: "Synthetic", give: Callable[[int], npt.NDArray[np.float64]]
) -> None:
    with pytest.raises(ValueError, match="the predictor must give"):
        evolve(replace(tiny.problem("6MMACs"), accuracy=lambda levels: give(len(levels))))


def _interrupting(problem: Problem, calls: int) -> Problem:
    left = [calls]

    def accuracy(levels: Levels) -> npt.NDArray[np.float64]:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return problem.accuracy(levels)

    return replace(problem, accuracy=accuracy)


@pytest.mark.parametrize("calls", [1, 5, 17, 20])
def test_ctrl_c_gives_the_best_so_far(tiny: "Synthetic", calls: int) -> None:
    result = evolve(_interrupting(tiny.problem("6MMACs"), calls), QUICK)
    assert result.interrupted
    assert result.metrics["macs"] <= 6e6


def test_ctrl_c_before_anything_is_known_ends_the_program(tiny: "Synthetic") -> None:
    with pytest.raises(KeyboardInterrupt):
        evolve(_interrupting(tiny.problem("6MMACs"), 0), QUICK)


class _TickingClock:
    """A clock on which every look takes a second."""

    def __init__(self) -> None:
        self.seconds = 0

    def now_ns(self) -> int:
        self.seconds += 1
        return self.seconds * 1_000_000_000

    def cpu_ns(self) -> int:
        return 0

    def sleep_s(self, seconds: float) -> None:
        raise AssertionError


def test_the_time_limit_ends_the_search_with_the_best_so_far(tiny: "Synthetic") -> None:
    result = evolve(tiny.problem("6MMACs"), SearchSettings(time_limit_s=10), clock=_TickingClock())
    assert result.timed_out
    assert result.metrics["macs"] <= 6e6
    assert len(result.history) == 9
    assert result.elapsed_s < 30


def test_a_space_of_one_network_has_one_answer(tiny: "Synthetic") -> None:
    one = tiny.space.restricted({axis.name: axis.values[0] for axis in tiny.space.axes})
    alone = type(tiny)(one)
    budgets = alone.problem("6MMACs").constraints
    result = evolve(Problem(one, lambda levels: np.full(len(levels), 50.0), budgets), QUICK)
    assert (result.genome, result.accuracy) == ((), 50.0)
    assert result.binding == {"macs": False}


def test_a_fixed_resolution_and_any_number_of_budgets_work(tiny: "Synthetic") -> None:
    space = replace(tiny.space, resolution=replace(tiny.space.resolution, values=(48,)))
    single = type(tiny)(space)
    for budgets in ("", "3MMACs", "3MMACs,12kparams,1ms,45kB"):
        problem = single.problem(budgets)
        fits = within(single.levels, problem.constraints)
        best = problem.accuracy(single.levels[fits]).max()
        assert evolve(problem, QUICK).accuracy == pytest.approx(best, abs=1e-9)
