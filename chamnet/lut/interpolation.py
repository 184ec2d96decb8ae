"""Latency of every unit from noisy measurements of some.

Units of one signature (same operators, other sizes) form a group. In each group the logarithm of latency is a linear
trend in log sizes plus a Gaussian process on its residuals: Matern-5/2 with a length scale for each feature, noise for
each row by how often it was visited. Length scales and noise maximise the marginal likelihood, eq. 5.8 of
[Rasmussen2006]_, by coordinate search on a part of the rows. Large groups are conditioned on through inducing points
(FITC, [Snelson2006]_), so that tens of thousands of rows stay seconds.

Latency jumps where a runtime's kernels round channels up. Two features say how much is wasted at the usual tile
widths, so nothing is interpolated across such a step unseen.

A group without measurements falls back on the same operators with another activation, else on all units together; it
counts as missing.

References:
    [Rasmussen2006] Gaussian Processes for Machine Learning. MIT Press 2006.
    [Snelson2006] Sparse Gaussian Processes using Pseudo-inputs. NIPS 2006.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from chamnet.errors import NotProfiledError
from chamnet.ops import OpSpec
from chamnet.units import Unit

__all__ = ["Interpolated", "UnitInterpolator", "Visited", "farthest", "matern", "unit_features"]

FloatArray = npt.NDArray[np.float64]

_TILES = (16, 32)  # channels that kernels compute at once: padding to them makes the staircase
_FEWEST = 6  # measurements from which a group's own spread says something
_UNKNOWN = 0.3  # log deviation assumed below that
_INDUCING = 700
_CHOOSING = 260  # rows that length scales are chosen on
_ROUNDS = 3
_STEPS = (0.5, 2.0)
_NOISES = (1e-3, 1e-2, 1e-1)  # of rows visited once, over the residuals' variance
_OFFSET = 0.1  # of the median latency, added before the logarithm: below it, differences are noise
_CHUNK = 4_096
_ACTIVATION = re.compile(r"_relu6?\b")
_KIN_DEVIATION = (
    0.12  # relative, of units whose kind was never measured: ReLU6 costs a tenth more than ReLU on x86
)
_JITTER = 1e-6


def unit_features(units: Sequence[Unit]) -> FloatArray:
    """Return the log sizes that latency depends on, shape `n x 12`."""
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
            *(_padded(unit.ops, tile) for tile in _TILES),
            *(_padded(unit.ops[-1:], tile) for tile in _TILES),
        )
        for unit in units
    ]
    return np.log(np.array(rows, dtype=np.float64).reshape(-1, 8 + 2 * len(_TILES)))


def _padded(ops: Sequence[OpSpec], tile: int) -> float:
    """Return how much more output channels are computed than there are, where a kernel computes `tile` at once."""
    return sum(-(-op.out_c // tile) * tile for op in ops) / sum(op.out_c for op in ops)


@dataclass(frozen=True, slots=True)
class Visited:
    """What was measured of units.

    Attributes:
        units: The units, `n` of them.
        latency_ms: Of each, shape `n`, above zero.
        noise: Relative standard deviation of each latency, shape `n`.
    """

    units: Sequence[Unit]
    latency_ms: FloatArray
    noise: FloatArray


@dataclass(frozen=True, slots=True)
class Interpolated:
    """What is known of units, each array of shape `n`.

    Attributes:
        latency_ms: Expected latency.
        deviation: Its relative standard deviation.
        known: Whether any unit of the same signature was measured.
    """

    latency_ms: FloatArray
    deviation: FloatArray
    known: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class UnitInterpolator:
    """Latency of units from measurements of some.

    Attributes:
        groups: Signature -> what was fitted to it.
        fallback: Fitted to all measured units together.
        rows: Unit key -> its row in its group.
    """

    groups: Mapping[str, "_Group"]
    fallback: "_Group"
    rows: Mapping[str, int]

    @classmethod
    def fit(cls, visited: Visited) -> "UnitInterpolator":
        """Fit to measured units.

        Raises:
            NotProfiledError: Nothing was measured.
        """
        if not len(visited.units):
            raise NotProfiledError("no unit has been measured yet; run `chamnet-host profile`")
        features = unit_features(visited.units)
        members = _by_signature(visited.units)
        groups: dict[str, _Group] = {}
        rows: dict[str, int] = {}
        for signature, at in members.items():
            groups[signature] = _Group.fit(features[at], visited.latency_ms[at], visited.noise[at])
            rows |= {visited.units[i].key: row for row, i in enumerate(at)}
        fallback = _Group.fit(features, visited.latency_ms, visited.noise, process=False)
        return cls(groups, fallback, rows)

    def predict(self, units: Sequence[Unit]) -> Interpolated:
        """Return what is known of units; where no like was measured, a rough figure from the nearest kin."""
        latency_ms, deviation = np.empty(len(units)), np.empty(len(units))
        known = np.zeros(len(units), dtype=bool)
        features = unit_features(units)
        for signature, at in _by_signature(units).items():
            group = self.groups.get(signature)
            known[at] = group is not None
            own = np.array([self.rows.get(units[i].key, -1) for i in at]) if group else np.full(len(at), -1)
            latency_ms[at], deviation[at] = (group or self._kin(signature)).predict(features[at], own)
            if group is None:
                deviation[at] = np.hypot(deviation[at], _KIN_DEVIATION)
        return Interpolated(latency_ms, deviation, known)

    def _kin(self, signature: str) -> "_Group":
        """Return the group of the same operators with other activations; that of all units where there is none."""
        plain = _ACTIVATION.sub("", signature)
        kin = (group for known, group in self.groups.items() if _ACTIVATION.sub("", known) == plain)
        return next(kin, self.fallback)

    def pack(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return it as plain arrays; `unpack` reads them back."""
        names = json.dumps({"signatures": list(self.groups), "rows": self.rows})
        arrays: dict[str, npt.NDArray[np.generic]] = {"names": np.frombuffer(names.encode(), dtype=np.uint8)}
        for i, group in enumerate((self.fallback, *self.groups.values())):
            arrays |= {f"{i}.{name}": array for name, array in group.pack().items()}
        return arrays

    @classmethod
    def unpack(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> "UnitInterpolator":
        """Read what `pack` gave."""
        names = json.loads(arrays["names"].tobytes())
        fallback, *groups = (_Group.unpack(arrays, f"{i}.") for i in range(len(names["signatures"]) + 1))
        return cls(dict(zip(names["signatures"], groups, strict=True)), fallback, names["rows"])


def _by_signature(units: Sequence[Unit]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for i, unit in enumerate(units):
        members.setdefault(unit.signature, []).append(i)
    return members


@dataclass(frozen=True)
class _Group:
    """A linear trend and, where there is enough, a Gaussian process on its residuals.

    Attributes:
        offset_ms: Added to latencies before the logarithm.
        mean, scale: Of the features; scale holds the length scales.
        trend: Coefficients on scaled features, the constant last.
        deviation: Of the residuals, in log.
        points: Inducing points, scaled; none where the trend stands alone.
        weights: Of the kernel to them.
        known: Factor of what the fitted rows tell: the variance is `k - |known q|^2`.
        own: What each fitted row adds to its own prediction and to its variance, shape `2 x n`.
    """

    offset_ms: float
    mean: FloatArray
    scale: FloatArray
    trend: FloatArray
    deviation: float
    points: FloatArray
    weights: FloatArray
    known: FloatArray
    own: FloatArray

    def pack(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return it as plain arrays."""
        return {each.name: np.asarray(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def unpack(cls, arrays: Mapping[str, npt.NDArray[np.generic]], prefix: str) -> "_Group":
        """Read what `pack` gave, under names that start with `prefix`."""
        held = {each.name: np.asarray(arrays[prefix + each.name], dtype=np.float64) for each in fields(cls)}
        offset_ms, deviation = float(held.pop("offset_ms")), float(held.pop("deviation"))
        return cls(offset_ms=offset_ms, deviation=deviation, **held)

    @classmethod
    def fit(
        cls, features: FloatArray, latency_ms: FloatArray, noise: FloatArray, *, process: bool = True
    ) -> "_Group":
        offset_ms = _OFFSET * float(np.median(latency_ms))
        y = np.log(latency_ms + offset_ms)
        noise = noise * latency_ms / (latency_ms + offset_ms)
        mean, spread = features.mean(axis=0), features.std(axis=0)
        scale = np.where(spread > 1e-9, spread, 1.0)  # constant: no trend, but units that differ are far
        x = (features - mean) / scale
        design = np.column_stack([x, np.ones(len(x))])
        weighted = design / (0.05**2 + noise[:, None] ** 2)
        ridge = np.diag([1.0] * x.shape[1] + [1e-9])
        trend = np.asarray(np.linalg.solve(design.T @ weighted + ridge, weighted.T @ y), dtype=np.float64)
        residual = y - design @ trend
        variance = float(residual.var()) + 1e-8
        if not process:
            none, no_rows = np.empty((0, x.shape[1])), np.empty((2, 0))
            return cls(offset_ms, mean, scale, trend, variance**0.5, none, np.empty(0), none, no_rows)
        if len(x) < _FEWEST:
            lengths, nugget, variance = np.full(x.shape[1], 4.0), 1e-4, max(variance, _UNKNOWN**2)
        else:
            lengths, nugget, variance = _choose(x, residual, noise**2, variance)
        z = x / lengths
        points = z if len(z) <= _INDUCING else z[farthest(z, _INDUCING)]
        near = variance * matern(points, points) + _JITTER * variance * np.eye(len(points))
        cross = variance * matern(points, z)
        root = np.linalg.cholesky(near)
        half = np.linalg.solve(root, cross)  # m x n
        left = np.clip(variance - (half**2).sum(axis=0), 0.0, None)  # what inducing points do not explain
        observed = noise**2 + nugget
        total = left + observed
        # `I - (I + half half.T / total)^-1`, by the eigenvectors: what is left of the prior in the posterior
        power, directions = np.linalg.eigh((half / total) @ half.T)
        power = np.maximum(power, 0.0)
        solved = directions @ ((directions.T @ ((half / total) @ residual)) / (1 + power))
        weights = np.linalg.solve(root.T, solved)
        told = np.sqrt(power / (1 + power))[:, None] * directions.T
        smooth = cross.T @ weights
        own_mean = left / total * (residual - smooth)
        own_left = left * observed / np.where(total > 0, total, 1.0) - left
        return cls(
            offset_ms,
            mean,
            scale * lengths,
            np.append(trend[:-1] * lengths, trend[-1]),
            variance**0.5,
            points,
            weights,
            np.linalg.solve(root.T, told.T).T,
            np.stack([own_mean, own_left]),
        )

    def predict(self, features: FloatArray, own: npt.NDArray[np.int_]) -> tuple[FloatArray, FloatArray]:
        """Return latency in ms and its relative standard deviation, each of shape `n`.

        Args:
            features: Of the units.
            own: Row of each unit among those fitted; -1 for none.
        """
        x = (features - self.mean) / self.scale
        log_ms = x @ self.trend[:-1] + self.trend[-1]
        variance = np.full(len(x), self.deviation**2)
        if len(self.points):
            for start in range(0, len(x), _CHUNK):
                part = slice(start, start + _CHUNK)
                near = self.deviation**2 * matern(x[part], self.points)
                log_ms[part] += near @ self.weights
                variance[part] -= ((near @ self.known.T) ** 2).sum(axis=1)
            mine = np.flatnonzero(own >= 0)
            log_ms[mine] += self.own[0][own[mine]]
            variance[mine] += self.own[1][own[mine]]
        shifted = np.exp(log_ms)
        latency_ms = np.maximum(shifted - self.offset_ms, 0.05 * shifted)
        return latency_ms, np.sqrt(np.clip(variance, 1e-8, None)) * shifted / latency_ms


def _choose(
    x: FloatArray, residual: FloatArray, noise: FloatArray, variance: float
) -> tuple[FloatArray, float, float]:
    """Return a length scale for each feature, the nugget, and the process's variance."""
    rows = np.arange(len(x)) if len(x) <= _CHOOSING else farthest(x, _CHOOSING)
    x, residual, noise = x[rows], residual[rows], noise[rows]
    features = np.flatnonzero(x.std(axis=0) > 1e-9)
    lengths, nugget = np.full(x.shape[1], 4.0), _NOISES[1]

    def likelihood(lengths: FloatArray, nugget: float) -> tuple[float, float]:
        kernel = matern(x / lengths, x / lengths)
        kernel[np.diag_indices_from(kernel)] += nugget + noise / variance + _JITTER
        root = np.linalg.cholesky(kernel)
        scaled = float((np.linalg.solve(root, residual) ** 2).mean())  # the variance that fits best
        return -0.5 * len(x) * np.log(scaled) - float(np.log(np.diag(root)).sum()), scaled

    best, scaled = likelihood(lengths, nugget)
    for _ in range(_ROUNDS):
        before = best
        for feature in (-1, *features):
            for step in _NOISES if feature == -1 else _STEPS:
                tried = lengths.copy()
                if feature >= 0:
                    tried[feature] = np.clip(tried[feature] * step, 0.2, 60.0)
                value, found = likelihood(tried, step if feature == -1 else nugget)
                if value > best:
                    best, scaled, lengths = value, found, tried
                    nugget = step if feature == -1 else nugget
        if best - before < 0.5:
            break
    scaled = float(np.clip(scaled, 1e-8, 4 * variance))
    return lengths, nugget * scaled, scaled


def farthest(x: FloatArray, count: int) -> npt.NDArray[np.int_]:
    """Return `count` rows, each the farthest from those before it (Gonzalez 1985), from the most central one on."""
    picked = [int((x**2).sum(axis=1).argmin())]
    distance = ((x - x[picked[0]]) ** 2).sum(axis=1)
    while len(picked) < count:
        picked.append(int(distance.argmax()))
        distance = np.minimum(distance, ((x - x[picked[-1]]) ** 2).sum(axis=1))
    return np.array(picked)


def matern(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the Matern-5/2 kernel of unit length scale, shape `n x m`, eq. 4.17 of [Rasmussen2006]_."""
    squared = np.clip((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0, None)
    r = np.sqrt(5 * squared)
    return np.asarray((1 + r + r**2 / 3) * np.exp(-r))
