"""Accuracy of networks nobody has trained yet, from networks somebody has. Needs numpy only.

The shipped predictor stands on published ImageNet accuracies; `accuracy_fit` fits one to other pools.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from chamnet.errors import ConfigError
from chamnet.networks import Architecture
from chamnet.predictors import accuracy_file
from chamnet.predictors.base import UNKNOWN_RECIPE, AccuracyPrediction
from chamnet.predictors.features import HOW_TO_FIT
from chamnet.predictors.gp import NO_RECIPE, GaussianProcess
from chamnet.predictors.pool import Pool, from_log_error, macs_of
from chamnet.predictors.space_accuracy import SpaceAccuracy
from chamnet.predictors.validation import Z90, Validation, spread_share
from chamnet.space import CostTables, SearchSpace

__all__ = ["AccuracyPredictor"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# Names the numbers, not the search: a recipe shifts all log errors alike and changes no ranking. ChamNet's is the
# one with which networks of this very space were trained, so an answer compares with ChamNet-A...F.
_PREFERRED_RECIPE = "chamnet"
_SAME_MACS = 1e-9  # rounding of a logarithm


@dataclass(frozen=True, eq=False, kw_only=True)
class AccuracyPredictor:
    """A fitted model, the pool it stands on, and how wrong it was found to be.

    Attributes:
        model: Predicts negative log error.
        pool: The known networks.
        validation: Errors, coverage, and the spread that the intervals include.
        seed: The fit's.
    """

    model: GaussianProcess
    pool: Pool
    validation: Validation
    seed: int = 0

    @classmethod
    def load(cls, path: Path | None = None) -> "AccuracyPredictor":
        """Read a predictor; None for the shipped one.

        Raises:
            ConfigError: No such file.
            StoreError: The file is corrupt or from another version.
        """
        model, pool, validation, seed = accuracy_file.load(path)
        return cls(model=model, pool=pool, validation=validation, seed=seed)

    def save(self, path: Path) -> None:
        """Write the predictor as one `.npz` without pickles.

        Raises:
            StoreError: The file cannot be written.
        """
        accuracy_file.save(path, self.model, self.pool, self.validation, self.seed)

    @classmethod
    def unpack(cls, content: bytes, name: str) -> "AccuracyPredictor":
        """Read what `pack` gave; `name` is for people.

        Raises:
            StoreError: It is corrupt or from another version.
        """
        model, pool, validation, seed = accuracy_file.unpack(content, name)
        return cls(model=model, pool=pool, validation=validation, seed=seed)

    def pack(self) -> bytes:
        """Return the predictor as the content of a file."""
        return accuracy_file.pack(self.model, self.pool, self.validation, self.seed)

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names that `recipe` may have."""
        return (*self.pool.recipe_names, UNKNOWN_RECIPE)

    @property
    def default_recipe(self) -> str:
        """ChamNet's where the pool has it, else the one that most of its networks have."""
        if _PREFERRED_RECIPE in self.recipes:
            return _PREFERRED_RECIPE
        return max(self.pool.recipe_names, key=self.pool.recipes.count)

    def predict(self, architectures: Sequence[Architecture], recipe: str | None = None) -> AccuracyPrediction:
        """Predict architectures, whether of a space or not.

        Args:
            architectures: `n` of them.
            recipe: One of `recipes`; None for the default.

        Raises:
            ConfigError: Unknown recipe, or an architecture of other blocks or another number of stages.
        """
        values = self.pool.structure.values(architectures)
        inside = np.array([self.pool.structure.admits(arch) for arch in architectures], dtype=bool)
        log_macs = np.log([macs_of(arch) for arch in architectures])
        return self.predict_values(values, log_macs, inside=inside, recipe=recipe)

    def predict_architecture(
        self, architecture: Architecture, recipe: str | None = None
    ) -> AccuracyPrediction:
        """Predict one architecture; the arrays of the answer hold one number each."""
        return self.predict([architecture], recipe)

    def predict_values(
        self,
        values: npt.ArrayLike,
        log_macs: FloatArray,
        *,
        inside: npt.ArrayLike = True,
        recipe: str | None = None,
    ) -> AccuracyPrediction:
        """Predict networks given as the values of every axis of the pool's structure.

        Args:
            values: Shape `n x axes`, in the order of `pool.structure.names`.
            log_macs: Natural logarithm of the multiply-adds at batch 1, shape `n`.
            inside: Whether the rest of the network is of the pool's structure, shape `n` or one for all.
            recipe: One of `recipes`; None for the default.
        """
        name, number = self.resolve_recipe(recipe)
        features = self.pool.structure.scale(values)
        mean, variance = self.model.posterior(features, log_macs, number)
        margin = Z90 * np.sqrt(
            variance + self.model.noise_variance(mean, number) + self._spread(features, number)
        )
        distance = self.model.nearest(features)
        known = np.logical_and(self.pool.structure.conforms(values), inside)
        return AccuracyPrediction(
            top1=from_log_error(mean),
            low=from_log_error(mean - margin),
            high=from_log_error(mean + margin),
            extrapolated=~(known & (distance <= self.validation.far) & self._within_macs(log_macs)),
            distance=distance,
            recipe=name,
            recipe_source=self.pool.sources.get(
                name, "none in particular; the spread of recipes is in the interval"
            ),
            dataset=self.pool.dataset,
            precision=self.pool.precision,
            int8_loss=self.pool.int8_loss,
        )

    def for_space(
        self, space: SearchSpace, macs: CostTables | None = None, recipe: str | None = None
    ) -> SpaceAccuracy:
        """Return the predictor of a space's genomes, made to be called often.

        Args:
            space: Of the pool's kind of blocks and number of stages.
            macs: MACs of its networks at its batch; None to lay them out here, which takes seconds.
            recipe: One of `recipes`; None for the default.

        Raises:
            ConfigError: Unknown recipe, or a space of other networks than the pool's.
        """
        return SpaceAccuracy.of(self, space, macs, recipe)

    def check(self, space: SearchSpace) -> None:
        """Refuse a space whose networks the predictor cannot rank.

        Raises:
            ConfigError: Other blocks, strides or number of stages than the pool's, or a choice that it never had.
        """
        if (reason := self.pool.structure.refusal(space)) is not None:
            raise ConfigError(f"no accuracy predictor for {space.name}: {reason}; or {HOW_TO_FIT}")

    def resolve_recipe(self, recipe: str | None) -> tuple[str, int]:
        """Return a recipe's name and number.

        Raises:
            ConfigError: The pool has no such recipe.
        """
        name = recipe or self.default_recipe
        if name == UNKNOWN_RECIPE:
            return name, NO_RECIPE
        if name not in self.pool.recipe_names:
            raise ConfigError(f"unknown recipe {name!r}; known: {', '.join(self.recipes)}")
        return name, self.pool.recipe_names.index(name)

    @cached_property
    def macs_range(self) -> tuple[int, int]:
        """Lowest and highest MACs in the pool."""
        lowest, highest = np.exp(self.pool.log_macs.min()), np.exp(self.pool.log_macs.max())
        return round(float(lowest)), round(float(highest))

    def summary(self) -> dict[str, Any]:
        """Return what a person wants to know of the predictor, as plain data."""
        model, names = self.model, self.pool.structure.feature_names
        return {
            "kernel": model.kernel.name,
            "seed": self.seed,
            "dataset": self.pool.dataset,
            "precision": self.pool.precision,
            "int8_loss_points": self.pool.int8_loss,
            "networks": len(set(self.pool.names)),
            "trainings": len(self.pool),
            "recipes": {
                name: {
                    "source": self.pool.sources[name],
                    "networks": len(
                        {n for n, r in zip(self.pool.names, self.pool.recipes, strict=True) if r == name}
                    ),
                    "trainings": self.pool.recipes.count(name),
                }
                for name in self.pool.recipe_names
            },
            "default_recipe": self.default_recipe,
            "macs_range": self.macs_range,
            "offsets_log_error": {name: model.offset(i) for i, name in enumerate(self.pool.recipe_names)},
            "offset_sd": model.offset_sd,
            "structure_sd": model.structure_sd,
            "own_sd": model.own_sd,
            "noise_sd": model.noise_sd,
            "seed_noise": model.seeds.to_dict(),
            "slope": model.line()[1],
            "length_scales": dict(zip(names, model.kernel.scales.tolist(), strict=True)),
            "share_of_whole": model.kernel.whole[1] if model.kernel.whole else 0.0,
            "validation": asdict(self.validation),
        }

    def _spread(self, features: FloatArray, recipe: int) -> FloatArray:
        """Return the variance between families that an interval includes, in log error, shape `n`."""
        full = (self.validation.factor * self.model.offset_sd) ** 2
        if recipe == NO_RECIPE:
            return np.full(len(features), full)
        return full * spread_share(self.model.nearest(features, recipe), self.validation.near)

    def _within_macs(self, log_macs: FloatArray) -> BoolArray:
        known = self.pool.log_macs
        within: BoolArray = (log_macs >= known.min() - _SAME_MACS) & (log_macs <= known.max() + _SAME_MACS)
        return within
