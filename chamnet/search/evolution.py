"""The paper's search: a population evolves under a reward that penalises overruns [Dai2019]_.

Beside the paper: the first population keeps every budget by construction, so there is an answer from the
start; several populations evolve apart, each resolution on its own at first, because networks rarely cross
from one to another; local search polishes the best of each; a last population evolves from all of those; and local
search starts anew from the best, changed at random, a number of times.

References:
    [Dai2019] ChamNet: Towards Efficient Network Design through Platform-Aware Model Adaptation. CVPR 2019.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from chamnet.clock import Clock, SystemClock
from chamnet.errors import InfeasibleBudgetError
from chamnet.quantities import ns_to_ms
from chamnet.search.feasible import Footholds, find_footholds, refusal
from chamnet.search.polish import kick_champions, polish_best, polish_champions
from chamnet.search.population import breed, first_population, survivors
from chamnet.search.problem import Generation, Problem, SearchResult, SearchSettings, reward
from chamnet.search.scorer import Scorer
from chamnet.space import Levels

__all__ = ["evolve"]

FloatArray = npt.NDArray[np.float64]
Progress = Callable[[int, float | None], None]

_NICHES_UNTIL = 0.4  # share of the generations in which resolutions do not compete
_HEIRS = 8  # networks that a population passes on to the last one, beside its champions
_PATIENCE = 5  # generations without progress before mutation doubles


def evolve(
    problem: Problem,
    settings: SearchSettings | None = None,
    *,
    starts: Levels | None = None,
    rng: np.random.Generator | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Search for the most accurate network within every budget.

    Args:
        problem: What is asked for.
        settings: How to search; the paper's way by default.
        starts: Networks to start from, within budget or not, shape `n x d`. The answer is never worse.
        rng: Random numbers; by default from the seed of the settings.
        clock: Times the search; the machine's by default.
        progress: Called after each generation with its number, from 1 on through all restarts, and the best
            accuracy within budget so far in percent, or None.

    Returns:
        The best network met. Ctrl-C ends the search early with the best so far, if there is one.

    Raises:
        InfeasibleBudgetError: No network keeps the budgets, or none that does was found.
        ValueError: `starts` are no levels of the space, or the predictor gave something else than accuracies.
    """
    settings = settings or SearchSettings()
    clock = clock or SystemClock()
    run = _Run(
        problem, settings, rng or np.random.default_rng(settings.seed), clock, clock.now_ns(), progress
    )
    given = _checked(problem, starts)
    footholds = find_footholds(problem.space, problem.constraints, given)
    try:
        run.search(footholds, given)
    except KeyboardInterrupt:
        if run.scorer.best is None:
            raise
        run.interrupted = True
    if run.scorer.best is None:
        nearest = footholds.nearest if run.scorer.nearest is None else run.scorer.nearest
        raise InfeasibleBudgetError(refusal(problem.constraints, nearest, proven=False))
    return run.result(*run.scorer.best)


def _checked(problem: Problem, starts: Levels | None) -> Levels:
    sizes = problem.space.sizes
    if starts is None:
        return np.empty((0, len(sizes)), dtype=np.int32)
    if starts.ndim != 2 or starts.shape[1] != len(sizes) or ((starts < 0) | (starts >= sizes)).any():
        raise ValueError(f"starts must be levels of {problem.space.name}, n x {len(sizes)}")
    return starts.astype(np.int32)


