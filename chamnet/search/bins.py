"""A bound that knows what is left of one budget, counted in whole bins.

Bins are rounded so that the bound stays one: a path is charged at most what it costs. What is left of that budget is known
at every node; the other budgets have prices.
"""

import numpy as np
import numpy.typing as npt

from chamnet.search.relaxation import Relaxation
from chamnet.search.trellis import Trellis

__all__ = ["BinnedBound"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

_AT_ONCE = 2**21  # arcs times bins held in memory
_SMALLEST = 1e-9  # of a budget: the least that all bins together count
_ROUNDING = 2e-9  # of a bin or a budget: sums in another order must not lose a path that just fits


class BinnedBound:
    """A relaxation that knows what is left of one budget.

    Costs are counted in excess of the cheapest way on, so that all of the budget's slack is for the bins.

    Args:
        trellis: What it holds for.
        relaxation: Prices of the other budgets, and the line.
        budget: Which budget is counted in bins; its price is not used.
        bins: How many.
    """

    def __init__(self, trellis: Trellis, relaxation: Relaxation, *, budget: int, bins: int) -> None:
        self._trellis, self._budget, self._bins = trellis, budget, bins
        prices = relaxation.prices.copy()
        prices[budget] = 0.0
        self._relaxation = Relaxation(relaxation.line, prices, relaxation.limits)
        self._cheapest = trellis.to_go(trellis.costs(budget), np.minimum)
        slack = relaxation.limits[budget] - self._cheapest[0]
        least = _SMALLEST * abs(float(relaxation.limits[budget]))
        self._step = max(float(slack.max()), least, 1e-300) / bins
        self._best = self._sweep()

    def bound(
        self, at: int, node: IntArray, score: FloatArray, macs: FloatArray, costs: FloatArray
    ) -> FloatArray:
        """Return what no network exceeds that begins with a path, for `n` paths that end before layer `at`.

        Args:
            at: The layer; `len(layers)` for paths that end at a sink.
            node: Where each ends, shape `n`.
            score: What each adds to the accuracy's sum, shape `n`.
            macs: Of each, shape `n`.
            costs: Of each, shape `k x n`.
        """
        relaxation = self._relaxation
        slack = relaxation.limits[self._budget] - costs[self._budget] - self._cheapest[at][node]
        left = self._whole(slack / self._step + _ROUNDING)
        fits = left >= 0
        best = self._best[at][node, np.maximum(left, 0)]
        value = score + relaxation.line.rate * macs - relaxation.prices @ costs + relaxation.constant + best
        return np.where(fits, value, -np.inf)

    def arcs_within(self, least: float) -> list[BoolArray]:
        """Return which arcs lie on a path whose bound is at least `least`."""
        relaxation, layers = self._relaxation, self._trellis.layers
        so_far = self._start()
        masks = []
        for i, layer in enumerate(layers):
            charged, weight = self._charges(i), relaxation.weight(layer)
            value = np.empty(len(layer.tail))
            reached = np.full((layer.heads, self._bins + 1), -np.inf)
            for part in self._parts(len(layer.tail)):
                through = _shifted(so_far[layer.tail[part]], charged[part]) + weight[part, None]
                value[part] = (through + self._best[i + 1][layer.head[part], ::-1]).max(axis=1)
                heads = layer.head[part]
                np.maximum.at(reached, heads, through)
            masks.append(value + relaxation.constant >= least)
            so_far = reached
        return masks

    def _start(self) -> FloatArray:
        """Return the best sum so far at each source, by bins spent: what a source lacks is spent from the start."""
        slack = self._relaxation.limits[self._budget] - self._cheapest[0]
        spent = self._bins - self._whole(slack / self._step + _ROUNDING)
        return np.where(np.arange(self._bins + 1) >= spent[:, None], 0.0, -np.inf)

    def _whole(self, bins: FloatArray) -> IntArray:
        """Return bins rounded down; -1 for any number below zero, and no more than there are."""
        whole: IntArray = np.clip(np.floor(bins), -1, self._bins).astype(np.intp)
        return whole

    def _sweep(self) -> list[FloatArray]:
        """Return the best sum to go from each node for each number of bins left."""
        best = [np.zeros((self._trellis.layers[-1].heads, self._bins + 1))]
        for i in reversed(range(len(self._trellis.layers))):
            layer = self._trellis.layers[i]
            charged, weight = self._charges(i), self._relaxation.weight(layer)
            found = np.full((layer.tails, self._bins + 1), -np.inf)
            for part in self._parts(len(layer.tail)):
                through = _shifted(best[-1][layer.head[part]], charged[part]) + weight[part, None]
                tails = layer.tail[part]
                starts = np.flatnonzero(np.diff(tails, prepend=-1))
                nodes = tails[starts]
                found[nodes] = np.maximum(found[nodes], np.maximum.reduceat(through, starts, axis=0))
            best.append(found)
        return best[::-1]

    def _charges(self, at: int) -> IntArray:
        """Return the bins that each arc of a layer is charged, shape `n`; more than there are where none leads on."""
        layer = self._trellis.layers[at]
        on, here = self._cheapest[at + 1][layer.head], self._cheapest[at][layer.tail]
        leads_on = np.isfinite(on)
        excess = layer.costs[self._budget] + np.where(leads_on, on - np.where(leads_on, here, 0.0), np.inf)
        whole: IntArray = np.clip(np.floor(excess / self._step - _ROUNDING), 0, self._bins + 1).astype(
            np.intp
        )
        return whole

    def _parts(self, arcs: int) -> list[slice]:
        size = max(1, _AT_ONCE // (self._bins + 1))
        return [slice(start, start + size) for start in range(0, arcs, size)]


def _shifted(rows: FloatArray, by: IntArray) -> FloatArray:
    """Return rows moved right by so many places each, minus infinity moving in."""
    count, width = rows.shape
    padded = np.full((count, 2 * width), -np.inf)
    padded[:, width:] = rows
    at = np.arange(width)[None, :] + (width - by)[:, None] + np.arange(count)[:, None] * 2 * width
    shifted: FloatArray = padded.ravel()[at]
    return shifted
