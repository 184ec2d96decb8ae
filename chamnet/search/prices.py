"""Prices of budgets under which a relaxation bounds well, and the networks met on the way.

References:
    [Handler1980] A dual algorithm for the constrained shortest path problem. Networks 10.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from chamnet.search.relaxation import Line, Relaxation
from chamnet.search.trellis import Trellis

__all__ = ["Priced", "priced"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

_ROUNDS, _TRIES = 4, 40  # over all budgets; for one price
_DEARER, _NEARBY = (
    4.0,
    1.4,
)  # factors on a price that does not yet keep a budget; the latter near a good guess
_CHEAPEST = 0.1  # of a guess: what is cheaper is tried at no price at all
_GAIN = 1e-9  # in the bound: less is no gain
_ROUNDING = 2e-9  # of a budget: sums in another order must not lose a path that just fits


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
