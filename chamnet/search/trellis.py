"""A space's networks as paths through layers of arcs: what dynamic programming walks on.

A *node* stands between two links of the chain: a resolution, and the filters that both links share. An *arc* is one
choice of everything else in a link. So every network is a path, and whatever adds up along the chain adds up along it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from chamnet.predictors.separable import Separable
from chamnet.space import CostTables, Levels, SearchSpace

__all__ = ["Layer", "Trellis"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]
Weights = Sequence[FloatArray]

_ROUNDING = 1e-9  # relative, of limits: sums in another order must not lose a path that just fits


@dataclass(frozen=True, eq=False)
class Layer:
    """The `n` arcs of one link, in the order of their tails.

    Attributes:
        axes: Positions in `SearchSpace.axes` of what the link depends on.
        levels: Their levels on each arc, shape `n x len(axes)`.
        tail, head: Nodes that an arc leads from and to, shape `n`.
        tails, heads: How many nodes there are.
        score: What arcs add to the accuracy's sum, shape `n`.
        macs: MACs, shape `n`.
        costs: Budgeted metrics, shape `k x n`.
    """

    axes: tuple[int, ...]
    levels: IntArray
    tail: IntArray
    head: IntArray
    tails: int
    heads: int
    score: FloatArray
    macs: FloatArray
    costs: FloatArray

    def keep(self, mask: BoolArray) -> "Layer":
        """Return the layer with some of its arcs."""
        if mask.all():
            return self
        return replace(
            self,
            levels=self.levels[mask],
            tail=self.tail[mask],
            head=self.head[mask],
            score=self.score[mask],
            macs=self.macs[mask],
            costs=self.costs[:, mask],
        )

    def part(self, number: int, count: int) -> "Layer":
        """Return one of `count` parts that have equally many nodes each, numbered in order."""
        tails, heads = self.tails // count, self.heads // count
        mine = self.keep(self.tail // tails == number)
        return replace(
            mine, tail=mine.tail - number * tails, head=mine.head - number * heads, tails=tails, heads=heads
        )

    @cached_property
    def spans(self) -> tuple[IntArray, IntArray]:
        """First arc of each tail, and how many it has, each of shape `tails`."""
        counts = np.bincount(self.tail, minlength=self.tails)
        return np.cumsum(counts) - counts, counts

    @cached_property
    def _by_tail(self) -> tuple[IntArray, IntArray]:
        """Where each tail's arcs start, and which tail it is."""
        starts = np.flatnonzero(np.diff(self.tail, prepend=-1))
        return starts, self.tail[starts]

    @cached_property
    def _by_head(self) -> tuple[IntArray, IntArray, IntArray]:
        """The arcs in the order of their heads, where each head's start, and which head it is."""
        order = np.argsort(self.head, kind="stable")
        heads = self.head[order]
        starts = np.flatnonzero(np.diff(heads, prepend=-1))
        return order, starts, heads[starts]

    def best_of_tails(self, values: FloatArray, pick: np.ufunc, empty: float) -> FloatArray:
        """Reduce values of arcs (`n x ...`) to their tails (`tails x ...`); `empty` where a tail has no arc."""
        return _reduced(values, *self._by_tail, self.tails, pick, empty)

    def best_of_heads(self, values: FloatArray, pick: np.ufunc, empty: float) -> FloatArray:
        """Reduce values of arcs (`n x ...`) to their heads (`heads x ...`)."""
        order, starts, nodes = self._by_head
        return _reduced(values[order], starts, nodes, self.heads, pick, empty)


def _reduced(
    values: FloatArray, starts: IntArray, nodes: IntArray, count: int, pick: np.ufunc, empty: float
) -> FloatArray:
    """Reduce rows that lie together by node."""
    best = np.full((count, *values.shape[1:]), empty)
    if len(nodes):
        best[nodes] = pick.reduceat(values, starts, axis=0)
    return best


