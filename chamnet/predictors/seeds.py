"""How far seeds part: the noise of an accuracy, which differs between recipes and grows for weak networks.

Networks that were trained with several seeds tell it. Their variances `s^2` of negative log error, each with as many
degrees of freedom as seeds less one, are explained by

    log variance = level + shift[recipe] + slope * (y - centre)

with normal priors, for the repeats are few: a slope of 1 with deviation 1 (drawing held-out images makes for a variance
of `error * (1 - error) / images` in accuracy, and so for a slope near 1 in log error), and shifts of 0 with deviation 1.
Level and all belong to the fit of the Gaussian process, which gets the *relative* variances from here.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SeedNoise", "learn_seed_noise"]

FloatArray = npt.NDArray[np.float64]

_FEWEST = 5  # networks with several seeds; fewer tell nothing
_SLOPE, _SD = 1.0, 1.0  # of the priors


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedNoise:
    """Variance of the noise relative to the usual one; 1 everywhere where nothing is known.

    Attributes:
        slope: Of the log variance, per unit of negative log error.
        centre: Negative log error of the usual variance.
        shifts: Of the log variance, by recipe number; 0 for those beyond.
    """

    slope: float = 0.0
    centre: float = 0.0
    shifts: tuple[float, ...] = ()

    def relative(self, value: FloatArray, recipes: npt.ArrayLike) -> FloatArray:
        """Return the relative variance at negative log errors, shape `n`, for recipe numbers, shape `n` or one for all."""
        numbers = np.broadcast_to(np.asarray(recipes), value.shape)
        shifts = np.array((*self.shifts, 0.0))
        known = (numbers >= 0) & (numbers < len(self.shifts))
        relative: FloatArray = np.exp(
            self.slope * (value - self.centre) + shifts[np.where(known, numbers, -1)]
        )
        return relative

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "SeedNoise":
        """Read what `to_dict` gave."""
        return cls(
            slope=float(data["slope"]), centre=float(data["centre"]), shifts=tuple(map(float, data["shifts"]))
        )


def learn_seed_noise(value: FloatArray, networks: npt.ArrayLike, recipes: npt.NDArray[np.int64]) -> SeedNoise:
    """Return what repeated networks tell of the noise.

    Args:
        value: Negative log errors, shape `n`.
        networks: Which network each is of, shape `n`.
        recipes: Recipe numbers, shape `n`.
    """
    labels = (
        np.unique(np.asarray(networks), return_inverse=True)[1] * (int(recipes.max(initial=0)) + 1) + recipes
    )
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    repeated = [each for each in rows if len(each) > 1]
    if len(repeated) < _FEWEST:
        return SeedNoise()
    freedom = np.array([len(each) - 1 for each in repeated], dtype=float)
    variance = np.array([value[each].var(ddof=1) for each in repeated])
    means = np.array([value[each].mean() for each in repeated])
    of_recipe = np.array([recipes[each[0]] for each in repeated])
    centre, count = float(means.mean()), int(recipes.max()) + 1
    design = np.column_stack(
        [np.ones(len(means)), means - centre, *(of_recipe == i for i in range(count))]
    ).astype(float)
    solution = _fit(design, variance, freedom)
    return SeedNoise(
        slope=float(solution[1]), centre=centre, shifts=tuple(solution[2:].tolist()) if count > 1 else ()
    )


def _fit(design: FloatArray, variance: FloatArray, freedom: FloatArray) -> FloatArray:
    """Return the mode of the posterior of log variances linear in a design: Newton's method, which converges at once."""
    prior = np.zeros(design.shape[1])
    prior[1] = _SLOPE
    weight = np.full(design.shape[1], 1 / _SD**2)
    weight[0] = 0.0  # the level is free
    at = prior.copy()
    at[0] = np.log(max(float(np.average(variance, weights=freedom)), 1e-12))
    for _ in range(50):
        share = 0.5 * freedom * variance / np.exp(design @ at)
        gradient = design.T @ (0.5 * freedom - share) + weight * (at - prior)
        curvature = (design * share[:, None]).T @ design + np.diag(weight) + 1e-9 * np.eye(len(at))
        step = np.clip(np.linalg.solve(curvature, gradient), -1.0, 1.0)
        at = at - step
        if np.abs(step).max() < 1e-8:
            break
    return at
