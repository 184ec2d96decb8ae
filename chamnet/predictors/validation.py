"""How wrong the accuracy predictor is: leave one network out, and leave one family out.

Leaving one network out flatters: most of a pool are sisters, which differ in two numbers. Leaving a whole family
out is what a search does, which leaves the known networks. The intervals are widened until the second is
covered too:

- the *spread* between families is `factor` times the fitted deviation of recipe offsets, with the smallest
  factor (1 or more) at which every family left out is covered to 80 % by nominal 90 % intervals;
- a network of unknown recipe gets all of the spread. One of a known recipe gets the share
  `min(1, distance / near)^2`, where `distance` leads to the nearest network of that recipe, and `near` is the
  largest distance that leaving one out tests;
- beyond `far`, the largest distance that leaving a family out tests, a prediction is `extrapolated`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chamnet.predictors.gp import NO_RECIPE, GaussianProcess
from chamnet.predictors.pool import Pool, from_log_error
from chamnet.stats import kendall_tau

__all__ = ["Z90", "Score", "Validation", "spread_share", "validate"]

FloatArray = npt.NDArray[np.float64]
Fit = Callable[[Pool], GaussianProcess]

Z90 = 1.6448536269514722  # half-width of a 90 % interval in standard deviations
_WANTED = 0.8  # coverage of each family left out
_FACTORS = np.arange(1.0, 5.001, 0.05)
_SIZES, _DRAWS = (8, 14, 20, 40, 80, 160), 6  # of the learning curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Predictions against known accuracies.

    Attributes:
        count: Networks.
        mae, rmse, bias: Of predicted less known top-1, in points.
        tau: Kendall's rank correlation (tau-b).
        coverage_naive: Share inside the model's own 90 % intervals, an unknown recipe taken for the commonest.
        coverage: Share inside the widened ones.
    """

    count: int
    mae: float
    rmse: float
    bias: float
    tau: float
    coverage_naive: float
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What was found, and what follows for intervals.

    Attributes:
        factor: Spread between families over the fitted deviation of recipe offsets.
        near, far: Distances (Euclidean, features scaled to [0, 1]) that the two tests reach.
        one_out: Each network predicted from the others, its recipe known.
        families: Recipe -> its networks predicted from the other recipes'.
        beyond: Recipe -> networks outside the structure, predicted from the whole pool.
        learning: Pool size -> mean absolute error on the others, in points.
    """

    factor: float
    near: float
    far: float
    one_out: Score
    families: Mapping[str, Score]
    beyond: Mapping[str, Score]
    learning: Mapping[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Validation":
        """Read what `to_dict` gave."""
        scores = {
            key: {name: Score(**score) for name, score in data[key].items()} for key in ("families", "beyond")
        }
        learning = {int(size): error for size, error in data["learning"].items()}
        return cls(**{**data, **scores, "one_out": Score(**data["one_out"]), "learning": learning})


@dataclass(frozen=True, slots=True)
class _Held:
    """Predictions of networks held out, in negative log error; arrays of shape `n`."""

    known: FloatArray
    mean: FloatArray
    variance: FloatArray  # with noise, without spread
    spread: FloatArray  # variance that the spread adds at factor 1
    naive: FloatArray  # whether the naive interval holds the known value, as 0 or 1

    def covered(self, factor: float) -> FloatArray:
        """Return whether each interval holds the known value, as 0 or 1."""
        return _inside(self.known, self.mean, self.variance + factor**2 * self.spread)


def validate(pool: Pool, fit: Fit, *, beyond: Pool | None = None, seed: int = 0) -> Validation:
    """Hold out networks and families, refitting each time, and calibrate the spread.

    Args:
        pool: Known networks. With one recipe only there is no family to leave out: the factor stays 1.
        fit: Fits a model to a part of the pool, or gives it the numbers of one fitted to all.
        beyond: Networks outside the structure, as a further check that calibrates nothing.
        seed: Of the learning curve's choices.
    """
    distinct = np.unique(pool.features, axis=0)  # a network may be there with several seeds and recipes
    near = float(_distances(distinct, distinct, itself=True).max())
    names = np.array(pool.names)
    one_out = _concatenate(
        [_hold_out(pool, np.flatnonzero(names == name), fit, near) for name in dict.fromkeys(pool.names)]
    )
    families, far = {}, near
    for number, name in enumerate(pool.recipe_names if len(pool.recipe_names) > 1 else ()):
        rows = np.flatnonzero(pool.recipe_numbers == number)
        families[name] = _hold_out(pool, rows, fit, near)
        far = max(far, float(_distances(pool.features[rows], np.delete(pool.features, rows, axis=0)).max()))
    factor = _calibrate(families)
    outside = _predict_beyond(fit(pool), beyond) if beyond else {}
    return Validation(
        factor=factor,
        near=near,
        far=far,
        one_out=_score(one_out, factor),
        families={name: _score(held, factor) for name, held in families.items()},
        beyond={name: _score(held, factor) for name, held in outside.items()},
        learning=_learning_curve(pool, fit, np.random.default_rng(seed)),
    )


def spread_share(distance: FloatArray, near: float) -> FloatArray:
    """Return which share of the spread's variance a network of known recipe gets.

    Args:
        distance: To the nearest known network of the recipe, shape `n`.
        near: As in `Validation`.
    """
    share: FloatArray = np.minimum(1.0, distance / near) ** 2
    return share


def _calibrate(families: Mapping[str, _Held]) -> float:
    for factor in _FACTORS:
        if all(held.covered(factor).mean() >= _WANTED for held in families.values()):
            return round(float(factor), 2)
    return float(_FACTORS[-1])


def _hold_out(pool: Pool, rows: npt.NDArray[np.int64], fit: Fit, near: float) -> _Held:
    """Predict some networks from the others; their recipe is unknown if no other has it."""
    others = pool.subset(np.delete(np.arange(len(pool)), rows))
    model = fit(others)
    parts = []
    for each in np.unique(pool.recipe_numbers[rows]).tolist():
        recipe = pool.recipe_names[each]
        number = others.recipe_names.index(recipe) if recipe in others.recipe_names else NO_RECIPE
        parts.append(_predict(model, pool.subset(rows[pool.recipe_numbers[rows] == each]), number, near))
    return _concatenate(parts)


def _predict(model: GaussianProcess, held: Pool, recipe: int, near: float) -> _Held:
    mean, variance = model.posterior(held.features, held.log_macs, recipe)
    share = np.ones(len(held))
    if recipe != NO_RECIPE:
        share = spread_share(model.nearest(held.features, recipe), near)
    assumed = int(np.bincount(model.recipes).argmax()) if recipe == NO_RECIPE else recipe
    naive_mean, naive_variance = model.posterior(held.features, held.log_macs, assumed)
    naive = _inside(held.log_error, naive_mean, naive_variance + model.noise_variance(naive_mean, assumed))
    noisy = variance + model.noise_variance(mean, recipe)
    return _Held(held.log_error, mean, noisy, model.offset_sd**2 * share, naive)


def _inside(known: FloatArray, mean: FloatArray, variance: FloatArray) -> FloatArray:
    return (np.abs(known - mean) <= Z90 * np.sqrt(variance)).astype(float)


def _predict_beyond(model: GaussianProcess, beyond: Pool) -> dict[str, _Held]:
    parts = {
        name: beyond.subset(np.flatnonzero(beyond.recipe_numbers == i))
        for i, name in enumerate(beyond.recipe_names)
    }
    return {name: _predict(model, part, NO_RECIPE, 1.0) for name, part in parts.items()}


def _concatenate(parts: list[_Held]) -> _Held:
    columns = ((part.known, part.mean, part.variance, part.spread, part.naive) for part in parts)
    return _Held(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _score(held: _Held, factor: float) -> Score:
    error = from_log_error(held.mean) - from_log_error(held.known)
    return Score(
        count=len(error),
        mae=_short(np.abs(error).mean()),
        rmse=_short(np.sqrt((error**2).mean())),
        bias=_short(error.mean()),
        tau=_short(kendall_tau(held.mean, held.known)),
        coverage_naive=_short(held.naive.mean()),
        coverage=_short(held.covered(factor).mean()),
    )


def _short(value: npt.ArrayLike) -> float:
    return round(float(np.asarray(value)), 3)


def _distances(x: FloatArray, z: FloatArray, *, itself: bool = False) -> FloatArray:
    """Return the distance of each row of `x` to its nearest of `z`, not counting itself."""
    distances = np.sqrt(((x[:, None] - z) ** 2).sum(axis=-1))
    if itself:
        np.fill_diagonal(distances, np.inf)
    nearest: FloatArray = distances.min(axis=1)
    return nearest


def _learning_curve(pool: Pool, fit: Fit, rng: np.random.Generator) -> dict[int, float]:
    """Return the error on the others of models fitted to part of the pool, several draws of each size."""
    curve = {}
    for size in (size for size in _SIZES if size < len(pool) - 2):
        errors = []
        for _ in range(_DRAWS):
            rows = _draw(pool, size, rng)
            others = np.setdiff1d(np.arange(len(pool)), rows)
            model = fit(pool.subset(rows))
            for recipe in np.unique(pool.recipe_numbers[others]).tolist():
                held = pool.subset(others[pool.recipe_numbers[others] == recipe])
                mean, _ = model.posterior(held.features, held.log_macs, recipe)
                errors.append(np.abs(from_log_error(mean) - held.top1))
        curve[size] = _short(np.concatenate(errors).mean())
    return curve


def _draw(pool: Pool, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw networks, two of each recipe and the rest from all."""
    order = rng.permutation(len(pool))
    first = [order[pool.recipe_numbers[order] == i][:2] for i in range(len(pool.recipe_names))]
    chosen = np.concatenate(first)
    rest = order[~np.isin(order, chosen)]
    return np.sort(np.concatenate([chosen, rest[: size - len(chosen)]]))
