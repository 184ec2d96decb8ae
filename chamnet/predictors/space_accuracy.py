"""Accuracies of a space's genomes, for searches that ask for millions."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from chamnet.predictors.base import AccuracyPrediction
from chamnet.predictors.gp import KernelName, profile_in_place, profile_scale
from chamnet.predictors.pool import from_log_error
from chamnet.predictors.separable import Separable
from chamnet.space import CostTables, Levels, SearchSpace, unit_grid

if TYPE_CHECKING:
    from chamnet.predictors.accuracy import AccuracyPredictor

__all__ = ["SpaceAccuracy", "Term"]

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

_CHUNK = 512  # rows whose distances to a pool of some hundreds stay in a core's own cache


@dataclass(frozen=True, eq=False, slots=True)
class Term:
    """One stage's part of an additive predictor.

    Attributes:
        columns: Decisions it depends on.
        table: Negative log error over their levels, one axis for each column.
    """

    columns: tuple[int, ...]
    table: FloatArray


@dataclass(frozen=True, eq=False)
class SpaceAccuracy:
    """Predicts genomes of one space as trained with one recipe.

    Attributes:
        predictor: The predictor.
        space: The space.
        macs: MACs of its networks at its batch.
        recipe: Name of the recipe.
    """

    predictor: "AccuracyPredictor"
    space: SearchSpace
    macs: CostTables
    recipe: str

    @classmethod
    def of(
        cls, predictor: "AccuracyPredictor", space: SearchSpace, macs: CostTables | None, recipe: str | None
    ) -> "SpaceAccuracy":
        """Return the predictor of a space; see `AccuracyPredictor.for_space`."""
        name, _ = predictor.resolve_recipe(recipe)
        predictor.check(space)
        if macs is None:
            macs = unit_grid(space).macs
        if macs.space != space:
            raise ValueError(f"the MACs are of space {macs.space.name}, not {space.name}")
        return cls(predictor, space, macs, name)

    def top1(self, levels: Levels, macs: FloatArray | None = None) -> FloatArray:
        """Return predicted top-1 in percent, shape `n`; agrees with `predict` to 0.001 points.

        Args:
            levels: Genomes, shape `n x d`.
            macs: Their MACs at the space's batch, shape `n`, where already known.
        """
        intercept, slope = self.line
        value = intercept + slope * np.log(self.macs.total(levels) if macs is None else macs)
        for columns, strides, flat in self._gathers:
            value += flat[levels[:, columns] @ strides]
        if self.predictor.model.kernel.whole is not None:
            value += self._structure(levels)
        return from_log_error(value)

    def predict(self, levels: Levels, macs: FloatArray | None = None) -> AccuracyPrediction:
        """Return predictions with intervals, in double precision; arguments as for `top1`."""
        structure = self.predictor.pool.structure
        total = self.macs.total(levels) if macs is None else macs
        return self.predictor.predict_values(
            structure.values_of(self.space, levels),
            np.log(total / self.space.batch),
            inside=structure.admits_space(self.space),
            recipe=self.recipe,
        )

    @cached_property
    def line(self) -> tuple[float, float]:
        """Intercept and slope of the part linear in the logarithm of the MACs at the space's batch."""
        _, number = self.predictor.resolve_recipe(self.recipe)
        intercept, slope = self.predictor.model.line(number)
        return intercept - slope * float(np.log(self.space.batch)), slope

    @cached_property
    def _weights(self) -> FloatArray:
        """What correlations with the pool are summed with, shape `len(pool)`."""
        return self.predictor.model.structure_weights(self.predictor.resolve_recipe(self.recipe)[1])

    @cached_property
    def terms(self) -> tuple[Term, ...] | None:
        """The parts that add up, with `line`, to negative log error; None where the kernel is not additive.

        A search over stages can take them apart: `top1 = 100.5 - exp(-(line + sum of terms))`.
        """
        return self._tables if self.predictor.model.kernel.whole is None else None

    @cached_property
    def _tables(self) -> tuple[Term, ...]:
        return tuple(self._term(part) for part in self.predictor.model.kernel.taken_apart)

    @cached_property
    def separable(self) -> Separable | None:
        """The same predictor by link of the space's chain; None where it does not add up along it."""
        if self.terms is None:
            return None
        free = [i for i, axis in enumerate(self.space.axes) if len(axis.values) > 1]
        intercept, slope = self.line
        tables = [np.zeros(table.shape) for table in self.macs.tables]
        tables[0] += intercept
        for term in self.terms:
            axes = [free[column] for column in term.columns]
            link = next((i for i, linked in enumerate(self.macs.axes) if set(axes) <= set(linked)), None)
            if link is None:
                return None
            linked = self.macs.axes[link]
            order = np.argsort([linked.index(axis) for axis in axes])
            sizes = [len(self.space.axes[axis].values) if axis in axes else 1 for axis in linked]
            tables[link] = tables[link] + term.table.transpose(order).reshape(sizes)
        parts = CostTables(self.space, self.macs.axes, tuple(tables))
        return Separable(parts, self.macs, slope, from_log_error)

    def _term(self, part: tuple[int, ...]) -> Term:
        model, names = self.predictor.model, self.predictor.pool.structure.feature_names
        wanted = {names[i] for i in part}
        axes = [axis for axis in self._named_axes if axis[0] in wanted]
        sizes = [size for _, _, size in axes]
        grid = np.indices(sizes).reshape(len(axes), math.prod(sizes)).T
        levels = np.zeros((len(grid), len(self.space.decisions)), dtype=np.int32)
        columns = tuple(column for _, column, _ in axes)
        levels[:, columns] = grid
        correlation = model.kernel.correlate_part(part, self._features(levels), model.features)
        share = (1 - model.kernel.share) / len(model.kernel.parts)
        table = share * correlation @ self._weights
        return Term(columns, table.reshape(sizes))

    @cached_property
    def _named_axes(self) -> list[tuple[str, int, int]]:
        """For each decision: the pool's name of its axis, its column, its number of levels."""
        named = zip(self.predictor.pool.structure.names, self.space.axes, strict=True)
        free = [(name, axis) for name, axis in named if len(axis.values) > 1]
        return [(name, column, len(axis.values)) for column, (name, axis) in enumerate(free)]

    @cached_property
    def _gathers(self) -> list[tuple[list[int], npt.NDArray[np.int32], FloatArray]]:
        """For each term: decisions to read, their strides, its table laid flat."""
        gathers = []
        for term in self._tables:
            strides = np.cumprod((1, *term.table.shape[:0:-1]))[::-1].astype(np.int32)[: len(term.columns)]
            gathers.append((list(term.columns), strides, term.table.ravel()))
        return gathers

    def _features(self, levels: Levels) -> FloatArray:
        structure = self.predictor.pool.structure
        return structure.scale(structure.values_of(self.space, levels))

    def _structure(self, levels: Levels) -> Float32Array:
        """Return the structure term in single precision, shape `n`.

        Squared distances come from one matrix product: with `x` and `z` scaled, `[x, |x|^2, 1]` times
        `[-2 z, 1, |z|^2]`, and both norms are sums of numbers per level.
        """
        name, columns, tables, right, weights = self._product
        rows = np.empty((len(columns) + 2, len(levels)), dtype=np.float32)
        for row, column, table in zip(rows, columns, tables, strict=False):
            np.take(table, levels[:, column], out=row, mode="clip")
        scaled = rows[: len(columns)]
        np.einsum("ij,ij->j", scaled, scaled, out=rows[-2])
        rows[-1] = 1
        structure = np.empty(len(levels), dtype=np.float32)
        room = np.empty((2, min(_CHUNK, len(levels)), right.shape[1]), dtype=np.float32)
        for start in range(0, len(levels), _CHUNK):
            part = slice(start, min(start + _CHUNK, len(levels)))
            correlation, spare = room[:, : part.stop - part.start]
            np.matmul(rows[:, part].T, right, out=correlation)
            profile_in_place(name, correlation, spare)
            np.dot(correlation, weights, out=structure[part])
        return structure

    @cached_property
    def _product(self) -> tuple[KernelName, list[int], list[Float32Array], Float32Array, Float32Array]:
        """Kernel, decisions that are features, their scaled values by level, the right-hand matrix, and weights."""
        model, names = self.predictor.model, self.predictor.pool.structure.feature_names
        kernel, share = model.kernel.whole or (model.kernel, 0.0)
        known = model.features / kernel.scales
        chosen = [
            (names.index(name), column, size) for name, column, size in self._named_axes if name in names
        ]
        moving = [feature for feature, _, _ in chosen]
        still = np.setdiff1d(np.arange(len(names)), moving)  # the space leaves no choice there
        tables = [
            self._varied(column, size)[:, feature] / kernel.scales[feature]
            for feature, column, size in chosen
        ]
        apart = ((known - self._varied(0, 1) / kernel.scales)[:, still] ** 2).sum(axis=1)
        norms = (known[:, moving] ** 2).sum(axis=1) + apart
        right = np.concatenate([-2 * known[:, moving].T, np.ones((1, len(known))), norms[None]])
        return (
            kernel.name,
            [column for _, column, _ in chosen],
            [table.astype(np.float32) for table in tables],
            (profile_scale(kernel.name) * right).astype(np.float32),
            (share * self._weights).astype(np.float32),
        )

    def _varied(self, column: int, size: int) -> FloatArray:
        """Return features as one decision runs through its levels, shape `size x d`."""
        levels = np.zeros((size, len(self.space.decisions)), dtype=np.int32)
        levels[:, column] = np.arange(size)
        return self._features(levels)
