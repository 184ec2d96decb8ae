"""The one place where networks are predicted: counts them, and remembers the best within budget."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chamnet.search.problem import Problem
from chamnet.space import Levels

__all__ = ["Scored", "Scorer"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """Predicted networks.

    Attributes:
        levels: Shape `n x d`.
        accuracy: Top-1 in percent, shape `n`.
        costs: Constrained metrics, shape `k x n`.
        fits: Whether every budget is kept, shape `n`.
    """

    levels: Levels
    accuracy: FloatArray
    costs: FloatArray
    fits: BoolArray

    def best_fitting(self) -> "Scored | None":
        """Return the most accurate network within budget, alone; None if there is none."""
        if not self.fits.any():
            return None
        row = [int(np.where(self.fits, self.accuracy, -np.inf).argmax())]
        return Scored(self.levels[row], self.accuracy[row], self.costs[:, row], self.fits[row])


class Scorer:
    """Predicts networks for one search.

    Attributes:
        problem: What is searched.
        evaluations: Networks predicted so far.
        best: Accuracy in percent and network (`1 x d`) of the best within budget; None until there is one.
        champions: Resolution level -> the same among networks of that resolution. Whoever wants those of one
            population clears it first.
        nearest: The network of the smallest worst overrun while none was within budget, shape `1 x d`.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.evaluations = 0
        self.best: tuple[float, Levels] | None = None
        self.champions: dict[int, tuple[float, Levels]] = {}
        self.nearest: Levels | None = None
        self._least_overrun = np.inf
        self._limits = problem.limits

    def score(self, levels: Levels) -> Scored:
        """Predict genomes of shape `n x d`, `n > 0`.

        Raises:
            ValueError: The predictor gave another shape, or something that is not a number.
        """
        accuracy = np.asarray(self.problem.accuracy(levels), dtype=np.float64)
        if accuracy.shape != (len(levels),) or not np.isfinite(accuracy).all():
            raise ValueError(f"the predictor must give {len(levels)} finite accuracies, not {accuracy!r}")
        costs = self.problem.costs(levels)
        fits: BoolArray = np.all(costs <= self._limits, axis=0)
        scored = Scored(levels, accuracy, costs, fits)
        self.evaluations += len(levels)
        if scored.fits.any():
            self._remember_best(scored)
        elif self.best is None:
            self._remember_nearest(scored)
        return scored

    def resolutions(self, levels: Levels) -> npt.NDArray[np.int32]:
        """Return the resolution level of each network, shape `n`."""
        if len(self.problem.space.resolution.values) > 1:
            return levels[:, 0]
        return np.zeros(len(levels), dtype=np.int32)

    def _remember_best(self, scored: Scored) -> None:
        rows = np.flatnonzero(scored.fits)
        resolutions = self.resolutions(scored.levels[rows])
        for level in np.unique(resolutions).tolist():
            same = rows[resolutions == level]
            row = same[scored.accuracy[same].argmax()]
            if level not in self.champions or scored.accuracy[row] > self.champions[level][0]:
                self.champions[level] = float(scored.accuracy[row]), scored.levels[[row]]
            if self.best is None or scored.accuracy[row] > self.best[0]:
                self.best = float(scored.accuracy[row]), scored.levels[[row]]

    def _remember_nearest(self, scored: Scored) -> None:
        overrun = (scored.costs / self._limits).max(axis=0)
        row = int(overrun.argmin())
        if overrun[row] < self._least_overrun:
            self._least_overrun, self.nearest = float(overrun[row]), scored.levels[[row]]
