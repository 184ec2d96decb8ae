"""How long a proven answer takes, and what evolution started cold gives away against it.

    python benchmarks/search_exact.py --db chamnet.db [--target NAME] [--seeds 5] [--skip-evolution]

Needs a store in which `chamnet-host profile` measured chamnet-mobile. CPU time of one core; medians of `--repeats` runs.
Budgets are evenly spaced in log between the lowest and the highest latency that the space reaches, without the ends.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import Timed, options, pin, timed, write

from chamnet.predictors.separable import Separable
from chamnet.quantities import Budget
from chamnet.search import (
    Constraint,
    ExactSearch,
    Metric,
    Problem,
    Proven,
    SearchSettings,
    evolve,
    pareto_front,
)
from chamnet_host.searching.scope import Scope
from chamnet_host.session import Session

BUDGETS = 8
FRONT = 64


def main() -> None:
    """Measure single searches, two budgets at once, fronts, the whole command, and evolution."""
    asked = _options()
    pin()
    with Session.open(asked.db, target=asked.target, create=False) as session:
        scope = Scope.of(session)
    accuracy = scope.accuracy.separable
    assert accuracy is not None
    latency, params = (Metric(name, scope.metrics.cost_tables[name]) for name in ("latency_ms", "params"))
    limits = np.geomspace(latency.lowest, latency.highest, BUDGETS + 2)[1:-1]
    write(f"{scope.space.cardinality:.3g} networks, {latency.lowest:.3f} to {latency.highest:.3f} ms")
    _single(accuracy, latency, limits, asked.repeats)
    _two(accuracy, latency, params, limits, asked.repeats)
    for gap in (0.05, 0.0):
        _front(accuracy, latency, gap, asked.repeats)
    _command(asked.db, asked.target, float(limits[BUDGETS // 2]), asked.repeats)
    if not asked.skip_evolution:
        _evolution(scope, accuracy, latency, limits, asked.seeds)


def _single(accuracy: Separable, latency: Metric, limits: np.ndarray[Any, Any], repeats: int) -> None:
    write("\none budget          CPU s   top-1 %    gap  networks looked at")
    for limit in limits.tolist():
        constraint = _constraint(latency, limit)
        run = timed(lambda c=constraint: ExactSearch(accuracy, [latency]).best([c]), repeats)
        _row(f"{limit:8.3f} ms", run)


def _two(
    accuracy: Separable, latency: Metric, params: Metric, limits: np.ndarray[Any, Any], repeats: int
) -> None:
    write("\ntwo budgets         CPU s   top-1 %    gap  networks looked at")
    for limit in limits.tolist():
        alone = ExactSearch(accuracy, [latency]).best([_constraint(latency, limit)])
        needed = float(params.total(alone.levels)[0])
        for share in (0.8, 1.2):  # so that both bind, and so that the second excludes nothing good
            most = share * needed + (1 - share) * params.lowest
            both = [_constraint(latency, limit), _constraint(params, most)]
            run = timed(lambda c=both: ExactSearch(accuracy, [latency, params]).best(c), repeats)
            _row(f"{limit:8.3f} ms, {most / 1e6:5.2f} M", run)


def _front(accuracy: Separable, latency: Metric, gap: float, repeats: int) -> None:
    run = timed(lambda: pareto_front(accuracy, latency, points=FRONT, gap=gap), repeats)
    worst = max(point.proven.gap for point in run.value)
    write(
        f"\nfront of {FRONT} budgets, each certified to {gap:g} points: {run.cpu_s:.2f} s CPU, {len(run.value)} networks,"
        f" largest gap {worst:.4f}"
    )


def _command(db: Path, target: str | None, limit: float, repeats: int) -> None:
    words = [sys.executable, "-m", "chamnet_host", "search", "--db", str(db), "-b", f"{limit:.3f}ms"]
    words += ["--target", target] if target else []

    def run() -> None:
        subprocess.run(words, check=True, capture_output=True)

    run()  # once without the clock: what is derived from the table is kept
    walls = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        walls.append(time.perf_counter() - start)
    write(f"whole command, start-up included: {statistics.median(walls):.2f} s wall")


def _evolution(
    scope: Scope, accuracy: Separable, latency: Metric, limits: np.ndarray[Any, Any], seeds: int
) -> None:
    write("\nevolution, cold     gap to the optimum: median   largest   CPU s each")
    for limit in limits.tolist():
        constraint = _constraint(latency, limit)
        best = ExactSearch(accuracy, [latency]).best([constraint]).top1
        problem = Problem(scope.space, scope.accuracy.top1, (constraint,))
        start = time.process_time()
        gaps = [best - evolve(problem, SearchSettings(seed=seed)).accuracy for seed in range(seeds)]
        each_s = (time.process_time() - start) / seeds
        write(f"{limit:8.3f} ms {statistics.median(gaps):33.4f} {max(gaps):9.4f} {each_s:12.2f}")


def _constraint(metric: Metric, limit: float) -> Constraint:
    return Constraint(metric, Budget(metric.name, limit, f"{limit:.4g}"))


def _row(name: str, run: Timed[Proven]) -> None:
    proven = run.value
    write(f"{name:18s} {run.cpu_s:6.2f} {proven.top1:9.3f} {proven.gap:6.4f} {proven.listed:9,}")


def _options() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--db", type=Path, default=Path("chamnet.db"))
    parser.add_argument("--target")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip-evolution", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
