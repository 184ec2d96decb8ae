"""What one more platform and one more budget cost: predictors are made once, a pair costs its search alone.

    python benchmarks/search_many.py --db chamnet.db --table onnxruntime:f32 [--table litert:int8 ...] [--budgets 1 4 16]

Needs a store in which `chamnet-host profile` measured chamnet-mobile on each of the tables (runtime:element type). CPU time
of one core. What is kept in the store is used, as in any later call; the first call on a table fits its latency predictor.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from common import options, pin, timed, write

from chamnet.ops import DType
from chamnet.predictors import AccuracyPredictor
from chamnet.quantities import Budget
from chamnet.search import Constraint, ExactSearch, Metric
from chamnet_host.searching.scope import Scope
from chamnet_host.session import Session

Made = TypeVar("Made")


def main() -> None:
    """Time each part, then grids of platforms and budgets."""
    asked = _options()
    pin()
    once = timed(AccuracyPredictor.load)
    write(f"once: accuracy predictor read, {len(once.value.pool)} known networks   {once.cpu_s:6.3f} s")
    for table in asked.table:
        first, again = (timed(lambda t=table: scope_of(asked.db, asked.target, t)) for _ in range(2))
        latency = again.value.metrics.cost_tables["latency_ms"]
        reach = f"{latency.bounds()[0].min():.2f} to {latency.bounds()[1].max():.2f} ms"
        write(
            f"each platform: {table:18s} opened {first.cpu_s:6.3f} s, again {again.cpu_s:6.3f} s   ({reach})"
        )
    write("\nplatforms  budgets  pairs   all together    per pair   largest gap, points")
    for platforms in range(1, len(asked.table) + 1):
        for budgets in asked.budgets:
            run = timed(lambda p=platforms, b=budgets: search_all(asked.db, asked.target, asked.table[:p], b))
            pairs = platforms * budgets
            write(
                f"{platforms:9d} {budgets:8d} {pairs:6d} {run.cpu_s:12.2f} s {run.cpu_s / pairs:9.3f} s {run.value:12.4f}"
            )


def scope_of(db: Path, target: str | None, table: str) -> Scope:
    """Return what a search on a table needs."""
    backend, dtype = table.split(":")
    with Session.open(db, target=target, backend=backend, dtype=cast(DType, dtype), create=False) as session:
        return Scope.of(session)


def search_all(db: Path, target: str | None, tables: Sequence[str], budgets: int) -> float:
    """Search every table at budgets evenly spaced in log; return the largest gap that was not closed."""
    gaps = []
    for table in tables:
        scope = scope_of(db, target, table)
        accuracy = scope.accuracy.separable
        assert accuracy is not None
        latency = Metric("latency_ms", scope.metrics.cost_tables["latency_ms"])
        searcher = ExactSearch(accuracy, [latency])
        for limit in np.geomspace(latency.lowest, latency.highest, budgets + 2)[1:-1].tolist():
            constraint = Constraint(latency, Budget("latency_ms", limit, f"{limit:.4g}"))
            gaps.append(searcher.best([constraint]).gap)
    return max(gaps)


def _options() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--db", type=Path, default=Path("chamnet.db"))
    parser.add_argument("--target")
    parser.add_argument("--table", action="append", required=True, metavar="RUNTIME:DTYPE")
    parser.add_argument("--budgets", type=int, nargs="+", default=[1, 4, 16])
    return parser.parse_args()


if __name__ == "__main__":
    main()
