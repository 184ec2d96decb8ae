"""The most accurate network within budgets, with proof: for accuracies that add up along the chain.

Each resolution is a problem of its own; what is found in one prunes the others. The one of the highest bound goes on:

1. Prices for the budgets give an upper bound. A line takes the place of the logarithm of the MACs, and moves to where it
   lowers the bound. The best path through each arc is a network, too: the good ones are taken, and arcs whose best path is
   not good enough go. A price bounds all networks at any budget, so the next search begins with what the last ones found.
2. What is left of a budget is counted in bins, few at first, then more: a tighter bound, and fewer arcs.
3. The networks that may still be better are listed with their exact sums. Where none was left out, the best is proven.

Several budgets are first taken without some of them: an answer that keeps the others too is the answer, and a budget that
excludes nothing good would only hide which networks are beaten.

The ideas are those of [Handler1980]_ and [Irnich2005]_; see `relaxation`, `prices`, `bins` and `labels`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, combinations

import numpy as np
import numpy.typing as npt

from chamnet.errors import InfeasibleBudgetError
from chamnet.predictors.separable import Separable
from chamnet.search.bins import BinnedBound
from chamnet.search.constraints import Constraint, Metric
from chamnet.search.feasible import find_footholds, refusal, within
from chamnet.search.labels import Enumerator
from chamnet.search.prices import priced
from chamnet.search.relaxation import Detours, Relaxation, line_above
from chamnet.search.trellis import Trellis
from chamnet.space import CostTables, Levels

__all__ = ["ExactSearch", "Proven"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

# (bins, labels followed): at first only to find good networks, at last to list all that may be better
_STAGES = ((64, 400), (512, 20_000), (2_048, 300_000))
_LINES, _TOUCHING = 6, 0.01  # lines tried in place of the logarithm; MACs, in log, that are close enough
_WORTHWHILE = 0.2  # share of the gap that a line must close for another one to be tried
_WORSE = (0.2, 1.0, 5.0)  # points of top-1 that alternatives may be worse, until there are enough
_NEAR = 1_000  # labels followed to find alternatives
_DETOURS, _OFFERED = 4_000, 4  # paths through one arc that is not the best one's; of these, looked at exactly
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
        self._hints = [_Hint(part) for part in parts]
        self._fewer: dict[tuple[int, ...], ExactSearch] = {}
        self._answered: tuple[ExactSearch, tuple[Constraint, ...]] = (self, ())

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
        bound, metrics = np.inf, range(len(self._metrics))
        for chosen in chain.from_iterable(combinations(metrics, count) for count in metrics[1:]):
            search, some = self._on(chosen), tuple(constraints[i] for i in chosen)
            found = _Run(search, some, gap).solve(starts)
            if within(found.levels, constraints).all():
                self._answered = search, some
                return found
            bound = min(bound, found.bound)
        self._answered = self, tuple(constraints)
        proven = _Run(self, tuple(constraints), gap).solve(starts)
        return replace(proven, bound=max(proven.top1, min(proven.bound, bound)))

    def _on(self, chosen: tuple[int, ...]) -> "ExactSearch":
        """Return the search of the same networks for budgets on some of the metrics."""
        if chosen not in self._fewer:
            self._fewer[chosen] = ExactSearch(self._accuracy, [self._metrics[i] for i in chosen])
        return self._fewer[chosen]

    def alternatives(
        self, constraints: Sequence[Constraint], best: Proven, count: int, *, apart: int = 3
    ) -> list[Proven]:
        """Return good networks that differ from each other, the best of all first.

        Whoever measures a few of them is not misled by what one of them has in particular. Only the first is proven
        the best; the others were met near it.

        Args:
            constraints: As given to `best` the last time.
            best: What that returned.
            count: How many, at most.
            apart: Decisions in which any two differ at least, as long as there are enough.
        """
        search, some = self._answered
        run = _Run(search, some, 0.0)
        parts = zip(search._hints, search._whole.parts(), strict=True)  # alternatives may well be dominated
        near = [_Part(run, hint, self._accuracy).near(whole, best, count) for hint, whole in parts]
        levels = np.unique(np.concatenate([best.levels, *near]), axis=0)
        levels = levels[within(levels, constraints)]
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
    """A resolution, and what the searches of it so far have shown: a good place to begin the next.

    Attributes:
        trellis: Its networks.
        cuts: Sums that no path exceeds before the budgets are paid back, each with its relaxation: they hold for any
            budgets.
        macs: Where the last line touched.
        limits: The budgets of the last search.
    """

    trellis: Trellis
    cuts: list[tuple[float, Relaxation]] = field(default_factory=list)
    macs: float | None = None
    limits: FloatArray | None = None

    @cached_property
    def span(self) -> tuple[float, float]:
        """Fewest and most MACs."""
        few, many = (self.trellis.to_go(self.trellis.macs, pick)[0] for pick in (np.minimum, np.maximum))
        return float(few[0]), float(many[0])

    @cached_property
    def cheapest(self) -> FloatArray:
        """The least of each cost, each by itself, shape `k`."""
        kinds = range(len(self.trellis.layers[0].costs))
        return np.array([self.trellis.to_go(self.trellis.costs(k), np.minimum)[0][0] for k in kinds])

    @cached_property
    def lowest(self) -> float:
        """A sum that no network falls below."""
        slope = self.trellis.slope
        scores = [layer.score for layer in self.trellis.layers]
        parts = float(self.trellis.to_go(scores, np.minimum)[0][0])
        return parts + slope * float(np.log(self.span[slope < 0])) if slope else parts

    def begin(self, limits: FloatArray) -> tuple[float, Relaxation | None]:
        """Return the lowest bound that earlier searches give for some budgets, and its relaxation."""
        bound, lowest = np.inf, None
        if self.cuts:
            paid = np.array([cut.prices for _, cut in self.cuts]) @ np.where(np.isfinite(limits), limits, 0.0)
            bounds = paid + [free for free, _ in self.cuts]
            best = int(bounds.argmin())
            bound, lowest = float(bounds[best]), self.cuts[best][1].at(limits)
        if self.macs is not None and self.limits is not None:
            known = np.isfinite(limits) & (limits > 0) & (self.limits > 0)
            if known.any():  # a larger budget buys about as many more MACs
                self.macs = float(np.clip(self.macs * (limits[known] / self.limits[known]).min(), *self.span))
        self.limits = limits
        return bound, lowest


class _Run:
    """One search under way: the best network so far, and what none exceeds."""

    def __init__(self, search: ExactSearch, constraints: tuple[Constraint, ...], gap: float) -> None:
        self._search, self.constraints, self._gap = search, constraints, gap
        limits = [c.limit - c.metric.constant for c in constraints] or [0.0]
        self.limits = np.array([*limits, *[np.inf] * search._unlimited])
        self._levels, self.value, self._listed = np.empty((0, 0), dtype=np.int32), -np.inf, 0
        self.wanted = -np.inf

    def solve(self, starts: Levels | None) -> Proven:
        search = self._search
        if starts is not None:
            self.offer(starts)
        if not np.isfinite(self.value):
            footholds = find_footholds(search._space, self.constraints)
            self._levels = footholds.nearest
            self.offer(footholds.levels)
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
                self.wanted = self._wanted()

    def _wanted(self) -> float:
        """Return the least sum worth looking for: better by more than the gap, or as good where there is none."""
        if not self._gap:
            return self.value - _TIE
        return self._search._accuracy.value_of(self._top1(self.value) + self._gap, self.value)

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
        self._lines, self._stages = _LINES, list(_STAGES)
        self._slow = False  # the last line gained little: count before the next one
        self._low, self._high = hint.span  # between them lie the MACs where the line should touch
        self.bound, self._relaxation = hint.begin(run.limits)
        self._prices = self._relaxation.prices if self._relaxation else np.zeros(len(run.limits))
        if (hint.cheapest > run.limits * (1 + _ROUNDING)).any():
            self.bound = -np.inf

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
            self._drop(relaxation.arcs_within(whole, least), least)
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
        found = priced(self._trellis, run.limits, line, self._prices, enough=max(run.wanted, hint.lowest))
        run.offer(self._trellis.genomes(found.paths))
        if self._trellis is hint.trellis:
            relaxation = found.relaxation
            hint.cuts.append((found.bound - relaxation.constant + relaxation.line.constant, relaxation))
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
            self._prices = found.relaxation.prices
            detours = Detours(found.relaxation, self._trellis)
            self._offer_best(detours.paths(run.wanted, _DETOURS))
            if not run.settled(self.bound):
                least = run.wanted
                self._drop([bounds >= least for bounds in detours.bounds], least)

    def _offer_best(self, paths: Sequence[IntArray]) -> None:
        """Offer the best of some paths that keep the budgets."""
        fits = np.ones(len(paths[0]), dtype=np.bool_)
        for k in self._budgeted:
            limit = float(self._run.limits[k])
            fits &= self._trellis.sums(self._trellis.costs(k), paths) <= limit + _ROUNDING * abs(limit)
        kept = [arcs[fits] for arcs in paths]
        best = np.argsort(-self._trellis.values(kept), kind="stable")[:_OFFERED]
        self._run.offer(self._trellis.genomes([arcs[best] for arcs in kept]))

    def _count(self, bins: int, room: int) -> None:
        """Count budgets in bins, list what may be better, and drop arcs."""
        run, relaxation = self._run, self._relaxation
        assert relaxation is not None
        self._drop(relaxation.arcs_within(self._trellis, run.wanted), run.wanted)
        if run.settled(self.bound):
            return
        bounds = [BinnedBound(self._trellis, relaxation, budget=k, bins=bins) for k in self._budgeted]
        least = run.wanted
        found = Enumerator(self._trellis, run.limits, bounds).run(least, room)
        run.offer(self._trellis.genomes(found.paths))
        self.bound = min(self.bound, max(found.dropped, least, run.value))
        if not run.settled(self.bound):
            least = run.wanted
            masks = [each.arcs_within(least) for each in bounds]
            self._drop([np.logical_and.reduce(of_layer) for of_layer in zip(*masks, strict=True)], least)

    def _drop(self, kept: Sequence[BoolArray], least: float) -> None:
        """Keep the arcs of paths that reach `least`, and of these the ones on a path within each budget."""
        self._trellis = self._trellis.keep(kept)
        for k in self._budgeted:
            self._trellis = self._trellis.keep(self._trellis.arcs_costing(k, float(self._run.limits[k])))
        if not all(len(layer.tail) for layer in self._trellis.layers):  # nothing better is left
            self.bound = min(self.bound, max(least, self._run.value))


def _no_cost(like: CostTables) -> CostTables:
    return CostTables(like.space, like.axes, tuple(np.zeros(table.shape) for table in like.tables))
