"""The most accurate network within budgets, with proof: for accuracies that add up along the chain.

Each resolution is a problem of its own; what is found in one prunes the others. The one of the highest bound goes on:

1. Prices for the budgets give an upper bound, good networks on both sides of the budgets, and the arcs that no better
   network uses. A line takes the place of the logarithm of the MACs, and moves to where it lowers the bound.
2. What is left of a budget is counted in bins, few at first, then more: a tighter bound, and fewer arcs.
3. The networks that may still be better are listed with their exact sums. Where none was left out, the best is proven.

The ideas are those of [Handler1980]_ and [Irnich2005]_; see `relaxation` and `labels`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from chamnet.errors import InfeasibleBudgetError
from chamnet.predictors.separable import Separable
from chamnet.search.constraints import Constraint, Metric
from chamnet.search.feasible import find_footholds, refusal, within
from chamnet.search.labels import Enumerator
from chamnet.search.relaxation import BinnedBound, Relaxation, line_above, priced
from chamnet.search.trellis import Trellis
from chamnet.space import CostTables, Levels

__all__ = ["ExactSearch", "Proven"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

# (bins, labels followed): at first only to find good networks, at last to list all that may be better
_STAGES = ((64, 400), (512, 20_000), (2_048, 300_000))
_LINES, _TOUCHING = 6, 0.01  # lines tried in place of the logarithm; MACs, in log, that are close enough
_WORTHWHILE = 0.2  # share of the gap that a line must close for another one to be tried
_WORSE = (0.2, 1.0, 5.0)  # points of top-1 that alternatives may be worse, until there are enough
_NEAR = 1_000  # labels followed to find alternatives
_ROUNDING = 1e-9  # relative, of budgets: sums in another order must not lose a network that just fits
_TIE = 1e-10  # of the sum: networks this close to the best are listed too, against rounding


@dataclass(frozen=True, eq=False, slots=True)
class Proven:
    """The best network found, and what none exceeds.

    Attributes:
        levels: The network, shape `1 x d`.
        top1: Its accuracy in percent.
        bound: Top-1 that no network within budgets exceeds; `top1` where it is proven the best.
        listed: Networks whose exact sums were looked at.
    """

    levels: Levels
    top1: float
    bound: float
    listed: int

    @property
    def gap(self) -> float:
        """Points of top-1 that a better network could have at most."""
        return self.bound - self.top1


class ExactSearch:
    """Searches one space under one accuracy, for any budgets on given metrics.

    Args:
        accuracy: What is maximised.
        metrics: What budgets may bound.
    """

    def __init__(self, accuracy: Separable, metrics: Sequence[Metric]) -> None:
        self._accuracy, self._metrics = accuracy, tuple(metrics)
        costs = [metric.tables for metric in metrics] or [_no_cost(accuracy.parts)]
        # no limit of their own: an arc or a label must not be better in the sum and worse in these
        beside = [tables for metric in metrics for tables in metric.rises_with]
        self._unlimited = len(beside)
        self._whole = Trellis.build(accuracy, [*costs, *beside])
        self._space = self._whole.space
        parts = self._whole.undominated().parts()
        self._hints = [_Hint(part, np.zeros(len(costs) + len(beside))) for part in parts]

    def best(
        self, constraints: Sequence[Constraint], *, gap: float = 0.0, starts: Levels | None = None
    ) -> Proven:
        """Return the best network within budgets.

        Args:
            constraints: One on each of the metrics, in their order.
            gap: Points of top-1 between answer and bound that are good enough.
            starts: Networks that may be good, shape `n x d`; those within budgets count.

        Raises:
            InfeasibleBudgetError: No network keeps the budgets, or none that does was found.
            ValueError: The constraints are not on the metrics.
        """
        if [constraint.metric for constraint in constraints] != list(self._metrics):
            raise ValueError(
                "constraints must be on the metrics that the search was made for, in their order"
            )
        return _Run(self, tuple(constraints), gap).solve(starts)

    def alternatives(
        self, constraints: Sequence[Constraint], best: Proven, count: int, *, apart: int = 3
    ) -> list[Proven]:
        """Return good networks that differ from each other, the best of all first.

        Whoever measures a few of them is not misled by what one of them has in particular. Only the first is proven
        the best; the others were met near it.

        Args:
            constraints: As given to `best`.
            best: What that returned.
            count: How many, at most.
            apart: Decisions in which any two differ at least, as long as there are enough.
        """
        run = _Run(self, tuple(constraints), 0.0)
        parts = zip(self._hints, self._whole.parts(), strict=True)  # alternatives may well be dominated
        near = [_Part(run, hint, self._accuracy).near(whole, best, count) for hint, whole in parts]
        levels = np.unique(np.concatenate([best.levels, *near]), axis=0)
        levels = levels[within(levels, run.constraints)]
        top1 = self._accuracy.top1(levels)
        order = np.lexsort((*levels.T[::-1], -top1))
        chosen = [best]
        for differing in range(apart, 0, -1):  # a small space may not have enough that differ so much
            for row in order.tolist():
                if len(chosen) == count:
                    break
                if all((levels[row] != other.levels[0]).sum() >= differing for other in chosen):
                    chosen.append(Proven(levels[[row]], float(top1[row]), best.bound, best.listed))
        return sorted(chosen, key=lambda each: -each.top1)


@dataclass(eq=False)
class _Hint:
    """A resolution, and where the last search of it ended: a good place to begin the next."""

    trellis: Trellis
    prices: FloatArray
    macs: float | None = None

    @cached_property
    def span(self) -> tuple[float, float]:
        """Fewest and most MACs."""
        few, many = (
            self.trellis.to_go(lambda layer: layer.macs, pick)[0] for pick in (np.minimum, np.maximum)
        )
        return float(few[0]), float(many[0])

    @cached_property
    def cheapest(self) -> FloatArray:
        """The least of each cost, each by itself, shape `k`."""
        kinds = range(len(self.prices))
        least = [self.trellis.to_go(lambda layer, k=k: layer.costs[k], np.minimum) for k in kinds]  # type: ignore[misc]
        return np.array([to_go[0][0] for to_go in least])

    @cached_property
    def lowest(self) -> float:
        """A sum that no network falls below."""
        slope = self.trellis.slope
        parts = float(self.trellis.to_go(lambda layer: layer.score, np.minimum)[0][0])
        return parts + slope * float(np.log(self.span[slope < 0])) if slope else parts


class _Run:
    """One search under way: the best network so far, and what none exceeds."""

    def __init__(self, search: ExactSearch, constraints: tuple[Constraint, ...], gap: float) -> None:
        self._search, self.constraints, self._gap = search, constraints, gap
        limits = [c.limit - c.metric.constant for c in constraints] or [0.0]
        self.limits = np.array([*limits, *[np.inf] * search._unlimited])
        footholds = find_footholds(search._space, constraints)
        self._levels, self.value, self._listed = footholds.nearest, -np.inf, 0
        self.offer(footholds.levels)

    def solve(self, starts: Levels | None) -> Proven:
        if starts is not None:
            self.offer(starts)
        search = self._search
        parts = [_Part(self, hint, search._accuracy) for hint in search._hints]
        while True:
            bound = max(part.bound for part in parts)
            open_parts = [part for part in parts if part.steps and not self.settled(part.bound)]
            if not open_parts:
                break
            max(open_parts, key=lambda part: part.bound).advance()
        if not np.isfinite(self.value):
            raise InfeasibleBudgetError(refusal(self.constraints, self._levels, proven=bound == -np.inf))
        bound = self.value if bound <= self.value + _TIE else bound
        return Proven(self._levels, self._top1(self.value), self._top1(bound), self._listed)

    def settled(self, bound: float) -> bool:
        """Whether what exceeds no more than a bound need not be looked at."""
        return bound <= self.value + _TIE or self._top1(bound) - self._top1(self.value) <= self._gap

    def offer(self, levels: Levels) -> None:
        """Keep the best of some networks, if it is better than the best so far and within budgets."""
        self._listed += len(levels)
        levels = levels[within(levels, self.constraints)]
        if len(levels):
            value = self._search._accuracy.value(levels)
            best = int(value.argmax())
            if value[best] > self.value:
                self._levels, self.value = levels[[best]], float(value[best])

    def _top1(self, value: float) -> float:
        return float(self._search._accuracy.finish(np.array([value]))[0])


class _Part:
    """One resolution under way.

    Attributes:
        bound: What none of its networks exceeds.
    """

    def __init__(self, run: _Run, hint: _Hint, accuracy: Separable) -> None:
        self._run, self._hint, self._accuracy = run, hint, accuracy
        self._trellis = hint.trellis
        self._relaxation: Relaxation | None = None
        self._lines, self._stages = _LINES, list(_STAGES)
        self._slow = False  # the last line gained little: count before the next one
        self._low, self._high = hint.span  # between them lie the MACs where the line should touch
        self.bound = np.inf
        if (hint.cheapest > run.limits * (1 + _ROUNDING)).any():
            self.bound = -np.inf
        elif hint.macs is not None:
            line = line_above(accuracy.slope, hint.macs, hint.span)
            last = Relaxation(line, hint.prices, run.limits)
            self.bound, path = last.best_path(hint.trellis)
            self._relaxation = last
            run.offer(hint.trellis.genomes(path))

    @property
    def steps(self) -> int:
        """How often the bound can still be lowered."""
        return self._lines + len(self._stages) if self.bound > -np.inf else 0

    def advance(self) -> None:
        """Lower the bound, and offer networks met."""
        if self._lines and not (self._slow and self._stages):
            self._price()
        else:
            self._slow = False
            self._count(*self._stages.pop(0))

    def near(self, whole: Trellis, best: Proven, count: int) -> Levels:
        """Return networks of the resolution nearly as good as the best one, after a search has left its hints."""
        run, relaxation = self._run, self._relaxation
        near = best.levels[:0]
        if relaxation is None:
            return near
        for points in _WORSE:
            least = self._accuracy.value_of(best.top1 - points, self._hint.lowest)
            self._trellis = whole
            self._drop(relaxation.arcs_within(whole, least))
            if not all(len(layer.tail) for layer in self._trellis.layers):
                continue
            bounds = [
                BinnedBound(self._trellis, relaxation, budget=k, bins=_STAGES[0][0]) for k in self._budgeted
            ]
            lister = Enumerator(self._trellis, run.limits, bounds, dominance=False)
            found = lister.run(least, _NEAR)
            near = self._trellis.genomes(found.paths)
            if len(near) >= count:
                break
        return near

    @property
    def _budgeted(self) -> list[int]:
        limited: list[int] = np.flatnonzero(np.isfinite(self._run.limits)).tolist()
        return limited

    def _price(self) -> None:
        """Move the line to where it lowers the bound, find prices for it, and drop arcs."""
        hint, run, slope = self._hint, self._run, self._accuracy.slope
        macs = hint.macs or float(np.sqrt(self._low * self._high))
        line = line_above(slope, macs, hint.span)
        enough = max(run.value, hint.lowest)
        found = priced(self._trellis, run.limits, line, hint.prices, enough=enough)
        run.offer(self._trellis.genomes(found.paths))
        before = self.bound
        if found.bound < hint.lowest:  # no network has so low a sum, so none keeps the budgets
            self.bound = -np.inf
        elif found.bound < self.bound:
            self.bound, self._relaxation = found.bound, found.relaxation
        if found.macs > macs:
            self._low = max(self._low, macs)
        else:
            self._high = min(self._high, macs)
        close = abs(np.log(found.macs / macs)) < _TOUCHING or self._high / self._low < 1 + _TOUCHING
        self._lines = 0 if slope <= 0 or close else self._lines - 1
        self._slow = before - self.bound < _WORTHWHILE * (self.bound - run.value) and before < np.inf
        inside = self._low < found.macs < self._high
        hint.macs = found.macs if inside else float(np.sqrt(self._low * self._high))
        if self.bound > -np.inf and not run.settled(self.bound):
            hint.prices = found.relaxation.prices
            self._drop(found.relaxation.arcs_within(self._trellis, run.value - _TIE))

    def _count(self, bins: int, room: int) -> None:
        """Count budgets in bins, list what may be better, and drop arcs."""
        run, relaxation = self._run, self._relaxation
        assert relaxation is not None
        self._drop(relaxation.arcs_within(self._trellis, run.value - _TIE))
        if run.settled(self.bound):
            return
        bounds = [BinnedBound(self._trellis, relaxation, budget=k, bins=bins) for k in self._budgeted]
        found = Enumerator(self._trellis, run.limits, bounds).run(run.value - _TIE, room)
        run.offer(self._trellis.genomes(found.paths))
        self.bound = min(self.bound, max(found.dropped, run.value))
        if not run.settled(self.bound):
            masks = [each.arcs_within(run.value - _TIE) for each in bounds]
            self._drop([np.logical_and.reduce(of_layer) for of_layer in zip(*masks, strict=True)])

    def _drop(self, kept: Sequence[BoolArray]) -> None:
        """Keep some arcs, and of these the ones on a path within each budget; without any, nothing better is left."""
        masks = [kept]
        for k in self._budgeted:
            masks.append(self._trellis.arcs_costing(k, float(self._run.limits[k])))
        self._trellis = self._trellis.keep([np.logical_and.reduce(each) for each in zip(*masks, strict=True)])
        if not all(len(layer.tail) for layer in self._trellis.layers):
            self.bound = min(self.bound, self._run.value)


def _no_cost(like: CostTables) -> CostTables:
    return CostTables(like.space, like.axes, tuple(np.zeros(table.shape) for table in like.tables))
