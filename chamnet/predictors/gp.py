"""Gaussian-process regression in numpy: scores what `accuracy_fit` has fitted.

The model of negative log error `y` of network `i`, trained with recipe `r`:

    y = level + slope * (log_macs - centre) + offset[r] + f(features) + own[r](features) + noise

`level`, `slope` and each `offset` have normal priors, and `f` is a Gaussian process, so the whole is one
Gaussian process with a linear mean. `own[r]` is a Gaussian process of each recipe, like `f`: with a cheap and an expensive
recipe in one pool the two share what `f` is of both (intrinsic coregionalisation [Bonilla2008]_); it is zero unless
networks were trained with several recipes. The variance of the noise may differ from one training to the next
(`chamnet.predictors.seeds`). Standard deviations are in log error: 0.03 is about 1 point at 70 % top-1.

References:
    [Rasmussen2006] Rasmussen and Williams: Gaussian Processes for Machine Learning. MIT Press 2006.
    [Bonilla2008] Multi-task Gaussian Process Prediction. NIPS 2007.
    [Dai2019] ChamNet: Towards Efficient Network Design through Platform-Aware Model Adaptation. CVPR 2019.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from chamnet.predictors.seeds import SeedNoise

__all__ = [
    "NO_RECIPE",
    "GaussianProcess",
    "Kernel",
    "KernelLayout",
    "KernelName",
    "Trend",
    "kernel_layout",
    "profile",
    "profile_in_place",
    "profile_scale",
]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
KernelName = Literal["matern", "matern-ard", "additive", "sum", "rbf"]

NO_RECIPE = -1
_CHUNK = 4096  # rows at a time: keeps memory and caches small


@dataclass(frozen=True, slots=True)
class KernelLayout:
    """How a named kernel is put together.

    Attributes:
        scale_of: Which length scale each feature has, shape `d`.
        parts: Features of each additive term.
        beside: Of the kernel that is added, with length scales of its own; None for none.
    """

    scale_of: tuple[int, ...]
    parts: tuple[tuple[int, ...], ...]
    beside: "KernelLayout | None" = None


def kernel_layout(name: KernelName, feature_names: Sequence[str]) -> KernelLayout:
    """Return the layout of a kernel.

    `matern`: Matern-5/2 with a length scale for each kind of number (resolution, filters, expansion, blocks).
    `matern-ard`: the same with one for each number. `additive`: a sum of `matern` terms, one for each stage, so
    that the search can take it apart. `sum`: one term for each number, and `matern-ard` beside them; of all it learns most
    from few trainings (docs/accuracy-predictor.md). `rbf`: isotropic, the paper's [Dai2019]_.
    """
    if name not in get_args(KernelName):
        raise ValueError(f"kernel {name!r}; known: {', '.join(get_args(KernelName))}")
    count = len(feature_names)
    kinds = [_kind(feature) for feature in feature_names]
    order = list(dict.fromkeys(kinds))
    scale_of = {
        "rbf": [0] * count,
        "matern-ard": list(range(count)),
    }.get(name, [order.index(kind) for kind in kinds])
    if name == "sum":
        singles = tuple((i,) for i in range(count))
        return KernelLayout(tuple(scale_of), singles, kernel_layout("matern-ard", feature_names))
    stages = [feature.split(".")[0] for feature in feature_names]
    by_stage = [tuple(i for i in range(count) if stages[i] == stage) for stage in dict.fromkeys(stages)]
    return KernelLayout(tuple(scale_of), tuple(by_stage) if name == "additive" else (tuple(range(count)),))


def _kind(feature: str) -> str:
    kind = feature.split(".")[-1]
    return "filters" if kind in ("stem", "head") else kind


@dataclass(frozen=True, eq=False, kw_only=True)
class Kernel:
    """Correlation of two networks by their features.

    Attributes:
        name: Of the layout.
        scales: Length scale of each feature, shape `d`.
        parts: Features of each additive term; the correlation is the mean of theirs.
        beside: A kernel over all features that is added; None for none.
        share: Of the variance, that `beside` has.
    """

    name: KernelName
    scales: FloatArray
    parts: tuple[tuple[int, ...], ...]
    beside: "Kernel | None" = None
    share: float = 0.0

    def correlate(self, x: FloatArray, z: FloatArray) -> FloatArray:
        """Return correlations, shape `n x m`, of features `x`, shape `n x d`, with `z`, shape `m x d`."""
        total = np.zeros((len(x), len(z)))
        for part in self.parts:
            total += self.correlate_part(part, x, z)
        total *= (1 - self.share) / len(self.parts)
        return total if self.beside is None else total + self.share * self.beside.correlate(x, z)

    @property
    def taken_apart(self) -> tuple[tuple[int, ...], ...]:
        """The additive terms that are small enough to be tables over a space's levels."""
        return self.parts if self.name in ("additive", "sum") else ()

    @property
    def whole(self) -> "tuple[Kernel, float] | None":
        """The term over all features, and its share of the variance; None where all are taken apart."""
        if self.beside is not None:
            return self.beside, self.share
        return None if self.taken_apart else (self, 1.0)

    def correlate_part(self, part: tuple[int, ...], x: FloatArray, z: FloatArray) -> FloatArray:
        """Return correlations by one additive term only, shape `n x m`."""
        columns = list(part)
        near, far = x[:, columns] / self.scales[columns], z[:, columns] / self.scales[columns]
        squared = (near**2).sum(axis=1)[:, None] + (far**2).sum(axis=1) - 2 * near @ far.T
        return profile(self.name, np.maximum(squared, 0.0))  # rounding may leave them a little below zero


