"""Our searches beside others, on the same predictor, table and budgets: how soon they come near the proven optimum.

    pip install -e '.[host,fit,compare]' --constraint constraints.txt
    taskset -c 1 python benchmarks/search_compared.py --db chamnet.db [--seconds 60] [--seeds 5] [--budgets 2]

Needs a store in which `chamnet-host profile` measured chamnet-mobile. Every search sees the same two numbers of a network,
predicted top-1 and latency, from the same vectorised tables, in batches where it can make use of them. Times are CPU time
of one core from the first call, samplers and bookkeeping included. A run ends after `--seconds`, or at the optimum.

exact and evolution are ours. Random search draws uniformly. Regularised evolution is that of [Real2019]_ (population 100,
25 candidates, one decision mutated). pymoo's GA has a population of 100, integer SBX and polynomial mutation. Optuna's
NSGA-II, TPE and GPSampler are told the overrun of the budget as a constraint. All others have their defaults.

References:
    [Real2019] Regularized Evolution for Image Classifier Architecture Search. AAAI 2019.
"""

import argparse
import statistics
import time
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import options, pin, write

from chamnet.quantities import Budget
from chamnet.search import Constraint, ExactSearch, Metric, Problem, SearchSettings, evolve
from chamnet.space import Levels
from chamnet_host.searching.scope import Scope
from chamnet_host.session import Session

FloatArray = npt.NDArray[np.float64]

NEAR = 0.05  # points below the optimum that count as reached
BATCH = 4_096  # networks that random search draws at a time
PARENTS, CANDIDATES = 100, 25


class TimeIsUpError(Exception):
    """The run has had its time, or has found the optimum."""


class Watch:
    """Predicts networks for one run, and notes when it came near the optimum."""

    def __init__(self, problem: Problem, optimum: float, seconds: float) -> None:
        self._problem, self._optimum, self._seconds = problem, optimum, seconds
        self.best, self.evaluations, self.reached_s = -np.inf, 0, np.inf
        self._start = time.process_time()

    def __call__(self, levels: Levels) -> tuple[FloatArray, FloatArray]:
        """Return top-1 in percent and overrun of the budget in ms (negative below it), each of shape `n`."""
        top1 = self._problem.accuracy(levels)
        (constraint,) = self._problem.constraints
        over = constraint.metric.total(levels) - constraint.limit
        self.note(top1, over)
        return top1, over

    def note(self, top1: FloatArray, over: FloatArray) -> None:
        """Count networks, remember the best, and end the run if that is due."""
        self.evaluations += len(top1)
        self.best = max(self.best, float(top1[over <= 0].max(initial=-np.inf)))
        spent = time.process_time() - self._start
        if self._optimum - self.best <= NEAR:
            self.reached_s = min(self.reached_s, spent)
        if spent > self._seconds or self._optimum - self.best < 1e-9:
            raise TimeIsUpError


Search = Callable[[Watch, Problem, int], None]


def run_exact(watch: Watch, problem: Problem, seed: int) -> None:
    """Prove the best network."""
    assert problem.separable is not None
    search = ExactSearch(problem.separable, [constraint.metric for constraint in problem.constraints])
    watch(search.best(problem.constraints).levels)


def run_evolution(watch: Watch, problem: Problem, seed: int) -> None:
    """Evolve from nothing, as often as there is time for."""
    watched = Problem(problem.space, lambda levels: watch(levels)[0], problem.constraints)
    while True:
        evolve(watched, SearchSettings(seed=seed))
        seed += 1_000


def run_random(watch: Watch, problem: Problem, seed: int) -> None:
    """Draw networks."""
    rng = np.random.default_rng(seed)
    while True:
        watch(problem.space.sample(BATCH, rng))


def run_regularised(watch: Watch, problem: Problem, seed: int) -> None:
    """Mutate the best of a few, and let the oldest die [Real2019]_."""
    rng, sizes = np.random.default_rng(seed), problem.space.sizes

    def ranked(top1: float, over: float) -> tuple[float, float]:
        return (-max(over, 0.0), top1)

    drawn = problem.space.sample(PARENTS, rng)
    population = deque((ranked(*pair), levels) for *pair, levels in zip(*watch(drawn), drawn, strict=True))
    while True:
        chosen = rng.integers(0, len(population), CANDIDATES)
        child = max((population[i] for i in chosen), key=lambda each: each[0])[1].copy()
        at = rng.integers(len(sizes))
        child[at] = (child[at] + rng.integers(1, sizes[at])) % sizes[at]
        (top1,), (over,) = watch(child[None])
        population.append((ranked(top1, over), child))
        population.popleft()


