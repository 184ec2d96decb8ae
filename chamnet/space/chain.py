"""A space as a chain of links, vectorised: genomes -> units -> sums, with one gather per link.

Every unit of a network lies in one *link* (stem, each stage, head, classifier), and which units a link
holds depends on few decisions: resolution, the filters before it, and its own. So each link has
a small table of unit indices over those axes. A cost per unit turns it into a table of link costs, and the
cost of a network is the sum of one entry per link.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from chamnet.networks import Stage, blocks
from chamnet.networks.architecture import stage_block
from chamnet.space.costs import CostTables
from chamnet.space.space import Axis, Levels, SearchSpace, StageAxes
from chamnet.units import Granularity, Unit

__all__ = ["Link", "UnitGrid", "unit_grid"]

IntArray = npt.NDArray[np.int32]
ABSENT = -1


@dataclass(frozen=True)
class Link:
    """One link of the chain.

    Attributes:
        axes: Positions in `SearchSpace.axes` of what it depends on.
        units: Unit indices, shape `len(axis 0) x ... x slots`; `ABSENT` where a slot is empty.
    """

    axes: tuple[int, ...]
    units: IntArray


@dataclass(frozen=True)
class UnitGrid:
    """Every distinct unit that some genome of a space contains, in a fixed order.

    Attributes:
        space: The space.
        granularity: `op` or `block`.
        units: The distinct units.
        links: The chain.
    """

    space: SearchSpace
    granularity: Granularity
    units: tuple[Unit, ...]
    links: tuple[Link, ...]

    @cached_property
    def index(self) -> dict[str, int]:
        """Unit key -> position in `units`."""
        return {unit.key: i for i, unit in enumerate(self.units)}

    @cached_property
    def macs(self) -> CostTables:
        """Link tables of the MACs."""
        return self.tables([unit.macs for unit in self.units])

    def unit_indices(self, levels: Levels) -> IntArray:
        """Return the units of each genome, in order, shape `n x L`; `ABSENT` where a slot is empty."""
        full = self._all_axes(levels)
        return np.concatenate(
            [link.units[tuple(full[:, axis] for axis in link.axes)] for link in self.links], axis=1
        )

    def tables(self, cost: npt.ArrayLike) -> CostTables:
        """Return the link tables of an additive cost.

        Args:
            cost: Cost of each unit of the grid, shape `len(units)`.
        """
        padded = np.append(np.asarray(cost, dtype=np.float64), 0.0)  # ABSENT is -1: the appended zero
        tables = tuple(padded[link.units].sum(axis=-1) for link in self.links)
        return CostTables(self.space, tuple(link.axes for link in self.links), tables)

    def _all_axes(self, levels: Levels) -> IntArray:
        free = [i for i, axis in enumerate(self.space.axes) if len(axis.values) > 1]
        full = np.zeros((len(levels), len(self.space.axes)), dtype=np.int32)
        full[:, free] = levels
        return full


@lru_cache(maxsize=4)
def unit_grid(space: SearchSpace, granularity: Granularity = "block") -> UnitGrid:
    """Return every distinct unit of a space, and the chain that says which genome holds which; kept, as it takes seconds."""
    builder = _Builder(space, granularity)
    links = tuple(builder.links())
    return UnitGrid(space, granularity, tuple(builder.units), links)


class _Builder:
    """Numbers units in order of first appearance while the links are laid out."""

    def __init__(self, space: SearchSpace, granularity: Granularity) -> None:
        self.space = space
        self.granularity = granularity
        self.units: dict[Unit, int] = {}
        self._arch = space.architecture(space.extreme(largest=True))

    def links(self) -> Iterator[Link]:
        space = self.space
        sides = [self._stem_units(r, space.stem.values[0])[-1].out_shape[2] for r in space.resolution.values]
        yield self._table((0, 1), (space.resolution, space.stem), self._stem_units)
        before = 1  # axis that holds the filters going into the next link
        for number, stage in enumerate(space.stages):
            yield self._stage(number, sides, before)
            sides = [(side - 1) // stage.stride + 1 for side in sides]
            before = space.axes.index(stage.filters)
        side_of = dict(zip(space.resolution.values, sides, strict=True))
        head_axis = len(space.axes) - 1
        tail_axis = before
        if space.head.values != (0,):
            axes = (space.resolution, space.axes[before], space.head)

            def head_units(resolution: int, channels: int, filters: int) -> list[Unit]:
                return [self._head(side_of[resolution], channels, filters)]

            yield self._table((0, before, head_axis), axes, head_units)
            tail_axis = head_axis

        def tail_units(resolution: int, channels: int) -> list[Unit]:
            return self._tail_units(side_of[resolution], channels)

        yield self._table((0, tail_axis), (space.resolution, space.axes[tail_axis]), tail_units)

    def _stem_units(self, resolution: int, filters: int) -> list[Unit]:
        bottleneck = self.space.family == "bottleneck"
        image = blocks.Shape(self.space.batch, 3, resolution, resolution)
        kernel = 7 if bottleneck else 3
        stem = blocks.conv(image, filters, kernel=kernel, stride=2, act=self.space.activation)
        return [stem, blocks.maxpool(blocks.Shape(*stem.out_shape))] if bottleneck else [stem]

    def _head(self, side: int, channels: int, filters: int) -> Unit:
        return blocks.conv(self._shape(channels, side), filters, act=self.space.activation)

    def _tail_units(self, side: int, channels: int) -> list[Unit]:
        pool = blocks.global_pool(self._shape(channels, side))
        return [pool, blocks.classifier(blocks.Shape(*pool.out_shape), self.space.classes)]

    def _shape(self, channels: int, side: int) -> blocks.Shape:
        return blocks.Shape(self.space.batch, channels, side, side)

    def _table(
        self, axes: tuple[int, ...], values: tuple[Axis, ...], make: Callable[..., list[Unit]]
    ) -> Link:
        rows = [self._number(make(*choice)) for choice in product(*(axis.values for axis in values))]
        return Link(axes, np.array(rows, dtype=np.int32).reshape(*(len(axis.values) for axis in values), -1))

    def _stage(self, number: int, sides: list[int], before: int) -> Link:
        """Lay out a stage over (resolution, filters before, expansion, filters, kernel, se, blocks)."""
        stage, space = self.space.stages[number], self.space
        after = [(side - 1) // stage.stride + 1 for side in sides]
        first = self._block_table(sides, space.axes[before].values, number, stage.stride)
        depths = np.array(stage.blocks.values)
        repeats: list[IntArray] = []
        if depths[-1] > 1:  # else no genome repeats the block, and the grid must not hold it
            same = self._repeat_table(after, number)[:, None]  # one for all filters before
            repeats = [
                np.where((depths > depth)[:, None], same[..., None, :], ABSENT)
                for depth in range(1, int(depths[-1]))
            ]
        shape = (*first.shape[:-1], len(depths))
        slots = [np.broadcast_to(part, (*shape, part.shape[-1])) for part in (first[..., None, :], *repeats)]
        axes = (*_axes_of_block(stage), stage.blocks)
        return Link((0, before, *map(space.axes.index, axes)), np.concatenate(slots, axis=-1))

    def _block_table(self, sides: list[int], channels: tuple[int, ...], number: int, stride: int) -> IntArray:
        """Return units of a stage's first block over (resolution, channels in, the block's axes, slot)."""
        own = [axis.values for axis in _axes_of_block(self.space.stages[number])]
        rows = [
            self._block(side, channels_in, chosen, stride)
            for side, channels_in, *chosen in product(sides, channels, *own)
        ]
        return _padded(rows).reshape(len(sides), len(channels), *map(len, own), -1)

    def _repeat_table(self, sides: list[int], number: int) -> IntArray:
        """Return units of a stage's other blocks over (resolution, the block's axes, slot)."""
        own = [axis.values for axis in _axes_of_block(self.space.stages[number])]
        rows = [self._block(side, chosen[1], chosen, 1) for side, *chosen in product(sides, *own)]
        return _padded(rows).reshape(len(sides), *map(len, own), -1)

    def _block(self, side: int, channels: int, chosen: Sequence[int], stride: int) -> list[int]:
        """Return the numbers of a block's units; `chosen` as in `_axes_of_block`."""
        expansion, filters, kernel, se = chosen
        stage = Stage(
            expansion=expansion, filters=filters, blocks=1, stride=stride, kernel=kernel, se=bool(se)
        )
        return self._number([stage_block(self._arch, stage, self._shape(channels, side), stride)])

    def _number(self, made: list[Unit]) -> list[int]:
        made = [unit.cast(self.space.dtype) for unit in made]
        if self.granularity == "op":
            made = [single for unit in made for single in unit.split()]
        return [self.units.setdefault(unit, len(self.units)) for unit in made]


def _axes_of_block(stage: StageAxes) -> tuple[Axis, ...]:
    return (stage.expansion, stage.filters, stage.kernel, stage.se)


def _padded(rows: list[list[int]]) -> IntArray:
    width = max(map(len, rows))
    return np.array([row + [ABSENT] * (width - len(row)) for row in rows], dtype=np.int32)
