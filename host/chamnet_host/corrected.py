"""Searches under energies that do not add up: by their sum over units, corrected until the answer keeps the budget.

An exact search needs costs that add up along a network. Energies of a process over whole networks do not, nor do upper ends of
intervals. So sums are searched, multiplied by what the answer needs beyond its sum, and searched again: a fixed point is an
answer that keeps the budget by the predictor itself. The proof of each search holds for the sums it was given, not for
the predictor.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from chamnet.errors import InfeasibleBudgetError
from chamnet.predictors.energy import EnergyModel, EnergyPredictor
from chamnet.search import Constraint, SearchResult
from chamnet.search.constraints import format_amount
from chamnet.space import Levels
from chamnet_host.scope import Scope
from chamnet_host.workspace import Workspace

__all__ = ["Correction", "is_corrected", "search_corrected"]

log = logging.getLogger(__name__)

_ROUNDS = 6
_SETTLED = 1e-3  # relative change of the factor below which the next answer is the same
_STRICTER = 1.005  # for each answer that did not keep the budget

Find = Callable[[Scope, tuple[Constraint, ...]], SearchResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """How energies that do not add up were met.

    Attributes:
        model: What predicts energies.
        factor: On sums over units, in the search that found the answer.
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
    best: tuple[SearchResult, float, float] | None = None
    factor, searches = scope.energy_factor, 0
    while searches < _ROUNDS:
        searches += 1
        part = scope.with_energy(factor)
        try:
            result = find(part, tuple(_moved(part, each) for each in constraints))
        except InfeasibleBudgetError:
            if best is None:
                raise
            break
        needed_mj, lut_mj = _needed(energy, scope, result.levels)
        log.info("energy by its sum times %.4f: %s needs %.4f mJ", factor, result.genome, needed_mj)
        if needed_mj <= limit_mj and (best is None or result.accuracy > best[0].accuracy):
            best = result, factor, needed_mj
        found = needed_mj / lut_mj
        if needed_mj <= limit_mj and abs(found / factor - 1) < _SETTLED:
            break
        factor = found if needed_mj <= limit_mj else max(found, factor) * _STRICTER
    if best is None:
        raise InfeasibleBudgetError(
            f"budget {format_amount('energy_mj', limit_mj)}: {searches} searches found no network that keeps it by"
            f" {energy.chosen}; the last one needs {format_amount('energy_mj', needed_mj, round_up=True)}; raise the budget"
        )
    result, factor, needed_mj = best
    kept = [row for row in _rows(result.others) if _needed(energy, scope, row)[0] <= limit_mj]
    others = np.concatenate([result.levels[:0], *kept])
    honest = replace(result, status="heuristic", bound=None, others=others)
    return honest, Correction(model=energy.chosen, factor=factor, needed_mj=needed_mj, searches=searches)


def _moved(scope: Scope, constraint: Constraint) -> Constraint:
    """Return the same budget on what networks of a scope cost."""
    if constraint.metric.name != "energy_mj":
        return constraint
    return Constraint(scope.metrics.of(constraint.budget), constraint.budget)


def _needed(energy: EnergyPredictor, scope: Scope, levels: Levels) -> tuple[float, float]:
    """Return what one network needs by the predictor, and its sum over units, in mJ."""
    predicted = energy.predict(scope.network(levels)[1])
    return predicted.upper_mj(scope.confidence), predicted.lut_mj


def _rows(levels: Levels | None) -> list[Levels]:
    return [] if levels is None else [levels[[i]] for i in range(len(levels))]