def profile(name: KernelName, squared: FloatArray) -> FloatArray:
    """Return the correlation at scaled squared distances, eq. 4.9 and 4.17 of [Rasmussen2006]."""
    if name == "rbf":
        bell: FloatArray = np.exp(-0.5 * squared)
        return bell
    distance = np.sqrt(5 * squared)
    correlation: FloatArray = (1 + distance + distance**2 / 3) * np.exp(-distance)
    return correlation


def profile_scale(name: KernelName) -> float:
    """Return by what `profile_in_place` wants squared distances multiplied."""
    return 1 / 2 if name == "rbf" else 5 / 3


def profile_in_place(name: KernelName, squared: Float32Array, spare: Float32Array) -> None:
    """Turn scaled squared distances into correlations; `profile` for large arrays in single precision.

    Args:
        name: Of the layout.
        squared: Squared distances times `profile_scale(name)`; the correlations afterwards.
        spare: Overwritten, of the same shape.
    """
    np.abs(squared, out=squared)  # rounding may leave them a little below zero
    if name == "rbf":
        np.negative(squared, out=squared)
        np.exp(squared, out=squared)
        return
    np.sqrt(squared, out=spare)
    spare *= np.float32(-math.sqrt(3))  # minus the distance times the root of 5
    squared -= spare
    squared += np.float32(1)
    np.exp(spare, out=spare)
    squared *= spare


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The part linear in log-MACs: prior means and standard deviations, in log error.

    Attributes:
        centre: Log-MACs at which `level` holds.
        level, level_sd: There.
        slope, slope_sd: Per unit of log-MACs.
    """

    centre: float
    level: float
    level_sd: float
    slope: float
    slope_sd: float


@dataclass(frozen=True, eq=False, kw_only=True)
class GaussianProcess:
    """A fitted model with the data it stands on; `n` networks, `d` features.

    Attributes:
        kernel: Of the structure term.
        trend: Linear term.
        structure_sd, offset_sd, noise_sd: Standard deviations of `f`, of recipe offsets, of the usual noise.
        own_sd: Standard deviation of each recipe's own structure.
        seeds: How the noise differs between trainings.
        features: Shape `n x d`.
        log_macs, targets: Shape `n`; targets are negative log errors.
        recipes: Recipe number of each network, shape `n`.
    """

    kernel: Kernel
    trend: Trend
    structure_sd: float
    offset_sd: float
    noise_sd: float
    features: FloatArray
    log_macs: FloatArray
    targets: FloatArray
    recipes: IntArray
    own_sd: float = 0.0
    seeds: SeedNoise = field(default_factory=SeedNoise)

    def on(
        self, features: FloatArray, log_macs: FloatArray, targets: FloatArray, recipes: IntArray
    ) -> "GaussianProcess":
        """Return the model with the same numbers on other data; arguments as the attributes."""
        return replace(self, features=features, log_macs=log_macs, targets=targets, recipes=recipes)

    def believing(self, features: FloatArray, log_macs: FloatArray, recipe: int) -> "GaussianProcess":
        """Return the model as if networks had come to what it predicts for them: means stay, variances shrink near them.

        Args:
            features: Shape `n x d`.
            log_macs: Shape `n`.
            recipe: Recipe number.
        """
        if not len(features):
            return self
        mean, _ = self.posterior(features, log_macs, recipe)
        return self.on(
            np.concatenate([self.features, features]),
            np.concatenate([self.log_macs, log_macs]),
            np.concatenate([self.targets, mean]),
            np.concatenate([self.recipes, np.full(len(features), recipe)]),
        )

    def joint(
        self, features: FloatArray, log_macs: FloatArray, recipe: int = NO_RECIPE
    ) -> tuple[FloatArray, FloatArray]:
        """Return mean, shape `n`, and covariance, shape `n x n`, without noise; arguments as of `posterior`."""
        cross = self._covariance(features, log_macs, recipe)
        trend = self.trend
        tilt = trend.slope_sd**2 * np.outer(log_macs - trend.centre, log_macs - trend.centre)
        offset, own = (0.0, 0.0) if recipe == NO_RECIPE else (self.offset_sd**2, self.own_sd**2)
        prior = trend.level_sd**2 + tilt + offset
        prior += (self.structure_sd**2 + own) * self.kernel.correlate(features, features)
        return self._prior_mean(log_macs) + cross @ self.weights, prior - cross @ self._precision @ cross.T

    def left_out(self, groups: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance, noise included, of each row of the pool from the rows of other groups.

        The numbers of the model stay. Rows of one network, such as its seeds, form a group. Eq. 5.12 of [Rasmussen2006],
        for groups.

        Args:
            groups: A number for each row, shape `n`.
        """
        residuals, variances = np.empty(len(self.targets)), np.empty(len(self.targets))
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            covariance = np.linalg.inv(self._precision[np.ix_(rows, rows)])
            residuals[rows], variances[rows] = covariance @ self.weights[rows], np.diag(covariance)
        return self.targets - residuals, variances

    def posterior(
        self, features: FloatArray, log_macs: FloatArray, recipe: int = NO_RECIPE
    ) -> tuple[FloatArray, FloatArray]:
        """Return mean and variance without noise, eq. 2.25 and 2.26 of [Rasmussen2006].

        Args:
            features: Shape `n x d`.
            log_macs: Shape `n`.
            recipe: Recipe number; `NO_RECIPE` for an offset of exactly zero.

        Returns:
            Of negative log error, each of shape `n`.
        """
        means, variances = [np.empty(0)], [np.empty(0)]
        for start in range(0, len(features), _CHUNK):
            rows = slice(start, start + _CHUNK)
            cross = self._covariance(features[rows], log_macs[rows], recipe)
            means.append(self._prior_mean(log_macs[rows]) + cross @ self.weights)
            explained = ((cross @ self._precision) * cross).sum(axis=1)
            variances.append(np.maximum(self._prior_variance(log_macs[rows], recipe) - explained, 0.0))
        return np.concatenate(means), np.concatenate(variances)

    def mean(self, features: FloatArray, log_macs: FloatArray, recipe: int = NO_RECIPE) -> FloatArray:
        """Return the mean of `posterior` alone, shape `n`; arguments as there."""
        means = [np.empty(0)]
        for start in range(0, len(features), _CHUNK):
            rows = slice(start, start + _CHUNK)
            cross = self._covariance(features[rows], log_macs[rows], recipe)
            means.append(self._prior_mean(log_macs[rows]) + cross @ self.weights)
        return np.concatenate(means)

    @cached_property
    def weights(self) -> FloatArray:
        """Weight of each network of the pool in the posterior mean, shape `n`."""
        weights: FloatArray = self._precision @ (self.targets - self._prior_mean(self.log_macs))
        return weights

    def line(self, recipe: int = NO_RECIPE) -> tuple[float, float]:
        """Return intercept and slope of the posterior mean's part linear in log-MACs, offset included."""
        trend = self.trend
        tilt = trend.slope_sd**2 * float(self.weights @ (self.log_macs - trend.centre))
        slope = trend.slope + tilt
        level = trend.level + trend.level_sd**2 * float(self.weights.sum())
        return level - slope * trend.centre + self.offset(recipe), slope

    def structure_weights(self, recipe: int) -> FloatArray:
        """Return what correlations with the pool are summed with to give the structure term of a recipe, shape `n`."""
        same = (self.recipes == recipe).astype(np.float64)
        weights: FloatArray = (self.structure_sd**2 + self.own_sd**2 * same) * self.weights
        return weights

    def noise_variance(self, value: FloatArray, recipe: npt.ArrayLike) -> FloatArray:
        """Return the variance of the noise at negative log errors, shape `n`, by recipe number."""
        return self.noise_sd**2 * self.seeds.relative(value, recipe)

    def offset(self, recipe: int) -> float:
        """Return the posterior mean of a recipe's offset, in log error."""
        return self.offset_sd**2 * float(self.weights[self.recipes == recipe].sum())

    @cached_property
    def _precision(self) -> FloatArray:
        same = self.recipes[:, None] == self.recipes
        covariance = self._known_covariance(self.features, self.log_macs, same)
        covariance[np.diag_indices_from(covariance)] += self.noise_variance(self.targets, self.recipes)
        return np.asarray(np.linalg.inv(covariance), dtype=np.float64)

    def _prior_mean(self, log_macs: FloatArray) -> FloatArray:
        return self.trend.level + self.trend.slope * (log_macs - self.trend.centre)

    def _prior_variance(self, log_macs: FloatArray, recipe: int) -> FloatArray:
        tilted = (self.trend.slope_sd * (log_macs - self.trend.centre)) ** 2
        own = self.offset_sd**2 + self.own_sd**2 if recipe != NO_RECIPE else 0.0
        variance: FloatArray = self.trend.level_sd**2 + tilted + self.structure_sd**2 + own
        return variance

    def _covariance(self, features: FloatArray, log_macs: FloatArray, recipe: int) -> FloatArray:
        return self._known_covariance(features, log_macs, self.recipes == recipe)

    def _known_covariance(
        self, features: FloatArray, log_macs: FloatArray, same: npt.NDArray[np.bool_]
    ) -> FloatArray:
        """Return the covariance with the pool, shape `n x len(pool)`; `same` tells where the recipe is the same."""
        trend = self.trend
        tilt = trend.slope_sd**2 * np.outer(log_macs - trend.centre, self.log_macs - trend.centre)
        structure = self.structure_sd**2 + self.own_sd**2 * same
        covariance: FloatArray = structure * self.kernel.correlate(features, self.features)
        covariance += trend.level_sd**2 + tilt + self.offset_sd**2 * same
        return covariance

    def nearest(self, features: FloatArray, recipe: int | None = None) -> FloatArray:
        """Return the distance to the nearest network of the pool, or of one recipe; shape `n`.

        It is Euclidean in features scaled to [0, 1]; infinite where there is no such network.
        """
        chosen = self.features if recipe is None else self.features[self.recipes == recipe]
        if not len(chosen):
            return np.full(len(features), math.inf)
        squared = (features**2).sum(axis=1)[:, None] + (chosen**2).sum(axis=1) - 2 * features @ chosen.T
        nearest: FloatArray = np.sqrt(np.maximum(squared, 0.0)).min(axis=1)
        return nearest
