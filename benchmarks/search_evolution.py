"""Measure the evolutionary search against random search: accuracy, spread over seeds, predictions and time.

Accuracies are made up: concave in every decision plus a smooth process, as a fitted predictor behaves
(`--amplitude` in points says how rugged it is). Budgets bound the MACs of `chamnet-mobile`. Random search draws
networks within the budget, as many as the evolution predicted.

    .venv/bin/python benchmarks/search_evolution.py
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from common import write

from chamnet.clock import SystemClock
from chamnet.quantities import ns_to_ms, parse_budget
from chamnet.search import Constraint, Metric, Problem, SearchResult, SearchSettings, evolve
from chamnet.search.feasible import find_footholds, shrink
from chamnet.space import Levels, SearchSpace, load_space, unit_grid

FloatArray = npt.NDArray[np.float64]

_WAVES = 128  # random Fourier features of the smooth process
_ROWS = 10_000  # random networks predicted at a time
_COLUMNS = "budget    landscape  best     evolution: regret mean / max, spread  random: regret mean  predictions  time"


def main() -> None:
    """Print a line for each budget and landscape, then the throughput of the predictor alone."""
    options = _options()
    space = load_space("chamnet-mobile")
    grid = unit_grid(space)
    macs = Metric("macs", grid.tables([unit.macs for unit in grid.units]))
    write(_COLUMNS)
    for landscape in range(options.landscapes):
        accuracy = made_up_accuracy(space, seed=landscape, amplitude=options.amplitude)
        for text in options.budgets:
            problem = Problem(space, accuracy, (Constraint(macs, parse_budget(text)),))
            row = compare(problem, seeds=options.seeds)
            write(f"{text:9s} {landscape:9d}  {row}")
    levels = space.sample(200_000, np.random.default_rng(0))
    write(f"predictor alone: {_per_second(lambda: accuracy(levels), len(levels)):,.0f} networks/s")
    write(f"MACs alone: {_per_second(lambda: macs.total(levels), len(levels)):,.0f} networks/s")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Evolution and random search on one problem.

    Attributes:
        evolved: Results by seed.
        drawn: Best top-1 in percent of random search by seed.
    """

    evolved: tuple[SearchResult, ...]
    drawn: tuple[float, ...]

    def __str__(self) -> str:
        """Return a line of the table."""
        found = np.array([result.accuracy for result in self.evolved])
        best = max(found.max(), *self.drawn)
        regret = best - found
        evaluations = np.mean([result.evaluations for result in self.evolved])
        elapsed_s = np.mean([result.elapsed_s for result in self.evolved])
        return (
            f"{best:6.3f} %          {regret.mean():6.4f} / {regret.max():6.4f}, {np.ptp(found):6.4f}"
            f"               {best - np.mean(self.drawn):6.3f}       {evaluations:7.0f}  {elapsed_s:4.2f} s"
        )


def compare(problem: Problem, *, seeds: int) -> Comparison:
    """Search a problem with several seeds, and draw as many networks at random."""
    evolved = tuple(evolve(problem, SearchSettings(seed=seed)) for seed in range(seeds))
    drawn = tuple(
        draw_best(problem, result.evaluations, np.random.default_rng(seed))
        for seed, result in enumerate(evolved)
    )
    return Comparison(evolved, drawn)


def draw_best(problem: Problem, count: int, rng: np.random.Generator) -> float:
    """Return the best top-1 in percent of `count` random networks within budget."""
    footholds = find_footholds(problem.space, problem.constraints).levels
    best = -np.inf
    for begin in range(0, count, _ROWS):
        levels = problem.space.sample(min(_ROWS, count - begin), rng)
        fitted = shrink(levels, footholds, constraints=problem.constraints, rng=rng)
        best = max(best, float(problem.accuracy(fitted).max()))
    return best


def made_up_accuracy(space: SearchSpace, *, seed: int, amplitude: float) -> Callable[[Levels], FloatArray]:
    """Return made-up top-1 in percent of levels.

    Args:
        space: The space.
        seed: Of the landscape.
        amplitude: Deviation of the smooth process, in points.
    """
    rng, sizes = np.random.default_rng(seed), space.sizes
    gain = rng.uniform(0.5, 3.0, len(sizes))
    gain[0] = 12.0  # resolution matters most
    bend = rng.uniform(1.5, 5.0, len(sizes))
    curves = [
        g * (1 - np.exp(-b * np.linspace(0, 1, n))) / (1 - np.exp(-b))
        for g, b, n in zip(gain, bend, sizes, strict=True)
    ]
    table, offsets = np.concatenate(curves), np.cumsum(sizes) - sizes
    waves = rng.normal(size=(len(sizes), _WAVES)) / (0.5 * np.sqrt(len(sizes)))
    phase = rng.uniform(0, 2 * np.pi, _WAVES)
    height = rng.normal(size=_WAVES) * amplitude * np.sqrt(2 / _WAVES)

    def top1(levels: Levels) -> FloatArray:
        smooth = np.cos(levels / (sizes - 1) @ waves + phase) @ height
        total: FloatArray = 40.0 + table[levels + offsets].sum(axis=1) + smooth
        return total

    return top1


def _per_second(run: Callable[[], object], count: int) -> float:
    clock = SystemClock()
    start_ns = clock.now_ns()
    run()
    return count / (ns_to_ms(clock.now_ns() - start_ns) / 1_000)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", nargs="+", default=["8MMACs", "30MMACs", "100MMACs", "300MMACs"])
    parser.add_argument("--landscapes", type=int, default=3)
    parser.add_argument("--amplitude", type=float, default=0.6, help="of the smooth process, in points")
    parser.add_argument("--seeds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
