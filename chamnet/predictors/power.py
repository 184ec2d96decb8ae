"""Power of units from measurements of some.

What a unit adds to the power of the idling device varies far less than its energy, which is mostly its time. So power is
what is interpolated; times come from the latency table.

The model is a Gaussian process on log power over all units together [Rasmussen2006]_: a level, what units of one kind have in
common (the same operators, whatever their activation; then the same signature), a smooth term over the sizes that latency is
interpolated over too, and what each unit has alone.

A row below the noise is no figure to show, but it is unbiased: left out, only those units of a kind stay that add much, or
happened to come out high, and the rest of the kind gets their power. So every row counts by its noise, which is normal in
W, not in log W: a row may be negative. The likeliest powers under it are found by Newton's method, eq. 3.12 to 3.18 of the
same book, and the logs of rows are those that give its last step.

References:
    [Rasmussen2006] Gaussian Processes for Machine Learning. MIT Press 2006.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from statistics import median

import numpy as np
import numpy.typing as npt

from chamnet.lut import EnergyRow
from chamnet.lut.interpolation import farthest, matern, unit_features
from chamnet.units import Unit

__all__ = ["KnownPower", "PowerModel", "PowerRows"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_ACTIVATION = re.compile(r"_relu6?\b")
_USUAL_SPREAD = 0.05  # relative, between visits of an item visited once, where no other says more
_PRIOR_VISITS = 4.0  # what the spread of all rows counts beside a row's own
_LEVEL = 1.0  # standard deviations in log power: of the level,
_KINDS = (0.02, 0.1, 0.3)  # of kinds (and half as much of signatures), tried,
_SMOOTH = (0.02, 0.07, 0.2, 0.5)  # of the smooth term,
_OWN = (0.01, 0.03, 0.1, 0.25)  # of each unit alone
_LENGTHS = (0.3, 0.7, 1.5, 4.0)  # in root-mean-square distances of units
_ROUNDS = 3
_STEPS, _CHOICES = 50, 3  # of Newton's method, which takes about 10; before how many the numbers are chosen
_SETTLED = 1e-6  # change of any log power from which on steps change nothing
_CHOOSING, _MOST = 260, 1_500  # rows that the numbers are chosen on, and fitted to
_CHUNK = 4_096
_BELOW_NOISE = 0.5  # relative deviation of units below the noise, beside that of the model
_LEAST_NOISE = 0.02  # of rows below the noise, in usual powers: a coarse meter that stands still has none
_GUESSED = 0.5  # the same where no unit was measured at all
_JITTER = 1e-9


@dataclass(frozen=True, slots=True)
class PowerRows:
    """What was measured of units, `n` of them.

    Attributes:
        units: The units.
        net_w: Power that each adds, shape `n`; above zero but for rows below the noise.
        noise_w: Standard deviation of each, shape `n`.
        hidden: Keys of units whose rows are below the noise.
    """

    units: Sequence[Unit]
    net_w: FloatArray
    noise_w: FloatArray
    hidden: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rows: Sequence[tuple[Unit, EnergyRow]]) -> "PowerRows":
        """Return rows with their noise: spread between visits, drawn towards that of all, and the meter's own."""
        net_w = np.array([row.net_w for _, row in rows], dtype=np.float64)
        visits = np.array([row.visits for _, row in rows], dtype=np.float64)
        many = [row.spread or 0.0 for _, row in rows if row.visits > 2 and not row.is_below_noise]
        usual_w = (median(many) if many else _USUAL_SPREAD) * net_w
        spread_w = np.array([row.spread_w or 0.0 for _, row in rows])
        freedom = visits - 1
        variance = (_PRIOR_VISITS * usual_w**2 + freedom * spread_w**2) / (_PRIOR_VISITS + freedom)
        own_w = np.array([row.noise_w for _, row in rows])
        return cls(
            [unit for unit, _ in rows],
            net_w,
            np.sqrt((variance + own_w**2) / np.maximum(visits, 1.0)),
            frozenset(unit.key for unit, row in rows if row.is_below_noise),
        )

    @property
    def told(self) -> BoolArray:
        """Which rows are above the noise, shape `n`."""
        return np.array([unit.key not in self.hidden for unit in self.units], dtype=bool)

    def thinned(self, kept: npt.NDArray[np.int64]) -> "PowerRows":
        """Return some of the rows, by their places."""
        return replace(
            self, units=[self.units[i] for i in kept], net_w=self.net_w[kept], noise_w=self.noise_w[kept]
        )


