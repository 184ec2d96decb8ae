"""Latency of units that were not measured, from those that were.

Units of one signature (same operators, other sizes) form a group. In each group the logarithm of latency
is a linear trend in log sizes plus a residual, interpolated by kriging with a Matern-5/2 kernel, ch. 2 and
4.2 of [Rasmussen2006]_; its length scale and noise are those with the smallest leave-one-out error, eq. 5.12
there. A group without measurements falls back on all units together, and is counted as missing.

References:
    [Rasmussen2006] Gaussian Processes for Machine Learning. MIT Press 2006.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chamnet.errors import NotProfiledError
from chamnet.units import Unit

__all__ = ["UnitInterpolator", "unit_features"]

FloatArray = npt.NDArray[np.float64]

_SCALES = (0.7, 1.5, 3.0, 6.0, 12.0)  # length scales tried, in standard deviations of the features
_NOISES = (3e-3, 3e-2, 3e-1)  # noise variances tried, over the residual's variance
_FEWEST = 4  # measurements a group needs for a trend of its own
_MOST = 160  # measurements used to choose length scale and noise
_CHUNK = 4_096


def unit_features(units: Sequence[Unit]) -> FloatArray:
    """Return the log sizes that latency depends on, shape `n x 8`."""
    rows = [
        (
            unit.macs + 1,
            unit.weight_bytes + 4,
            unit.activation_bytes,
            unit.ops[0].in_c,
            max(op.out_c for op in unit.ops),
            unit.ops[-1].out_c,
            unit.ops[0].in_h * unit.ops[0].in_w,
            unit.ops[-1].out_h * unit.ops[-1].out_w,
        )
        for unit in units
    ]
    return np.log(np.array(rows, dtype=np.float64).reshape(-1, 8))


@dataclass(frozen=True)
class UnitInterpolator:
    """Interpolates log latency within groups of units.

    Attributes:
        groups: Signature -> what was fitted to it.
        fallback: Fitted to all measured units together.
    """

    groups: Mapping[str, "_Group"]
    fallback: "_Group"

    @classmethod
    def fit(cls, units: Sequence[Unit], latency_ms: Sequence[float]) -> "UnitInterpolator":
        """Fit to measured units.

        Raises:
            NotProfiledError: Nothing was measured.
        """
        if not units:
            raise NotProfiledError("no unit has been measured yet; run `chamnet-host profile`")
        features, log_ms = unit_features(units), np.log(np.asarray(latency_ms))
        members: dict[str, list[int]] = {}
        for i, unit in enumerate(units):
            members.setdefault(unit.signature, []).append(i)
        groups = {s: _Group.fit(features[m], log_ms[m]) for s, m in members.items() if len(m) >= _FEWEST}
        return cls(groups, _Group.fit(features, log_ms, kriged=False))

    def predict(self, units: Sequence[Unit]) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
        """Return latency in ms, relative standard deviation, and whether the group was measured.

        Each of shape `n`. Where the group was not measured, the figure is a rough one from all units.
        """
        latency, deviation = np.empty(len(units)), np.empty(len(units))
        known = np.zeros(len(units), dtype=bool)
        members: dict[str, list[int]] = {}
        for i, unit in enumerate(units):
            members.setdefault(unit.signature, []).append(i)
        features = unit_features(units)
        for signature, rows in members.items():
            group = self.groups.get(signature)
            known[rows] = group is not None
            latency[rows], deviation[rows] = (group or self.fallback).predict(features[rows])
        return np.exp(latency), deviation, known


@dataclass(frozen=True)
class _Group:
    """A linear trend and, kriged on its residuals, a correction.

    Attributes:
        mean, scale: Of the features, shape `8`.
        trend: Coefficients, the constant last, shape `9`.
        deviation: Of the residuals.
        points, weights, inverse: Kriging; empty where the trend stands alone.
    """

    mean: FloatArray
    scale: FloatArray
    trend: FloatArray
    deviation: float
    points: FloatArray
    weights: FloatArray
    inverse: FloatArray

    @classmethod
    def fit(cls, features: FloatArray, log_ms: FloatArray, *, kriged: bool = True) -> "_Group":
        mean = features.mean(axis=0)
        spread = features.std(axis=0)
        scale = np.where(spread > 1e-9, spread, np.inf)  # a constant feature says nothing
        x = (features - mean) / scale
        design = np.column_stack([x, np.ones(len(x))])
        ridge = np.diag([0.1] * x.shape[1] + [1e-9])
        trend = np.linalg.solve(design.T @ design + ridge, design.T @ log_ms)
        residual = log_ms - design @ trend
        variance = float(residual.var()) + 1e-8
        if not kriged:
            nothing = np.empty((0, x.shape[1]))
            return cls(mean, scale, trend, variance**0.5, nothing, np.empty(0), np.empty((0, 0)))
        length, noise = _choose(x, residual)
        inverse = np.linalg.inv(variance * (_matern(x / length, x / length) + noise * np.eye(len(x))))
        loo = (inverse @ residual) / np.diag(inverse)
        calibrated = float(np.mean(loo**2 * np.diag(inverse)))  # > 1: kriging is too sure of itself
        return cls(
            mean,
            scale * length,
            np.append(trend[:-1] * length, trend[-1]),
            (variance * max(calibrated, 0.25)) ** 0.5,
            x / length,
            variance * (inverse @ residual),
            np.asarray(variance * inverse, dtype=np.float64),
        )

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log latency and its standard deviation, each of shape `n`."""
        x = (features - self.mean) / self.scale
        log_ms = x @ self.trend[:-1] + self.trend[-1]
        if not len(self.points):
            return log_ms, np.full(len(x), self.deviation)
        share = np.empty(len(x))
        for start in range(0, len(x), _CHUNK):
            near = _matern(x[start : start + _CHUNK], self.points)
            log_ms[start : start + _CHUNK] += near @ self.weights
            share[start : start + _CHUNK] = 1 - np.einsum("ij,ij->i", near @ self.inverse, near)
        return log_ms, self.deviation * np.sqrt(np.clip(share, 1e-6, None))


def _choose(x: FloatArray, residual: FloatArray) -> tuple[float, float]:
    step = -(-len(x) // _MOST)
    x, residual = x[::step], residual[::step]
    errors: dict[tuple[float, float], float] = {}
    for length in _SCALES:
        values, vectors = np.linalg.eigh(_matern(x / length, x / length))
        rotated = vectors.T @ residual
        for noise in _NOISES:
            shrunk = vectors / (np.clip(values, 0, None) + noise)  # the inverse is shrunk @ vectors.T
            errors[length, noise] = float(np.mean(((shrunk @ rotated) / (shrunk * vectors).sum(1)) ** 2))
    return min(errors, key=errors.__getitem__)


def _matern(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the Matern-5/2 kernel of unit length scale, shape `n x m`, eq. 4.17 of [Rasmussen2006]_."""
    squared = np.clip((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0, None)
    r = np.sqrt(5 * squared)
    return np.asarray((1 + r + r**2 / 3) * np.exp(-r))
