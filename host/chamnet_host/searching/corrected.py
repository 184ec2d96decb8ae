"""Searches under energies that do not add up: by their sum over units, corrected until the answer keeps the budget.

An exact search needs costs that add up along a network. Energies of a process over whole networks do not, nor do upper ends of
intervals. So sums are searched, multiplied by what the answer needs beyond its sum, and searched again, until answers just keep
the budget by the predictor itself; of all networks that the searches came near, the most accurate that keeps it is taken. The
proof of each search holds for the sums it was given, not for the predictor.
"""

import contextlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from chamnet.errors import InfeasibleBudgetError
from chamnet.predictors.energy import EnergyModel, EnergyPredictor
from chamnet.search import Constraint, SearchResult
from chamnet.search.constraints import format_amount
from chamnet.space import Levels
from chamnet_host.searching.scope import Scope
from chamnet_host.workspace import Workspace

__all__ = ["Correction", "is_corrected", "search_corrected"]

log = logging.getLogger(__name__)

_ROUNDS = 10
_SETTLED = 1e-3  # relative change of the factor below which the next answer is the same
_STRICTER = 1.005  # for each answer that did not keep the budget
_SWEPT = 6  # searches besides, over all factors that networks needed
_NEAR = 24  # networks looked at in each search: the answer, and those that come close to it

Find = Callable[[Scope, tuple[Constraint, ...], int], SearchResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """How energies that do not add up were met.

    Attributes:
        model: What predicts energies.
        factor: What the answer needs, over its sum over units.
        needed_mj: What the answer takes by that predictor; the upper end where a confidence was asked for.
        searches: How many were made.
    """

    model: EnergyModel
    factor: float
    needed_mj: float
    searches: int


def is_corrected(workspace: Workspace, scope: Scope, constraints: tuple[Constraint, ...]) -> bool:
    """Whether energy is bounded, and by something that does not add up."""
    if all(constraint.metric.name != "energy_mj" for constraint in constraints):
        return False
    return workspace.require_energy().chosen != "lut" or scope.confidence is not None


def search_corrected(
    workspace: Workspace, scope: Scope, constraints: tuple[Constraint, ...], find: Find
) -> tuple[SearchResult, Correction]:
    """Return the most accurate answer met that keeps the energy budget by the predictor, and how it was met.

    Args:
        workspace: Gives the predictor.
        scope: What is searched.
        constraints: One of them on energy.
        find: Searches a scope.

    Raises:
        InfeasibleBudgetError: No network keeps the budgets, or none met keeps that on energy.
    """
    energy = workspace.require_energy()
    limit_mj = next(each.limit for each in constraints if each.metric.name == "energy_mj")
    met: list[_Met] = []

    def look_near(factor: float) -> _Met:
        """Search sums times a factor; keep what was met, and return the answer."""
        part = scope.with_energy(factor)
        result = find(part, tuple(_moved(part, each) for each in constraints), _NEAR)
        found = [_met(energy, scope, row, result) for row in (result.levels, *_rows(result.others))]
        log.info("energy by its sum times %.4f: %s needs %.4f mJ", factor, result.genome, found[0].needed_mj)
        met.extend(found)
        return found[0]

    steps, searches, needed_mj = _Steps(scope.energy_factor), 0, math.nan
    while searches < _ROUNDS and not steps.are_settled:
        searches += 1
        try:
            answer = look_near(steps.factor)
        except InfeasibleBudgetError:
            if steps.failed is None:
                raise
            steps.strict()
        else:
            needed_mj = answer.needed_mj
            steps.answered(needed_mj / answer.lut_mj, keeps=needed_mj <= limit_mj)
    ratios = [each.needed_mj / each.lut_mj for each in met]
    for factor in np.geomspace(min(ratios), max(ratios), _SWEPT):  # networks that need less than their like
        searches += 1
        with contextlib.suppress(InfeasibleBudgetError):
            look_near(float(factor))
    kept = [each for each in met if each.needed_mj <= limit_mj]
    best = max(kept, key=lambda each: each.accuracy, default=None)
    if best is None:
        raise InfeasibleBudgetError(
            f"budget {format_amount('energy_mj', limit_mj)}: {searches} searches found no network that keeps it by"
            f" {energy.chosen}; the last one needs {format_amount('energy_mj', needed_mj, round_up=True)}; raise the budget"
        )
    (genome,) = scope.space.genomes(best.levels)
    others = [each.levels for each in kept if each.result is best.result and each is not best]
    honest = replace(
        best.result,
        genome=genome,
        levels=best.levels,
        accuracy=best.accuracy,
        status="heuristic",
        bound=None,
        others=np.concatenate([best.levels[:0], *others]),
    )
    factor = best.needed_mj / best.lut_mj
    return honest, Correction(model=energy.chosen, factor=factor, needed_mj=best.needed_mj, searches=searches)


@dataclass(frozen=True, slots=True)
class _Met:
    """A network that a search came upon; energies in mJ."""

    levels: Levels
    accuracy: float
    needed_mj: float
    lut_mj: float
    result: SearchResult


def _met(energy: EnergyPredictor, scope: Scope, levels: Levels, result: SearchResult) -> _Met:
    predicted = energy.predict(scope.network(levels)[1])
    accuracy = float(scope.accuracy.top1(levels)[0])
    return _Met(levels, accuracy, predicted.upper_mj(scope.confidence), predicted.lut_mj, result)


class _Steps:
    """Which factor on sums is tried next: what answers need, then between one that fails and one that keeps the budget.

    Args:
        factor: The first.
    """

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.failed: float | None = None  # the strictest that was too loose
        self._kept: float | None = None  # the loosest that was strict enough
        self.are_settled = False

    def answered(self, needed: float, *, keeps: bool) -> None:
        """Take the factor that an answer needs."""
        if not keeps:
            self.failed = self.factor
            self._next(max(needed, self.factor) * _STRICTER)
            return
        self._kept = self.factor
        self._next(needed)

    def strict(self) -> None:
        """Take it that nothing is left at this factor."""
        self._kept = self.factor
        self._next(self.factor)

    def _next(self, wanted: float) -> None:
        if self.failed is not None and self._kept is not None:
            wanted = math.sqrt(self.failed * self._kept)
        self.are_settled = abs(wanted / self.factor - 1) < _SETTLED
        self.factor = wanted


def _moved(scope: Scope, constraint: Constraint) -> Constraint:
    """Return the same budget on what networks of a scope cost."""
    if constraint.metric.name != "energy_mj":
        return constraint
    return Constraint(scope.metrics.of(constraint.budget), constraint.budget)


def _rows(levels: Levels | None) -> list[Levels]:
    return [] if levels is None else [levels[[i]] for i in range(len(levels))]
