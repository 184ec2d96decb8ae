"""Networks per second of what a search does with each: latency and MACs from link tables, then predicted top-1.

    taskset -c 1 python benchmarks/constrained_predictions.py [--predictor FILE] [--networks N]

Counts the CPU time of the process on one core, so that other people's load does not matter much. Calls have 4,096
genomes, about what a search makes of a generation; the genomes are drawn before the clock starts.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from chamnet.predictors import AccuracyPredictor
from chamnet.space import Levels, load_space, unit_grid

REPEATS = 11
BATCH = 4096


def main() -> None:
    """Measure each step alone and all together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--predictor", type=Path, help="fitted predictor; the shipped one by default")
    parser.add_argument("--networks", type=int, default=200_000)
    asked = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    space = load_space("chamnet-mobile")
    grid = unit_grid(space)
    macs = grid.tables([unit.macs for unit in grid.units])
    predictor = AccuracyPredictor.load(asked.predictor)
    accuracy = predictor.for_space(space, macs)
    levels = space.sample(asked.networks, np.random.default_rng(0))
    sys.stdout.write(f"{predictor.model.kernel.name} kernel, {len(predictor.pool)} known networks\n")
    known = macs.total(levels)
    report("MACs", levels, lambda part, _: macs.total(part))
    report("top-1, MACs known", levels, lambda part, at: accuracy.top1(part, known[at : at + len(part)]))
    report("MACs and top-1", levels, lambda part, _: accuracy.top1(part, macs.total(part)))
    latency = grid.tables([unit.macs / 5e7 + unit.activation_bytes / 4e7 for unit in grid.units])
    budget_ms = float(np.median(latency.total(levels)))

    def constrained(part: Levels, _: int) -> float:
        top1 = accuracy.top1(part, macs.total(part))
        return float(top1[latency.total(part) <= budget_ms].max(initial=0.0))

    report("best within a budget", levels, constrained)
    report("top-1 with interval", levels[:40_000], lambda part, _: accuracy.predict(part))


def report(name: str, levels: Levels, step: Callable[[Levels, int], object]) -> None:
    """Write the median and range of networks per second of CPU time."""
    step(levels[:BATCH], 0)  # tables are laid out on first use
    rates = []
    for _ in range(REPEATS):
        start = time.process_time()
        for at in range(0, len(levels), BATCH):
            step(levels[at : at + BATCH], at)
        rates.append(len(levels) / (time.process_time() - start))
    low, middle, high = min(rates), statistics.median(rates), max(rates)
    sys.stdout.write(f"{name:22s} {middle:12,.0f}/s   ({low:,.0f} to {high:,.0f}, {REPEATS} repeats)\n")


if __name__ == "__main__":
    main()
