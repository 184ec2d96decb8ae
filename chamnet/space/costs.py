"""Additive costs over a space's chain: totals by gathering, extremes by dynamic programming."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from chamnet.space.space import Levels, SearchSpace

__all__ = ["CostTables"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CostTables:
    """An additive cost of a space's networks, one table per link of its chain.

    Attributes:
        space: The space.
        axes: For each link, the positions in `SearchSpace.axes` of what it depends on.
        tables: For each link, its cost over those axes.
    """

    space: SearchSpace
    axes: tuple[tuple[int, ...], ...]
    tables: tuple[FloatArray, ...]

    def restricted(self, space: SearchSpace) -> "CostTables":
        """Return the costs of a part of the space, as `SearchSpace.restricted` gives it."""
        kept = [
            [axis.values.index(value) for value in part.values]
            for axis, part in zip(self.space.axes, space.axes, strict=True)
        ]
        tables = (
            table[np.ix_(*(kept[axis] for axis in linked))]
            for linked, table in zip(self.axes, self.tables, strict=True)
        )
        return CostTables(space, self.axes, tuple(tables))

    def total(self, levels: Levels) -> FloatArray:
        """Return the cost of each genome, shape `n`."""
        flat, strides = self._flat
        # link x n; the product is exact in floating point, and fast
        places = (strides @ levels.T.astype(strides.dtype)).astype(np.intp)
        total = np.zeros(len(levels))
        for table, at in zip(flat, places, strict=True):
            total += table.take(at)
        return total

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Return the lowest and highest cost at each resolution, each of shape `resolutions`.

        Exact: dynamic programming along the chain over the filters that neighbouring links share.
        """
        return self._extreme(np.minimum), self._extreme(np.maximum)

    @cached_property
    def _flat(self) -> tuple[list[FloatArray], npt.NDArray[np.floating[Any]]]:
        """The tables laid flat, and what a level of each decision moves a place in them by, shape `links x d`."""
        free = [i for i, axis in enumerate(self.space.axes) if len(axis.values) > 1]
        largest = max(table.size for table in self.tables)
        strides = np.zeros((len(self.tables), len(free)), dtype=np.float32 if largest < 2**24 else np.float64)
        for row, linked, table in zip(strides, self.axes, self.tables, strict=True):
            steps = np.cumprod((1, *table.shape[:0:-1]))[::-1]
            for axis, step in zip(linked, steps, strict=True):
                if axis in free:
                    row[free.index(axis)] = step
        return [np.ascontiguousarray(table).ravel() for table in self.tables], strides

    def lowest(self) -> Levels:
        """Return the cheapest genome, shape `1 x d`; of equals, the lowest resolution, then the lowest levels."""
        each = self.lowest_each()
        return each[[int(np.argmin(self.total(each)))]]

    def highest(self) -> Levels:
        """Return the dearest genome, shape `1 x d`."""
        return CostTables(self.space, self.axes, tuple(-table for table in self.tables)).lowest()

    def lowest_each(self) -> Levels:
        """Return the cheapest genome at each resolution, shape `resolutions x d`, by backtracking."""
        axes = self.space.axes
        resolutions = np.arange(len(axes[0].values))
        chosen = {axis: np.zeros_like(resolutions) for axis in range(len(axes))} | {0: resolutions}
        for step in reversed([step for step in self._sweep(np.minimum) if step.done]):
            known = [axis for axis in step.axes if axis not in step.done]
            order = [step.axes.index(axis) for axis in (*known, *step.done)]
            rest = step.spread.transpose(order)[tuple(chosen[axis] for axis in known)]  # resolution, done...
            best = np.unravel_index(rest.reshape(len(rest), -1).argmin(axis=1), rest.shape[1:])
            chosen.update(zip(step.done, best, strict=True))
        full = np.array([chosen[axis] for axis in range(len(axes))], dtype=np.int32).T
        return full[:, [axis for axis in range(len(axes)) if len(axes[axis].values) > 1]]

    def _extreme(self, pick: np.ufunc) -> FloatArray:
        *_, last = self._sweep(pick)
        return last.best

    def _sweep(self, pick: np.ufunc) -> Iterator["_Step"]:
        """Go along the chain, adding each link and picking over every axis that no later link needs."""
        held: tuple[int, ...] = ()  # axes that later links still need, beside resolution
        best = np.zeros(len(self.space.resolution.values))
        for position, (linked, table) in enumerate(zip(self.axes, self.tables, strict=True)):
            later = {axis for after in self.axes[position + 1 :] for axis in after}
            axes = (0, *held, *(axis for axis in linked if axis not in (0, *held)))
            spread = np.expand_dims(best, tuple(range(best.ndim, len(axes))))
            order = [linked.index(axis) for axis in axes if axis in linked]
            missing = tuple(i for i, axis in enumerate(axes) if axis not in linked)
            spread = spread + np.expand_dims(table.transpose(order), missing)
            done = tuple(axis for axis in axes if axis != 0 and axis not in later)
            best = pick.reduce(spread, axis=tuple(map(axes.index, done))) if done else spread
            held = tuple(axis for axis in axes if axis != 0 and axis not in done)
            yield _Step(axes, done, spread, best)


@dataclass(frozen=True)
class _Step:
    """One link of a sweep.

    Attributes:
        axes: Those of `spread`; resolution first.
        done: Those picked over, so that `best` no longer has them.
        spread: Best cost up to and with this link.
        best: The same after the pick.
    """

    axes: tuple[int, ...]
    done: tuple[int, ...]
    spread: FloatArray
    best: FloatArray