@dataclass(eq=False)
class _Run:
    """One search under way."""

    problem: Problem
    settings: SearchSettings
    rng: np.random.Generator
    clock: Clock
    start_ns: int
    progress: Progress | None
    history: list[Generation] = field(default_factory=list)
    interrupted: bool = False
    timed_out: bool = False

    def __post_init__(self) -> None:
        self.scorer = Scorer(self.problem)

    def search(self, footholds: Footholds, starts: Levels) -> None:
        """Evolve populations apart, then one from their best, and polish."""
        settings, bests = self.settings, []
        for restart in range(settings.restarts):
            given = starts if restart == 0 else starts[:0]  # the others look elsewhere
            first = first_population(
                self.problem, footholds, starts=given, count=settings.population, rng=self.rng
            )
            self.scorer.champions.clear()
            last = self._evolve(first, niches_until=_NICHES_UNTIL)
            if settings.polish:
                polish_champions(self.scorer, self._late)
            bests += [last[:_HEIRS], *(levels for _, levels in self.scorer.champions.values())]
        if settings.restarts > 1:
            self._evolve(np.concatenate(bests), niches_until=0.0)
        if settings.polish:
            polish_best(self.scorer, self._late)
            kick_champions(self.scorer, footholds.levels, kicks=settings.kicks, rng=self.rng, stop=self._late)

    def result(self, accuracy: float, levels: Levels) -> SearchResult:
        """Return the answer."""
        constraints = self.problem.constraints
        return SearchResult(
            levels=levels,
            genome=self.problem.space.genomes(levels)[0],
            accuracy=accuracy,
            metrics={c.metric.name: float(c.metric.total(levels)[0]) for c in constraints},
            binding={c.metric.name: c.binding for c in constraints},
            evaluations=self.scorer.evaluations,
            elapsed_s=self._elapsed_s(),
            interrupted=self.interrupted,
            timed_out=self.timed_out,
            history=tuple(self.history),
            others=self._others(levels),
        )

    def _others(self, levels: Levels) -> Levels:
        """Return the last population's best network of each resolution, but for the answer, the best first."""
        champions = sorted(self.scorer.champions.values(), key=lambda champion: -champion[0])
        rows = [found for _, found in champions if not np.array_equal(found, levels)]
        return np.concatenate(rows) if rows else levels[:0]

    def _evolve(self, levels: Levels, *, niches_until: float) -> Levels:
        """Evolve one population, and return its last generation, best first.

        Args:
            levels: The first generation, shape `n x d`.
            niches_until: Share of the generations in which resolutions do not compete.
        """
        settings = self.settings
        rewards = self._rewards(levels)
        levels, rewards = self._select(levels, rewards, niches=niches_until > 0)
        top, stale = rewards.max(), 0
        for number in range(1, settings.generations + 1):
            if self._late():
                break
            rate = settings.mutation * (2 if stale >= _PATIENCE else 1)
            children = breed(levels, self.problem.space.sizes, rate=rate, settings=settings, rng=self.rng)
            pool = np.concatenate([children, levels])
            worth = np.concatenate([self._rewards(children), rewards])
            levels, rewards = self._select(pool, worth, niches=number < niches_until * settings.generations)
            stale = 0 if rewards.max() > top else stale + 1
            top = max(top, rewards.max())
            self._report(float(rewards.mean()))
        return levels

    def _select(self, levels: Levels, rewards: FloatArray, *, niches: bool) -> tuple[Levels, FloatArray]:
        groups = self.scorer.resolutions(levels) if niches else None
        kept = survivors(levels, rewards, niches=groups, settings=self.settings)
        return levels[kept], rewards[kept]

    def _rewards(self, levels: Levels) -> FloatArray:
        scored = self.scorer.score(levels)
        return reward(scored.accuracy, scored.costs, self.problem.limits, settings=self.settings)

    def _report(self, mean: float) -> None:
        best = self.scorer.best[0] if self.scorer.best else None
        self.history.append(Generation(best, mean))
        if self.progress:
            self.progress(len(self.history), best)

    def _elapsed_s(self) -> float:
        return ns_to_ms(self.clock.now_ns() - self.start_ns) / 1_000

    def _late(self) -> bool:
        limit_s = self.settings.time_limit_s
        self.timed_out = self.timed_out or (limit_s is not None and self._elapsed_s() >= limit_s)
        return self.timed_out