@dataclass(frozen=True, eq=False)
class Trellis:
    """The layers of a space, in order; each resolution has a source before the first and a sink behind the last.

    Attributes:
        space: The space.
        layers: One for each link.
        slope: Of the logarithm of the MACs in the accuracy's sum.
    """

    space: SearchSpace
    layers: tuple[Layer, ...]
    slope: float

    @classmethod
    def build(cls, accuracy: Separable, costs: Sequence[CostTables]) -> "Trellis":
        """Lay out a space.

        Args:
            accuracy: What is maximised.
            costs: The `k` budgeted metrics, on the same links.

        Raises:
            ValueError: The links are no chain, or not the same everywhere.
        """
        space, links = accuracy.parts.space, accuracy.parts.axes
        if any(tables.axes != links for tables in (accuracy.macs, *costs)):
            raise ValueError("accuracy, MACs and costs have different links")
        layers: list[Layer] = []
        before: tuple[int, ...] = ()
        for position, linked in enumerate(links):
            later = {axis for after in links[position + 1 :] for axis in after}
            after = tuple(axis for axis in linked if axis != 0 and axis in later)
            if len(after) > 1 or linked[0] != 0 or not set(before) <= set(linked):
                raise ValueError(f"link {position} over axes {linked} is not part of a chain")
            tables = [each.tables[position] for each in (accuracy.parts, accuracy.macs, *costs)]
            layers.append(_layer(linked, before, after, tables))
            before = after
        return cls(space, tuple(layers), accuracy.slope)

    @property
    def arcs(self) -> int:
        """How many arcs there are."""
        return sum(len(layer.tail) for layer in self.layers)

    def keep(self, masks: Sequence[BoolArray]) -> "Trellis":
        """Return the trellis with some of its arcs."""
        kept = tuple(layer.keep(mask) for layer, mask in zip(self.layers, masks, strict=True))
        return replace(self, layers=kept)

    def parts(self) -> list["Trellis"]:
        """Return the trellis of each resolution by itself: they share no arcs."""
        count = self.layers[0].tails
        return [
            replace(self, layers=tuple(layer.part(number, count) for layer in self.layers))
            for number in range(count)
        ]

    def undominated(self) -> "Trellis":
        """Leave out arcs beside which one of the same nodes is no worse in anything: some best network remains."""
        return self.keep([_undominated(layer, self.slope) for layer in self.layers])

    @property
    def macs(self) -> list[FloatArray]:
        """MACs of each layer's arcs."""
        return [layer.macs for layer in self.layers]

    def costs(self, k: int) -> list[FloatArray]:
        """Return the `k`-th cost of each layer's arcs."""
        return [layer.costs[k] for layer in self.layers]

    def to_go(self, weights: Weights, pick: np.ufunc = np.maximum) -> list[FloatArray]:
        """Return the best sum of weights from each node to its sink.

        Args:
            weights: Of each layer's arcs.
            pick: Which sum is best: maximum or minimum.

        Returns:
            One array for the nodes before each layer, and zeros for the sinks; infinite where no path leads on.
        """
        worst = -np.inf if pick is np.maximum else np.inf
        best = [np.zeros(self.layers[-1].heads)]
        for layer, weight in zip(reversed(self.layers), reversed(weights), strict=True):
            best.append(layer.best_of_tails(weight + best[-1][layer.head], pick, worst))
        return best[::-1]

    def so_far(self, weights: Weights, pick: np.ufunc = np.maximum) -> list[FloatArray]:
        """Return the best sum of weights from a source to each node, as `to_go` does."""
        worst = -np.inf if pick is np.maximum else np.inf
        best = [np.zeros(self.layers[0].tails)]
        for layer, weight in zip(self.layers, weights, strict=True):
            best.append(layer.best_of_heads(best[-1][layer.tail] + weight, pick, worst))
        return best

    def best_path(self, weights: Weights) -> tuple[float, list[IntArray]]:
        """Return the highest sum of weights, and the arcs of the path that has it, one array of one for each layer."""
        to_go = self.to_go(weights)
        node = int(to_go[0].argmax())
        worth, path = float(to_go[0][node]), []
        for layer, weight, best in zip(self.layers, weights, to_go[1:], strict=True):
            first, count = (each[node] for each in layer.spans)
            arcs = slice(first, first + count)
            arc = int(first + (weight[arcs] + best[layer.head[arcs]]).argmax())
            path.append(np.array([arc]))
            node = layer.head[arc]
        return worth, path

    def arcs_costing(self, k: int, limit: float) -> list[BoolArray]:
        """Return which arcs lie on a path whose `k`-th cost is no more than a limit."""
        limit += _ROUNDING * abs(limit)
        to_go, so_far = self.to_go(self.costs(k), np.minimum), self.so_far(self.costs(k), np.minimum)
        return [
            so_far[i][layer.tail] + layer.costs[k] + to_go[i + 1][layer.head] <= limit
            for i, layer in enumerate(self.layers)
        ]

    def sums(self, weights: Weights, paths: Sequence[IntArray]) -> FloatArray:
        """Return the sum of weights along paths, given by their arcs in each layer, each of shape `n`."""
        sums = np.zeros(len(paths[0]))
        for weight, arcs in zip(weights, paths, strict=True):
            sums += weight[arcs]
        return sums

    def values(self, paths: Sequence[IntArray]) -> FloatArray:
        """Return the accuracy's sum along paths, shape `n`."""
        values = self.sums([layer.score for layer in self.layers], paths)
        return values + self.slope * np.log(self.sums(self.macs, paths)) if self.slope else values

    def genomes(self, paths: Sequence[IntArray]) -> Levels:
        """Return networks as levels, shape `n x d`, from the arcs they take in each layer, each of shape `n`."""
        full = np.zeros((len(paths[0]), len(self.space.axes)), dtype=np.int32)
        for layer, arcs in zip(self.layers, paths, strict=True):
            full[:, layer.axes] = layer.levels[arcs]
        free = [i for i, axis in enumerate(self.space.axes) if len(axis.values) > 1]
        return full[:, free]


