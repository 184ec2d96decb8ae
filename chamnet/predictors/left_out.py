"""How well an accuracy predictor tells networks it has not seen: every one left out in turn, and fewer of them.

A network is left out with all its seeds and recipes. The numbers of the model (length scales, variances) stay those of
the whole pool, so what is said of small pools is what such a pool tells once the numbers are known.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.pool import Pool, from_log_error
from chamnet.predictors.validation import Z90
from chamnet.stats import kendall_tau

__all__ = ["LeftOut", "LeftOutNetwork", "Quality", "leave_out"]

FloatArray = npt.NDArray[np.float64]

_TOP = 0.2  # share of the most accurate networks that are ranked by themselves
_DRAWS = 10
_SIZES = (10, 20, 30, 40, 60, 80, 120, 160, 240, 480, 960)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Predictions of networks left out against what they were trained to.

    Attributes:
        count: Networks.
        rmse, mae, bias: Of predicted less trained top-1, in points.
        tau: Kendall's rank correlation (tau-b).
        tau_top: The same among the most accurate fifth.
        coverage: Share inside the 90 % intervals.
    """

    count: int
    rmse: float
    mae: float
    bias: float
    tau: float
    tau_top: float
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutNetwork:
    """One network, as trained with one recipe and as predicted from all others.

    Attributes:
        name, recipe: Which.
        seeds: Trainings.
        macs: Multiply-adds at batch 1.
        top1: Trained, mean of the seeds.
        predicted, low, high: With the 90 % interval of one training.
    """

    name: str
    recipe: str
    seeds: int
    macs: float
    top1: float
    predicted: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What leaving out says of a predictor.

    Attributes:
        networks: Each one left out, as trained with each recipe.
        recipes: Recipe -> quality.
        learning: Networks in the pool -> quality on the others, mean of several draws; of the default recipe.
        seed_sd: Deviation between seeds of one network, in points; None without repeats.
    """

    networks: tuple[LeftOutNetwork, ...]
    recipes: Mapping[str, Quality]
    learning: Mapping[int, Quality]
    seed_sd: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)


def leave_out(predictor: AccuracyPredictor, *, seed: int = 0) -> LeftOut:
    """Leave each network of a predictor's pool out.

    Args:
        predictor: The predictor.
        seed: Draws the smaller pools.
    """
    pool, model = predictor.pool, predictor.model
    groups = pool.network_numbers
    mean, variance = model.left_out(groups)
    margin = Z90 * np.sqrt(variance)
    networks = []
    for number in range(groups.max() + 1):
        for recipe in range(len(pool.recipe_names)):
            rows = np.flatnonzero((groups == number) & (pool.recipe_numbers == recipe))
            if len(rows):
                first = rows[0]
                networks.append(
                    LeftOutNetwork(
                        name=pool.names[first],
                        recipe=pool.recipe_names[recipe],
                        seeds=len(rows),
                        macs=float(np.exp(pool.log_macs[first])),
                        top1=float(pool.top1[rows].mean()),
                        predicted=_top1(mean[first]),
                        low=_top1(mean[first] - margin[first]),
                        high=_top1(mean[first] + margin[first]),
                    )
                )
    by_recipe = {
        name: _quality([each for each in networks if each.recipe == name]) for name in pool.recipe_names
    }
    return LeftOut(
        networks=tuple(networks),
        recipes=by_recipe,
        learning=_learning(predictor, groups, np.random.default_rng(seed)),
        seed_sd=_seed_sd(pool, groups),
    )


def _top1(value: float) -> float:
    return float(from_log_error(value))


def _quality(networks: list[LeftOutNetwork]) -> Quality:
    known = np.array([each.top1 for each in networks])
    predicted = np.array([each.predicted for each in networks])
    inside = np.array([each.low <= each.top1 <= each.high for each in networks])
    return _score(known, predicted, inside)


def _score(known: FloatArray, predicted: FloatArray, inside: npt.NDArray[np.bool_]) -> Quality:
    error = predicted - known
    top = np.argsort(-known, kind="stable")[: max(round(_TOP * len(known)), 2)]
    return Quality(
        count=len(known),
        rmse=float(np.sqrt(np.mean(error**2))),
        mae=float(np.abs(error).mean()),
        bias=float(error.mean()),
        tau=kendall_tau(predicted, known),
        tau_top=kendall_tau(predicted[top], known[top]),
        coverage=float(inside.mean()),
    )


def _learning(
    predictor: AccuracyPredictor, groups: npt.NDArray[np.int64], rng: np.random.Generator
) -> dict[int, Quality]:
    """Return how pools of some of the networks predict the others."""
    pool, model = predictor.pool, predictor.model
    _, recipe = predictor.resolve_recipe(predictor.default_recipe)
    count = groups.max() + 1
    curve = {}
    for size in (size for size in _SIZES if size <= 0.8 * count):
        drawn = []
        for _ in range(_DRAWS):
            held = rng.permutation(count)[size:]
            rows = np.flatnonzero(~np.isin(groups, held))
            others = np.flatnonzero(np.isin(groups, held) & (pool.recipe_numbers == recipe))
            if not len(rows) or len(others) < 2:
                continue
            part = model.on(
                pool.features[rows], pool.log_macs[rows], pool.log_error[rows], pool.recipe_numbers[rows]
            )
            mean, variance = part.posterior(pool.features[others], pool.log_macs[others], recipe)
            margin = Z90 * np.sqrt(variance + part.noise_variance(mean, recipe))
            inside = np.abs(mean - pool.log_error[others]) <= margin
            drawn.append(_score(pool.top1[others], from_log_error(mean), inside))
        if drawn:
            means = {
                key: float(np.mean([getattr(each, key) for each in drawn]))
                for key in ("rmse", "mae", "bias", "tau", "tau_top", "coverage")
            }
            curve[size] = Quality(count=round(float(np.mean([each.count for each in drawn]))), **means)
    return curve


def _seed_sd(pool: Pool, groups: npt.NDArray[np.int64]) -> float | None:
    labels = groups * len(pool.recipe_names) + pool.recipe_numbers
    squares, freedom = 0.0, 0
    for label in np.unique(labels):
        top1 = pool.top1[labels == label]
        squares, freedom = squares + float(((top1 - top1.mean()) ** 2).sum()), freedom + len(top1) - 1
    return float(np.sqrt(squares / freedom)) if freedom else None