def run_pymoo(watch: Watch, problem: Problem, seed: int) -> None:
    """Let pymoo's genetic algorithm search."""
    from pymoo.algorithms.soo.nonconvex.ga import GA
    from pymoo.core.problem import Problem as Stated
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    sizes = problem.space.sizes

    class Networks(Stated):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(n_var=len(sizes), n_obj=1, n_ieq_constr=1, xl=0, xu=sizes - 1, vtype=int)

        def _evaluate(self, x: Any, out: dict[str, Any], *args: object, **kwargs: object) -> None:
            top1, over = watch(np.asarray(x, dtype=np.int32))
            out["F"], out["G"] = -top1, over

    algorithm = GA(
        pop_size=PARENTS,
        sampling=IntegerRandomSampling(),
        crossover=SBX(vtype=float, repair=RoundingRepair()),
        mutation=PM(vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    while True:
        minimize(Networks(), algorithm, ("n_gen", 100_000), seed=seed)
        seed += 1_000


def run_optuna(watch: Watch, problem: Problem, seed: int, *, sampler: str) -> None:
    """Ask one of Optuna's samplers, and tell it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def overrun(trial: optuna.trial.FrozenTrial) -> tuple[float]:
        return (float(trial.user_attrs["over"]),)

    made = getattr(optuna.samplers, sampler)(seed=seed, constraints_func=overrun)
    study = optuna.create_study(direction="maximize", sampler=made)
    choices = {
        axis.name: optuna.distributions.IntDistribution(0, len(axis.values) - 1)
        for axis in problem.space.decisions
    }
    while True:
        trial = study.ask(choices)
        levels = np.array([[trial.params[name] for name in choices]], dtype=np.int32)
        (top1,), (over,) = watch(levels)
        trial.set_user_attr("over", float(over))
        study.tell(trial, float(top1))


SEARCHES: dict[str, Search] = {
    "exact": run_exact,
    "evolution": run_evolution,
    "pymoo GA": run_pymoo,
    "regularised evolution": run_regularised,
    "random search": run_random,
    "Optuna NSGA-II": partial(run_optuna, sampler="NSGAIISampler"),
    "Optuna TPE": partial(run_optuna, sampler="TPESampler"),
    "Optuna GPSampler": partial(run_optuna, sampler="GPSampler"),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    Attributes:
        reached_s: When it came within `NEAR` of the optimum; infinite where it did not.
        gap: Points below the optimum at the end; infinite where no network kept the budget.
        evaluations: Networks predicted.
    """

    reached_s: float
    gap: float
    evaluations: int


def main() -> None:
    """Run every search at every budget with every seed, and print a table for each budget."""
    warnings.simplefilter("ignore")
    asked = _options()
    pin()
    with Session.open(asked.db, target=asked.target, create=False) as session:
        scope = Scope.of(session)
    latency = Metric("latency_ms", scope.metrics.cost_tables["latency_ms"])
    for limit in np.geomspace(latency.lowest, latency.highest, asked.budgets + 2)[1:-1].tolist():
        constraint = Constraint(latency, Budget("latency_ms", limit, f"{limit:.4g}"))
        accuracy = scope.accuracy.separable
        assert accuracy is not None
        problem = Problem(scope.space, scope.accuracy.top1, (constraint,), separable=accuracy)
        optimum = ExactSearch(accuracy, [latency]).best([constraint]).top1
        write(
            f"\n{limit:.3f} ms, optimum {optimum:.3f} %: CPU s to within {NEAR} points; points below after {asked.seconds:g} s"
        )
        for name in asked.only or SEARCHES:
            runs = [run(SEARCHES[name], problem, optimum, seed, asked.seconds) for seed in range(asked.seeds)]
            write(_row(name, runs))


def run(search: Search, problem: Problem, optimum: float, seed: int, seconds: float) -> Run:
    """Run one search until it is over."""
    watch = Watch(problem, optimum, seconds)
    with suppress(TimeIsUpError):
        search(watch, problem, seed)
    return Run(watch.reached_s, max(0.0, optimum - watch.best), watch.evaluations)


def _row(name: str, runs: list[Run]) -> str:
    reached = sorted(each.reached_s for each in runs)
    gaps = sorted(each.gap for each in runs)
    near = sum(np.isfinite(reached))
    return (
        f"{name:22s} {near} of {len(runs)} near, {statistics.median(reached):8.3f} s ({reached[0]:.3f} to {reached[-1]:.3f});"
        f" {statistics.median(gaps):8.4f} ({gaps[0]:.4f} to {gaps[-1]:.4f}); {statistics.median(e.evaluations for e in runs):12,.0f} networks"
    )


def _options() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--db", type=Path, default=Path("chamnet.db"))
    parser.add_argument("--target")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budgets", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=list(SEARCHES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