@dataclass(frozen=True, slots=True)
class KnownPower:
    """What is known of units' power, each array of shape `n`.

    Attributes:
        net_w: Expected power added to that of the idling device.
        deviation: Its relative standard deviation.
        measured: Whether the unit itself was measured, above the noise.
        hidden: Whether it was measured, and is below the noise.
        known: Whether any unit of the same signature was measured above the noise.
    """

    net_w: FloatArray
    deviation: FloatArray
    measured: BoolArray
    hidden: BoolArray
    known: BoolArray


@dataclass(frozen=True)
class PowerModel:
    """A fitted model with the rows it stands on; `n` rows, `d` features.

    Attributes:
        keys: Unit keys of the rows, those below the noise among them.
        signatures: Of the rows.
        hidden: Keys of units below the noise.
        level: Mean log power in W.
        mean, scale: Of the features, shape `d`; scale holds the length scale.
        points: Features of the rows, scaled, shape `n x d`.
        kind_sd, smooth_sd, own_sd: Standard deviations in log power.
        weights: Shape `n`.
        precision: Shape `n x n`.
    """

    keys: tuple[str, ...]
    signatures: tuple[str, ...]
    hidden: frozenset[str]
    level: float
    mean: FloatArray
    scale: FloatArray
    points: FloatArray
    kind_sd: float
    smooth_sd: float
    own_sd: float
    weights: FloatArray
    precision: FloatArray

    @classmethod
    def fit(cls, rows: PowerRows, *, usual_w: float) -> "PowerModel":
        """Fit to measured units.

        Args:
            rows: What was measured; may be empty.
            usual_w: Power of units where none was measured above the noise.
        """
        features = unit_features(rows.units)
        if not len(rows.units):
            none = np.empty((0, features.shape[1]))
            ones = np.ones(features.shape[1])
            return cls(
                keys=(), signatures=(), hidden=rows.hidden, level=float(np.log(usual_w)), mean=0 * ones, scale=ones,
                points=none, kind_sd=_GUESSED, smooth_sd=0.0, own_sd=0.0, weights=np.empty(0), precision=np.empty((0, 0)),
            )  # fmt: skip
        mean, spread = features.mean(axis=0), features.std(axis=0)
        scale = np.where(spread > 1e-9, spread, 1.0)
        x = (features - mean) / scale
        if len(x) > _MOST:
            kept = farthest(x, _MOST)
            x, rows = x[kept], rows.thinned(kept)
        signatures, level = [unit.signature for unit in rows.units], _level(rows, usual_w)
        least_w = np.where(rows.told, 0.0, _LEAST_NOISE * np.exp(level))
        rows = replace(rows, noise_w=np.maximum(rows.noise_w, least_w))
        log_w = np.log(np.maximum(rows.net_w, rows.noise_w)) - level
        for step in range(_STEPS):
            seen, noise = _as_logs(rows, level, log_w)
            if step < _CHOICES:
                length, kind_sd, smooth_sd, own_sd = _choose(x, signatures, seen, noise)
            points = x / length
            prior = _covariance(points, points, signatures, signatures, kind_sd, smooth_sd)
            prior[np.diag_indices_from(prior)] += own_sd**2
            covariance = prior + np.diag(noise**2 + _JITTER)
            before, log_w = log_w, prior @ np.linalg.solve(covariance, seen)
            if step >= _CHOICES and np.abs(log_w - before).max() < _SETTLED:
                break
        precision = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
        return cls(
            keys=tuple(unit.key for unit in rows.units),
            signatures=tuple(signatures),
            hidden=rows.hidden,
            level=level,
            mean=mean,
            scale=scale * length,
            points=points,
            kind_sd=kind_sd,
            smooth_sd=smooth_sd,
            own_sd=own_sd,
            weights=precision @ seen,
            precision=precision,
        )

    def predict(self, units: Sequence[Unit]) -> KnownPower:
        """Return what is known of units."""
        log_w, variance = np.full(len(units), self.level), np.empty(len(units))
        x = (unit_features(units) - self.mean) / self.scale
        signatures = [unit.signature for unit in units]
        own = np.array([self._rows.get(unit.key, -1) for unit in units], dtype=np.int64)
        prior = _LEVEL**2 + 1.25 * self.kind_sd**2 + self.smooth_sd**2 + self.own_sd**2
        if not self.keys:
            prior = self.kind_sd**2
        for start in range(0, len(units), _CHUNK):
            part = slice(start, start + _CHUNK)
            cross = _covariance(
                x[part], self.points, signatures[part], self.signatures, self.kind_sd, self.smooth_sd
            )
            mine = np.flatnonzero(own[part] >= 0)
            cross[mine, own[part][mine]] += self.own_sd**2
            log_w[part] += cross @ self.weights
            variance[part] = prior - ((cross @ self.precision) * cross).sum(axis=1)
        hidden = np.array([unit.key in self.hidden for unit in units], dtype=bool)
        deviation = np.sqrt(np.clip(variance, 1e-8, None))
        seen = {self.signatures[row] for row in self._told}
        return KnownPower(
            net_w=np.exp(log_w),
            deviation=np.where(hidden, np.hypot(deviation, _BELOW_NOISE), deviation),
            measured=(own >= 0) & ~hidden,
            hidden=hidden,
            known=np.array([signature in seen for signature in signatures], dtype=bool),
        )

    @cached_property
    def left_out(self) -> float | None:
        """Root mean square error in log power of rows left out one by one, eq. 5.12; None where none has a relative.

        Of rows above the noise that others share a signature with: the others are `missing` when left out, and say nothing
        of what is interpolated.
        """
        counts = Counter(self.signatures[row] for row in self._told)
        rows = [row for row in self._told if counts[self.signatures[row]] > 1]
        if not rows:
            return None
        errors = self.weights[rows] / np.diag(self.precision)[rows]
        return float(np.sqrt((errors**2).mean()))

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.keys)}

    @cached_property
    def _told(self) -> list[int]:
        return [row for row, key in enumerate(self.keys) if key not in self.hidden]

    def pack(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return it as plain arrays; `unpack` reads them back."""
        names = json.dumps([self.keys, self.signatures, sorted(self.hidden)])
        arrays = {name: np.asarray(getattr(self, name)) for name in _NUMBERS}
        return arrays | {"names": np.frombuffer(names.encode(), dtype=np.uint8)}

    @classmethod
    def unpack(cls, arrays: "dict[str, npt.NDArray[np.generic]]") -> "PowerModel":
        """Read what `pack` gave."""
        keys, signatures, hidden = json.loads(arrays["names"].tobytes())
        held = {name: np.asarray(arrays[name], dtype=np.float64) for name in _NUMBERS}
        scalars = {name: float(held.pop(name)) for name in ("level", "kind_sd", "smooth_sd", "own_sd")}
        return cls(
            keys=tuple(keys),
            signatures=tuple(signatures),
            hidden=frozenset(hidden),
            level=scalars["level"],
            kind_sd=scalars["kind_sd"],
            smooth_sd=scalars["smooth_sd"],
            own_sd=scalars["own_sd"],
            **held,
        )


_NUMBERS = tuple(
    each.name for each in fields(PowerModel) if each.name not in ("keys", "signatures", "hidden")
)


def _level(rows: PowerRows, usual_w: float) -> float:
    """Return the mean log power of rows above the noise: a place to start at, which the fit moves."""
    told = rows.told
    if not told.any():
        return float(np.log(usual_w))
    net_w, noise_w = rows.net_w[told], rows.noise_w[told]
    return float(np.average(np.log(net_w), weights=1 / (0.05**2 + (noise_w / net_w) ** 2)))


def _as_logs(rows: PowerRows, level: float, log_w: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return what rows say of the log of powers near `log_w`, and its deviations: a step of Newton's method.

    Where the log of the likelihood is not concave, which is far below a row, its expected curvature stands for its own.
    """
    expected_w = np.exp(level + log_w)
    curved_w = np.maximum(2 * expected_w - rows.net_w, expected_w)
    return log_w + (rows.net_w - expected_w) / curved_w, rows.noise_w / np.sqrt(expected_w * curved_w)


def _covariance(
    x: FloatArray,
    z: FloatArray,
    of_x: Sequence[str],
    of_z: Sequence[str],
    kind_sd: float,
    smooth_sd: float,
) -> FloatArray:
    """Return prior covariances in log power, shape `n x m`, without what each unit has alone."""
    covariance: FloatArray = _LEVEL**2 + smooth_sd**2 * matern(x, z)
    covariance += kind_sd**2 * (
        _same(list(map(_kin, of_x)), list(map(_kin, of_z))) + 0.25 * _same(of_x, of_z)
    )
    return np.asarray(covariance, dtype=np.float64)


def _same(a: Sequence[str], b: Sequence[str]) -> FloatArray:
    numbers = {name: number for number, name in enumerate(dict.fromkeys((*a, *b)))}
    one, other = (np.array([numbers[name] for name in names], dtype=np.int64) for names in (a, b))
    return np.asarray(one[:, None] == other[None], dtype=np.float64)


def _kin(signature: str) -> str:
    return _ACTIVATION.sub("", signature)


def _choose(
    x: FloatArray, signatures: Sequence[str], log_w: FloatArray, noise: FloatArray
) -> tuple[float, float, float, float]:
    """Return length scale and standard deviations of kinds, smooth term and single units: the likeliest of a grid.

    One number after the other, for a few rounds: with tens to hundreds of rows the likelihood is flat around its top.
    """
    if len(x) > _CHOOSING:
        kept = farthest(x, _CHOOSING)
        x, signatures, log_w, noise = x[kept], [signatures[i] for i in kept], log_w[kept], noise[kept]
    unit = np.sqrt(2.0 * x.shape[1])
    choices = (tuple(unit * length for length in _LENGTHS), _KINDS, _SMOOTH, _OWN)
    chosen = [values[len(values) // 2] for values in choices]
    alike = _same(list(map(_kin, signatures)), list(map(_kin, signatures))) + 0.25 * _same(
        signatures, signatures
    )
    near = {length: matern(x / length, x / length) for length in choices[0]}

    def likelihood(numbers: Sequence[float]) -> float:
        length, kind, smooth, own = numbers
        covariance = _LEVEL**2 + kind**2 * alike + smooth**2 * near[length]
        covariance[np.diag_indices_from(covariance)] += own**2 + noise**2 + _JITTER
        root = np.linalg.cholesky(covariance)
        return float(-0.5 * (np.linalg.solve(root, log_w) ** 2).sum() - np.log(np.diag(root)).sum())

    best = likelihood(chosen)
    for _ in range(_ROUNDS):
        before = best
        for number, values in enumerate(choices):
            for value in values:
                tried = [*chosen[:number], value, *chosen[number + 1 :]]
                if value != chosen[number] and (found := likelihood(tried)) > best:
                    best, chosen = found, tried
        if best == before:
            break
    length, kind, smooth, own = chosen
    return length, kind, smooth, own
