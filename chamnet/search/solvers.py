"""Which search answers a problem: the exact one where accuracy adds up along the chain, else evolution."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from chamnet.clock import Clock, SystemClock
from chamnet.errors import ConfigError
from chamnet.predictors.separable import Separable
from chamnet.quantities import ns_to_ms
from chamnet.search.evolution import Progress, evolve
from chamnet.search.exact import ExactSearch, Proven
from chamnet.search.problem import Problem, SearchResult, SearchSettings
from chamnet.space import Levels

__all__ = ["SOLVERS", "SolverChoice", "search"]

SolverChoice = Literal["auto", "exact", "evolution"]
SOLVERS: tuple[SolverChoice, ...] = get_args(SolverChoice)


def search(
    problem: Problem,
    settings: SearchSettings | None = None,
    *,
    solver: SolverChoice = "auto",
    starts: Levels | None = None,
    top: int = 1,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Find the most accurate network within every budget.

    Args:
        problem: What is asked for.
        settings: Of the evolution; the paper's by default.
        solver: `exact` proves its answer, and needs an accuracy that adds up along the chain. `evolution` is the
            paper's search and takes any accuracy. `auto` is exact where it can be; else evolution starts from the exact
            answer under the problem's surrogate, if it has one.
        starts: Networks that may be good, shape `n x d`.
        top: Networks wanted in all: the answer, and others that differ from it.
        clock: Times the search; the machine's by default.
        progress: Called after each generation; see `evolve`.

    Raises:
        ConfigError: The exact search cannot take this accuracy apart.
        InfeasibleBudgetError: No network keeps the budgets, or none that does was found.
        ValueError: `starts` are no levels of the space, or the predictor gave something else than accuracies.
    """
    clock = clock or SystemClock()
    start_ns = clock.now_ns()
    if solver == "evolution":
        return evolve(problem, settings, starts=starts, clock=clock, progress=progress)
    if problem.separable is not None:
        first, *others = _exact(problem, problem.separable, starts, top)
        result = _result(problem, first, others, ns_to_ms(clock.now_ns() - start_ns) / 1_000)
        if solver == "exact" or result.status == "optimal":
            return result
        given = first.levels if starts is None else np.concatenate([first.levels, starts])
        evolved = evolve(problem, settings, starts=given, clock=clock, progress=progress)
        better = max((result, evolved), key=lambda each: each.accuracy)
        elapsed_s = ns_to_ms(clock.now_ns() - start_ns) / 1_000
        return replace(better, status="bounded", bound=result.bound, elapsed_s=elapsed_s)
    if solver == "exact":
        raise ConfigError(
            "the exact search needs an accuracy that adds up stage by stage, and this predictor's does not; use --solver"
            " auto or evolution, or an additive predictor (`chamnet-host accuracy fit --kernel additive`)"
        )
    if problem.surrogate is not None:
        (first,) = _exact(problem, problem.surrogate, None, 1)
        starts = first.levels if starts is None else np.concatenate([first.levels, starts])
    return evolve(problem, settings, starts=starts, clock=clock, progress=progress)


def _exact(problem: Problem, accuracy: Separable, starts: Levels | None, top: int) -> list[Proven]:
    searcher = ExactSearch(accuracy, [constraint.metric for constraint in problem.constraints])
    best = searcher.best(problem.constraints, starts=starts)
    return searcher.alternatives(problem.constraints, best, top) if top > 1 else [best]


def _result(problem: Problem, proven: Proven, others: Sequence[Proven], elapsed_s: float) -> SearchResult:
    constraints = problem.constraints
    return SearchResult(
        levels=proven.levels,
        genome=problem.space.genomes(proven.levels)[0],
        accuracy=proven.top1,
        metrics={c.metric.name: float(c.metric.total(proven.levels)[0]) for c in constraints},
        binding={c.metric.name: c.binding for c in constraints},
        evaluations=proven.listed,
        elapsed_s=elapsed_s,
        solver="exact",
        status="bounded" if proven.gap else "optimal",
        bound=proven.bound,
        others=np.concatenate([proven.levels[:0], *(other.levels for other in others)]),
    )
