"""Paths through a trellis with their exact sums, extended layer by layer: label setting, [Irnich2005]_.

A label is dropped when a bound says that nothing which begins with it is good enough, when it can no longer keep the
budgets, or when another label at its node is no worse in anything and stays so, whatever follows.

References:
    [Irnich2005] Shortest Path Problems with Resource Constraints. In: Column Generation. Springer 2005.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chamnet.search.bins import BinnedBound
from chamnet.search.trellis import Layer, Trellis

__all__ = ["Enumerated", "Enumerator"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

_AT_ONCE = 2**20  # extensions looked at together
_SPARE = 4  # times the room that labels have until some are found to be beaten by others
_ROUNDING = 1e-9  # relative, of budgets: whoever asked checks the answer exactly


@dataclass(frozen=True, eq=False, slots=True)
class _Labels:
    """Paths that end before one layer.

    Attributes:
        node: Where each ends, shape `n`.
        score, macs: Sums along each, shape `n`.
        costs: Of each, shape `k x n`.
        bound: What no network that begins so exceeds, shape `n`.
        parent: Row among the labels one layer before, shape `n`.
        arc: That led here from there, shape `n`.
    """

    node: IntArray
    score: FloatArray
    macs: FloatArray
    costs: FloatArray
    bound: FloatArray
    parent: IntArray
    arc: IntArray

    def take(self, rows: npt.NDArray[np.generic]) -> "_Labels":
        """Return some of the labels."""
        return _Labels(
            self.node[rows],
            self.score[rows],
            self.macs[rows],
            self.costs[:, rows],
            self.bound[rows],
            self.parent[rows],
            self.arc[rows],
        )


@dataclass(frozen=True, eq=False, slots=True)
class Enumerated:
    """Networks whose value reaches what was asked for.

    Attributes:
        paths: Arcs in each layer, each of shape `n`, the best first.
        value: Their exact sums, shape `n`.
        dropped: What no network left out for want of room exceeds; minus infinity where none was.
    """

    paths: tuple[IntArray, ...]
    value: FloatArray
    dropped: float


class Enumerator:
    """Lists the best networks of a trellis within budgets.

    Args:
        trellis: The networks.
        limits: The budgets, shape `k`.
        bounds: Each holds for every network; the lowest counts.
        dominance: Whether to drop what is no better than another: some best network remains, the others may go.
    """

    def __init__(
        self, trellis: Trellis, limits: FloatArray, bounds: Sequence[BinnedBound], *, dominance: bool = True
    ) -> None:
        self._trellis, self._bounds, self._dominance = trellis, bounds, dominance
        self._limits = limits * (1 + _ROUNDING)
        self._least = [trellis.to_go(trellis.costs(k), np.minimum) for k in range(len(limits))]
        self._macs = [trellis.to_go(trellis.macs, pick) for pick in (np.minimum, np.maximum)]

    def run(self, least: float, room: int) -> Enumerated:
        """Return the networks whose value is at least `least`, the best `room` labels of each layer followed."""
        steps, dropped = [self._sources()], -np.inf
        for at in range(len(self._trellis.layers)):
            labels, lost = _best(self._extended(steps[-1], at, least), _SPARE * room)
            dropped = max(dropped, lost)
            if self._dominance and len(labels.node):
                labels = labels.take(self._undominated(labels, at + 1))
            labels, lost = _best(labels, room)
            dropped = max(dropped, lost)
            steps.append(labels)
        rows = np.argsort(-steps[-1].bound, kind="stable")
        value, paths = steps[-1].bound[rows], []
        for labels in reversed(steps[1:]):
            paths.append(labels.arc[rows])
            rows = labels.parent[rows]
        return Enumerated(tuple(paths[::-1]), value, dropped)

    def _sources(self) -> _Labels:
        count = self._trellis.layers[0].tails
        rows, zeros = np.arange(count), np.zeros(count)
        costs = np.zeros((len(self._limits), count))
        return _Labels(rows, zeros, zeros, costs, np.full(count, np.inf), rows, rows)

    def _extended(self, labels: _Labels, at: int, least: float) -> _Labels:
        """Return what is left of the labels' extensions by every arc of a layer."""
        layer = self._trellis.layers[at]
        first, count = (each[labels.node] for each in layer.spans)
        ends = np.cumsum(count)
        parts: list[_Labels] = []
        begin = 0
        while begin < len(ends) or not parts:
            before = ends[begin - 1] if begin else 0
            end = max(begin + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
            rows = np.repeat(np.arange(begin, min(end, len(ends))), count[begin:end])
            arcs = np.arange(len(rows)) - (ends - count)[rows] + before + first[rows]
            parts.append(self._followed(labels, layer, at, rows, arcs, least))
            begin = end
        return _joined(parts)

    def _followed(
        self, labels: _Labels, layer: Layer, at: int, rows: IntArray, arcs: IntArray, least: float
    ) -> _Labels:
        """Return the extensions of rows by arcs that may still lead to what is wanted."""
        node, costs = layer.head[arcs], labels.costs[:, rows] + layer.costs[:, arcs]
        fits = np.ones(len(rows), dtype=np.bool_)
        for k, limit in enumerate(self._limits):
            fits &= costs[k] + self._least[k][at + 1][node] <= limit
        rows, arcs, node, costs = rows[fits], arcs[fits], node[fits], costs[:, fits]
        score, macs = labels.score[rows] + layer.score[arcs], labels.macs[rows] + layer.macs[arcs]
        bound = labels.bound[rows]
        if at + 1 == len(self._trellis.layers):
            bound = score + self._trellis.slope * np.log(macs) if self._trellis.slope else score
        else:
            for each in self._bounds:
                bound = np.minimum(bound, each.bound(at + 1, node, score, macs, costs))
        made = _Labels(node, score, macs, costs, bound, rows, arcs)
        return made.take(bound >= least)

    def _undominated(self, labels: _Labels, at: int) -> IntArray:
        """Return the labels of each node that are not beaten by the best of those that cost less.

        Whatever follows adds as many MACs to both, so the difference of two logarithms only shrinks or grows with
        them: it is enough to compare at the fewest and the most that may follow.
        """
        few, many = (
            labels.score + self._trellis.slope * np.log(np.maximum(labels.macs + each[at][labels.node], 1.0))
            for each in self._macs
        )
        first_cost = labels.costs[0] if len(labels.costs) else np.zeros(len(labels.node))
        order = np.lexsort((-many, -few, first_cost, labels.node))
        node, few, many = labels.node[order], few[order], many[order]
        apart = np.cumsum(np.diff(node, prepend=node[0]) != 0) * (float(np.ptp(few)) + 1.0)
        raised = few - few.min() + apart  # nodes one above the other, so that the running maximum starts anew
        at_top = raised >= np.maximum.accumulate(raised)
        rival = np.maximum.accumulate(np.where(at_top, np.arange(len(node)), 0))
        beaten = (rival < np.arange(len(node))) & (many[rival] >= many) & (few[rival] >= few)
        for cost in labels.costs[1:]:
            beaten &= cost[order][rival] <= cost[order]
        return np.sort(order[~beaten])


def _best(labels: _Labels, room: int) -> tuple[_Labels, float]:
    """Return the labels of the highest bounds, and the highest bound of the others."""
    if len(labels.node) <= room:
        return labels, -np.inf
    order = np.argpartition(-labels.bound, room)
    return labels.take(np.sort(order[:room])), float(labels.bound[order[room:]].max())


def _joined(parts: Sequence[_Labels]) -> _Labels:
    if len(parts) == 1:
        return parts[0]
    return _Labels(
        *(
            np.concatenate([getattr(part, name) for part in parts], axis=-1)
            for name in ("node", "score", "macs", "costs", "bound", "parent", "arc")
        )
    )