def _layer(
    linked: tuple[int, ...], before: tuple[int, ...], after: tuple[int, ...], tables: Sequence[FloatArray]
) -> Layer:
    """Return a link's arcs: resolution and shared axes first, so that tails come in order."""
    shared = (0, *before, *(axis for axis in after if axis not in before))
    axes = (*shared, *(axis for axis in linked if axis not in shared))
    order = [linked.index(axis) for axis in axes]
    score, macs, *costs = (table.transpose(order).ravel() for table in tables)
    shape = [tables[0].shape[i] for i in order]
    levels = np.indices(shape).reshape(len(axes), -1).T
    size = dict(zip(axes, shape, strict=True))

    def nodes(ends: tuple[int, ...]) -> tuple[IntArray, int]:
        found, count = levels[:, 0], size[0]
        for axis in ends:
            found, count = found * size[axis] + levels[:, axes.index(axis)], count * size[axis]
        return found, count

    (tail, tails), (head, heads) = nodes(before), nodes(after)
    return Layer(axes, levels, tail, head, tails, heads, score, macs, np.array(costs).reshape(len(costs), -1))


def _undominated(layer: Layer, slope: float) -> BoolArray:
    """Return which arcs of a full layer have no better one between the same nodes."""
    choices = len(layer.tail) // (len(np.unique(layer.tail * layer.heads + layer.head)) or 1)
    if choices == 1:
        return np.ones(len(layer.tail), dtype=np.bool_)
    wanted = [layer.score, *-layer.costs]
    if slope:
        wanted.append(np.sign(slope) * layer.macs)
    shape = (-1, choices)
    no_worse = np.ones((len(layer.tail) // choices, choices, choices), dtype=np.bool_)  # second beside first
    better = np.zeros_like(no_worse)
    for each in wanted:
        first, second = each.reshape(shape)[:, :, None], each.reshape(shape)[:, None, :]
        no_worse &= second >= first
        better |= second > first
    earlier = np.arange(choices)[None, :] < np.arange(choices)[:, None]  # of equals, the first stays
    dominated: BoolArray = (no_worse & (better | earlier)).any(axis=2).ravel()
    return ~dominated
