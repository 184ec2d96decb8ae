"""A space small enough to list, and made-up accuracies that behave like a fitted predictor."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from chamnet.predictors.separable import Separable
from chamnet.quantities import parse_budgets
from chamnet.search import Constraint, Metric, Problem
from chamnet.space import CostTables, Levels, SearchSpace, load_space, unit_grid

FloatArray = npt.NDArray[np.float64]

TINY = """
name = "tiny"
family = "inverted_residual"
resolution = [32, 48, 64]
classes = 10
stem = [8, 16]
head = [64, 96, 128]

[[stages]]
name = "one"
expansion = [2, 4]
filters = [8, 12, 16]
blocks = [1, 2]
kernel = [3, 5]
stride = 1

[[stages]]
name = "two"
expansion = [2, 4, 6]
filters = { from = 16, to = 40, step = 8 }
blocks = [1, 2, 3]
stride = 2
"""


@dataclass(frozen=True, eq=False)
class Synthetic:
    """A space, its metrics, and accuracies: concave in every decision, plus a draw of a smooth process.

    Attributes:
        space: The space.
    """

    space: SearchSpace

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """Metrics by name: a latency with a constant, MACs, parameters, weight bytes."""
        grid = unit_grid(self.space)
        counted = {
            name: Metric(name, grid.tables([getattr(unit, name) for unit in grid.units]))
            for name in ("macs", "params", "weight_bytes")
        }
        speed = np.random.default_rng(5).uniform(1e-7, 3e-7, len(grid.units))  # ms per MAC
        cost_ms = [unit.macs * s + 1e-3 for unit, s in zip(grid.units, speed, strict=True)]
        return {**counted, "latency_ms": Metric("latency_ms", grid.tables(cost_ms), constant=0.25)}

    @cached_property
    def levels(self) -> Levels:
        """Every genome, shape `cardinality x d`."""
        return np.stack(np.unravel_index(np.arange(self.space.cardinality), self.space.sizes), axis=1).astype(
            np.int32
        )

    def accuracy(self, seed: int, amplitude: float = 0.6) -> Callable[[Levels], FloatArray]:
        """Return made-up top-1 in percent; `amplitude` is that of the smooth process."""
        rng, sizes = np.random.default_rng(seed), self.space.sizes
        gain = np.where(np.arange(len(sizes)) == 0, 12.0, rng.uniform(0.5, 3.0, len(sizes)))
        bend = rng.uniform(1.5, 5.0, len(sizes))
        waves = rng.normal(size=(len(sizes), 128)) / (0.5 * np.sqrt(len(sizes)))
        phase, height = rng.uniform(0, 2 * np.pi, 128), rng.normal(size=128) * amplitude * np.sqrt(2 / 128)

        def top1(levels: Levels) -> FloatArray:
            x = levels / (sizes - 1)
            rise = (gain * (1 - np.exp(-bend * x)) / (1 - np.exp(-bend))).sum(axis=1)
            smooth = np.cos(x @ waves + phase) @ height
            total: FloatArray = 40 + rise + smooth
            return total

        return top1

    def separable(self, rng: np.random.Generator, slope: float = 0.0) -> Separable:
        """Return an accuracy by link, drawn at random, ties and all."""
        macs = self.metrics["macs"].tables
        drawn = tuple(np.round(rng.normal(size=table.shape), 2) for table in macs.tables)
        parts = CostTables(macs.space, macs.axes, drawn)
        return Separable(parts, macs, slope, lambda value: 50 + 10 * np.tanh(value / 10))

    def problem(self, budgets: str, seed: int = 0, amplitude: float = 0.6) -> Problem:
        """Return the search within budgets such as `5MMACs,40kparams`; empty for none."""
        read = parse_budgets(budgets) if budgets else ()
        constraints = tuple(Constraint(self.metrics[budget.metric], budget) for budget in read)
        return Problem(self.space, self.accuracy(seed, amplitude), constraints)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    path: Path = tmp_path_factory.mktemp("spaces") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return Synthetic(load_space(str(path)))


@pytest.fixture(scope="session")
def mobile() -> Synthetic:
    return Synthetic(load_space("chamnet-mobile"))
