"""Upper bounds on the accuracy of all networks within budgets, that add up along the chain.

Two steps make the problem additive. Budgets are priced: each unit of a cost takes `price` from the sum, and each
unit of budget gives it back (Lagrangian relaxation, [Handler1980]_). And where accuracy has a part linear in the logarithm
of the MACs, a straight line above it takes its place: a tangent of a concave one, a chord of a convex one.

What is left over of one budget is then counted in whole bins, rounded so that the bound stays one: a path is charged at
most what it costs. So the bound knows what is left of that budget at every node, and prices hold for the others only.

References:
    [Handler1980] A dual algorithm for the constrained shortest path problem. Networks 10.
"""

from dataclasses import dataclass, replace
from math import log

import numpy as np
import numpy.typing as npt

from chamnet.search.trellis import Layer, Trellis

__all__ = ["BinnedBound", "Detours", "Line", "Priced", "Relaxation", "line_above", "priced"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

_AT_ONCE = 2**21  # arcs times bins held in memory
_ROUNDS, _TRIES = 4, 40  # over all budgets; for one price
_DEARER, _NEARBY = (
    4.0,
    1.4,
)  # factors on a price that does not yet keep a budget; the latter near a good guess
_CHEAPEST = 0.1  # of a guess: what is cheaper is tried at no price at all
_GAIN = 1e-9  # in the bound: less is no gain
_SMALLEST = 1e-9  # of a budget: the least that all bins together count
_ROUNDING = 2e-9  # of a bin or a budget: sums in another order must not lose a path that just fits


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


@dataclass(frozen=True, eq=False, slots=True)
class Priced:
    """Prices under which the bound is low, and the networks met on the way.

    Attributes:
        relaxation: With those prices.
        bound: What it says of the best network.
        paths: Arcs in each layer, each of shape `m`; some keep the budgets, some do not.
        macs: Of the mixture of networks that reaches the bound and keeps the budget: the bound is convex in the inverse
            of the MACs where its line touches, and lower on this side.
    """

    relaxation: Relaxation
    bound: float
    paths: tuple[IntArray, ...]
    macs: float


def priced(
    trellis: Trellis,
    limits: FloatArray,
    line: Line,
    prices: FloatArray | None = None,
    *,
    enough: float = -np.inf,
) -> Priced:
    """Look for prices that make the bound low, one budget after the other.

    With the other prices held, a budget's best price is found by going from the two networks next to it to the
    price at which both are worth the same, until that is a third one's ([Handler1980]_).

    Args:
        trellis: The networks.
        limits: The budgets, shape `k`.
        line: In place of the logarithm.
        prices: To start from; zero by default.
        enough: A bound so low that no lower one is needed; where no network keeps all budgets, there is no lowest.
    """
    found = np.zeros(len(limits)) if prices is None else prices.copy()
    paths: list[list[IntArray]] = []
    lowest, best = np.inf, found
    budgeted = np.flatnonzero(np.isfinite(limits)).tolist()
    for _ in range(_ROUNDS if len(budgeted) > 1 else 1):
        before = lowest
        for k in budgeted:
            found, bound = _best_price(trellis, Relaxation(line, found, limits), k, paths, enough)
            if bound < lowest:
                lowest, best = bound, found.copy()
            if lowest < enough:
                break
        if lowest > before - _GAIN or lowest < enough:
            break
    joined = tuple(np.concatenate(arcs) for arcs in zip(*paths, strict=True))
    relaxation = Relaxation(line, best, limits)
    worth = trellis.sums(relaxation.weights(trellis), joined)
    reaching = worth >= worth.max() - _GAIN
    macs = trellis.sums(trellis.macs, joined)[reaching]
    dearest = int(best.argmax())  # of the budgets
    cost = trellis.sums(trellis.costs(dearest), joined)[reaching]
    low, high = int(cost.argmin()), int(cost.argmax())
    share = 0.5 if cost[high] <= cost[low] else (limits[dearest] - cost[low]) / (cost[high] - cost[low])
    mixed = macs[low] + float(np.clip(share, 0.0, 1.0)) * (macs[high] - macs[low])
    return Priced(relaxation, lowest, joined, float(mixed))


def _best_price(
    trellis: Trellis, start: Relaxation, k: int, paths: list[list[IntArray]], enough: float
) -> tuple[FloatArray, float]:
    """Return prices with the `k`-th one at its best and the bound, and keep the paths met."""
    free = replace(start, prices=np.where(np.arange(len(start.prices)) == k, 0.0, start.prices))
    trial = _Trial(trellis, free, k, free.weights(trellis), paths)
    guess = float(start.prices[k])
    first = trial.at(guess)
    if first.bound < enough or (guess == 0 and first.excess <= 0):
        return first.prices, first.bound
    step = _DEARER if guess == 0 else _NEARBY
    over = under = first
    price = guess or 1.0 / max(abs(float(start.limits[k])), 1e-300)
    while over.excess <= 0:
        price = price / step if price > _CHEAPEST * guess else 0.0
        over = trial.at(price)
        if price == 0 and over.excess <= 0:
            return over.prices, over.bound
    while under.excess > 0:
        price = price if under.prices[k] == 0 else price * step
        under = trial.at(price)
        if under.bound < enough:
            return under.prices, under.bound
        over = under if under.excess > 0 else over
    for _ in range(_TRIES):
        price = max(0.0, (over.worth - under.worth) / (over.excess - under.excess))
        middle = trial.at(price)
        if middle.bound <= under.worth - price * under.excess + _GAIN:
            break
        over, under = (middle, under) if middle.excess > 0 else (over, middle)
    return middle.prices, middle.bound


@dataclass(frozen=True, eq=False, slots=True)
class _Tried:
    """One price tried: the bound, and what its best network is worth without the price and costs above the budget."""

    prices: FloatArray
    bound: float
    worth: float
    excess: float


@dataclass(frozen=True, eq=False, slots=True)
class _Trial:
    """Tries prices of one budget, the others held.

    Attributes:
        trellis: The networks.
        free: The relaxation at no price.
        k: Which budget.
        weights: Of the arcs, at no price.
        paths: Where the paths met are kept.
    """

    trellis: Trellis
    free: Relaxation
    k: int
    weights: list[FloatArray]
    paths: list[list[IntArray]]

    def at(self, price: float) -> _Tried:
        """Try a price."""
        costs, limit, prices = (
            self.trellis.costs(self.k),
            float(self.free.limits[self.k]),
            self.free.prices.copy(),
        )
        prices[self.k] = price
        worth, path = self.trellis.best_path(
            [weight - price * cost for weight, cost in zip(self.weights, costs, strict=True)]
        )
        self.paths.append(path)
        bound = worth + replace(self.free, prices=prices).constant
        cost = sum(float(of_layer[arcs[0]]) for of_layer, arcs in zip(costs, path, strict=True))
        excess = cost - limit if cost > limit + _ROUNDING * abs(limit) else min(cost - limit, 0.0)
        return _Tried(prices, bound, bound + price * (cost - limit), excess)
