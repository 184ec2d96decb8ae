"""Upper bounds on the accuracy of all networks within budgets, that add up along the chain.

Two steps make the problem additive. Budgets are priced: each unit of a cost takes `price` from the sum, and each
unit of budget gives it back (Lagrangian relaxation, [Handler1980]_). And where accuracy has a part linear in the logarithm
of the MACs, a straight line above it takes its place: a tangent of a concave one, a chord of a convex one.

References:
    [Handler1980] A dual algorithm for the constrained shortest path problem. Networks 10.
"""

from dataclasses import dataclass, replace
from math import log

import numpy as np
import numpy.typing as npt

from chamnet.search.trellis import Layer, Trellis

__all__ = ["Detours", "Line", "Relaxation", "line_above"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Line:
    """`constant + rate * MACs`, nowhere below `slope * log(MACs)` in the range it was made for."""

    constant: float
    rate: float


def line_above(slope: float, macs: float, span: tuple[float, float]) -> Line:
    """Return a line above `slope * log(MACs)`.

    Args:
        slope: If not negative, the line is the tangent at `macs`; else the chord.
        macs: Where it should be close.
        span: Smallest and largest MACs for which a chord must hold.
    """
    if slope >= 0:
        return Line(slope * (log(macs) - 1), slope / macs)
    low, high = span
    rate = slope * (log(high) - log(low)) / (high - low) if high > low else 0.0
    return Line(slope * log(low) - rate * low, rate)


@dataclass(frozen=True, eq=False, slots=True)
class Relaxation:
    """A bound for all networks within budgets: `constant + sum of weights of a path`.

    Attributes:
        line: In place of the logarithm.
        prices: Of the budgets, none negative, shape `k`.
        limits: The budgets, shape `k`; infinite where there is none.
    """

    line: Line
    prices: FloatArray
    limits: FloatArray

    @property
    def constant(self) -> float:
        """What every path is given."""
        bound = self.prices > 0  # the others may have no limit at all
        return self.line.constant + float(self.prices[bound] @ self.limits[bound])

    def weight(self, layer: Layer) -> FloatArray:
        """Return what each arc adds, shape `n`."""
        weight: FloatArray = layer.score + self.line.rate * layer.macs - self.prices @ layer.costs
        return weight

    def weights(self, trellis: Trellis) -> list[FloatArray]:
        """Return what each layer's arcs add."""
        return [self.weight(layer) for layer in trellis.layers]

    def at(self, limits: FloatArray) -> "Relaxation":
        """Return the relaxation of the same line and prices for other budgets."""
        return replace(self, limits=limits)

    def arcs_within(self, trellis: Trellis, least: float) -> list[BoolArray]:
        """Return which arcs lie on a path whose bound is at least `least`."""
        return [through >= least for through in Detours(self, trellis).bounds]


class Detours:
    """The best path through each arc of a trellis: all that differ from the best one by one arc, and what follows from it.

    Args:
        relaxation: Says what is best.
        trellis: Whose arcs.

    Attributes:
        bounds: What no path through an arc exceeds, for each layer's arcs.
    """

    def __init__(self, relaxation: Relaxation, trellis: Trellis) -> None:
        self._trellis = trellis
        self._weights = relaxation.weights(trellis)
        self._to_go, self._so_far = trellis.to_go(self._weights), trellis.so_far(self._weights)
        self.bounds = [
            self._so_far[i][layer.tail]
            + self._weights[i]
            + self._to_go[i + 1][layer.head]
            + relaxation.constant
            for i, layer in enumerate(trellis.layers)
        ]

    def paths(self, least: float, count: int) -> list[IntArray]:
        """Return the best of those paths, given by their arcs in each layer, each of shape `n`.

        Args:
            least: Bound of a path worth looking at.
            count: How many at most, the best; a path may come more than once.
        """
        layers = self._trellis.layers
        bounds = np.concatenate(self.bounds)
        chosen = np.flatnonzero((bounds >= least) & np.isfinite(bounds))
        if len(chosen) > count:
            chosen = chosen[np.argpartition(-bounds[chosen], count)[:count]]
        ends = np.cumsum([len(of_layer) for of_layer in self.bounds])
        own = np.searchsorted(ends, chosen, side="right")
        paths = [np.where(own == i, chosen - (ends[i] - len(self.bounds[i])), -1) for i in range(len(layers))]
        for i in range(1, len(layers)):
            later = own < i
            paths[i][later] = self._next(i)[layers[i - 1].head[paths[i - 1][later]]]
        for i in reversed(range(len(layers) - 1)):
            earlier = own > i
            paths[i][earlier] = self._previous(i)[layers[i + 1].tail[paths[i + 1][earlier]]]
        return paths

    def _next(self, at: int) -> IntArray:
        """Return the arc of a layer by which the best path leaves each node."""
        layer = self._trellis.layers[at]
        best = np.flatnonzero(
            self._weights[at] + self._to_go[at + 1][layer.head] == self._to_go[at][layer.tail]
        )
        arcs = np.full(layer.tails, -1)
        arcs[layer.tail[best]] = best
        return arcs

    def _previous(self, at: int) -> IntArray:
        """Return the arc of a layer by which the best path reaches each node."""
        layer = self._trellis.layers[at]
        best = np.flatnonzero(
            self._so_far[at][layer.tail] + self._weights[at] == self._so_far[at + 1][layer.head]
        )
        arcs = np.full(layer.heads, -1)
        arcs[layer.head[best]] = best
        return arcs
