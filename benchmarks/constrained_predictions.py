"""Networks per second of what a search does with each: latency and MACs from link tables, then predicted top-1.

    taskset -c 1 python benchmarks/constrained_predictions.py [--points 240 | --predictor FILE] [--networks N]

With `--points` the predictor is a Gaussian process over so many random networks, Matern-5/2 with a length scale for each
number; their accuracies are made up (from the shipped predictor), which changes no time. Counts the CPU time of the process on one core, so that other people's load does not matter much. Calls have 4,096
genomes, about what a search makes of a generation; the genomes are drawn before the clock starts.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import options, pin

from chamnet.predictors import AccuracyPredictor
from chamnet.predictors.gp import Kernel, kernel_layout
from chamnet.predictors.pool import Pool
from chamnet.space import Levels, SearchSpace, load_space, unit_grid

REPEATS = 11
BATCH = 4096


def main() -> None:
    """Measure each step alone and all together."""
    parser = options(__doc__)
    parser.add_argument("--predictor", type=Path, help="fitted predictor; the shipped one by default")
    parser.add_argument("--points", type=int, help="networks of a made-up full Gaussian process instead")
    parser.add_argument("--networks", type=int, default=200_000)
    asked = parser.parse_args()
    pin()
    space = load_space("chamnet-mobile")
    grid = unit_grid(space)
    macs = grid.tables([unit.macs for unit in grid.units])
    predictor = AccuracyPredictor.load(asked.predictor)
    if asked.points:
        predictor = full_process(predictor, space, asked.points)
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
    exact = accuracy.predict(levels[:40_000]).top1
    off = float(np.abs(accuracy.top1(levels[:40_000]) - exact).max())
    sys.stdout.write(f"largest difference from double precision: {off:.6f} points in 40,000 networks\n")


def full_process(shipped: AccuracyPredictor, space: SearchSpace, points: int) -> AccuracyPredictor:
    """Return the shipped predictor with another kernel and another pool."""
    levels = space.sample(points, np.random.default_rng(1))
    networks = [space.architecture(genome) for genome in space.genomes(levels)]
    pool = Pool.of(
        shipped.pool.structure,
        networks,
        names=[str(i) for i in range(points)],
        recipes=["chamnet"] * points,
        sources={"chamnet": "made up"},
        top1=shipped.predict(networks).top1.tolist(),
    )
    names = pool.structure.feature_names
    layout = kernel_layout("matern-ard", names)
    scales = np.random.default_rng(2).uniform(1.0, 3.0, len(names))
    model = replace(
        shipped.model,
        kernel=Kernel(name="matern-ard", scales=scales, parts=layout.parts),
        features=pool.features,
        log_macs=pool.log_macs,
        targets=pool.log_error,
        recipes=pool.recipe_numbers,
    )
    return replace(shipped, model=model, pool=pool)


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
