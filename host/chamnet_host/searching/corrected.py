"""Searches under energies that do not add up: by evolution, for no exact search can take them apart.

Energies of a process over whole networks do not add up along a network, nor do upper ends of intervals. The evolution asks for
them a hundred thousand times a second (`SpaceEnergy`); what it finds is nearly always the best, and never proven to be.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from chamnet.errors import InfeasibleBudgetError
from chamnet.predictors.energy import EnergyModel
from chamnet.predictors.space_energy import SpaceEnergy
from chamnet.search import Constraint, Metric, Problem, SearchResult, SearchSettings, evolve
from chamnet.search.constraints import format_amount
from chamnet_host.searching.scope import Scope
from chamnet_host.workspace import Workspace

__all__ = ["Correction", "is_corrected", "search_corrected"]

Progress = Callable[[int, float | None], None]

_TRIES = 5  # until the answer keeps the budget by the predictor itself
_ROUNDING = 1e-9  # relative: what predictions one by one and many at once may differ by


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """How energies that do not add up were met.

    Attributes:
        model: What predicts energies.
        factor: What the answer takes, over its sum over units.
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
    workspace: Workspace,
    scope: Scope,
    constraints: tuple[Constraint, ...],
    settings: SearchSettings,
    progress: Progress | None = None,
) -> tuple[SearchResult, Correction]:
    """Return the most accurate network found that keeps the budgets by the predictor, and what it takes.

    Args:
        workspace: Gives the predictor.
        scope: What is searched.
        constraints: One of them on energy.
        settings: Of the evolution.
        progress: As of `evolve`.

    Raises:
        InfeasibleBudgetError: No network keeps the budgets, or none was found.
    """
    energy = workspace.require_energy()
    limit_mj = next(each.limit for each in constraints if each.metric.name == "energy_mj")
    metric, aimed_mj, needed_mj = _metric(workspace, scope), limit_mj * (1 + _ROUNDING), math.inf
    for searches in range(1, _TRIES + 1):
        truly = tuple(_on(each, metric, aimed_mj) for each in constraints)
        result = _evolved(scope, truly, settings, progress)
        predicted = energy.predict(scope.network(result.levels)[1])
        needed_mj = predicted.upper_mj(scope.confidence)
        if needed_mj <= limit_mj * (1 + 2 * _ROUNDING):
            factor = needed_mj / predicted.lut_mj
            return result, Correction(
                model=energy.chosen, factor=factor, needed_mj=needed_mj, searches=searches
            )
        aimed_mj *= limit_mj / needed_mj  # units of kinds never measured widen its interval
    raise InfeasibleBudgetError(
        f"budget {format_amount('energy_mj', limit_mj)}: {searches} searches found no network that keeps it by {energy.chosen};"
        f" the last one needs {format_amount('energy_mj', needed_mj, round_up=True)}; raise the budget"
    )


def _evolved(
    scope: Scope, constraints: tuple[Constraint, ...], settings: SearchSettings, progress: Progress | None
) -> SearchResult:
    """Return what evolution finds; where sums say that nothing keeps the budgets, look for what does without them."""
    problem = scope.problem(constraints)
    try:
        return evolve(problem, settings, starts=scope.published, progress=progress)
    except InfeasibleBudgetError:
        spared = Problem(scope.space, lambda levels: -(problem.costs(levels) / problem.limits).max(axis=0))
        brief = replace(settings, restarts=1, generations=30, kicks=0)
        found = evolve(spared, brief, starts=constraints[0].metric.tables.lowest_each())
        if found.accuracy < -1:
            raise
        return evolve(problem, settings, starts=found.levels, progress=progress)


def _metric(workspace: Workspace, scope: Scope) -> Metric:
    """Return energy by the predictor itself, or the upper end of its interval; sums only say where to begin."""
    sums = workspace.cost_tables["energy_mj"].restricted(scope.space)
    macs = scope.metrics.cost_tables["macs"]
    predicted = SpaceEnergy(workspace.require_energy(), sums, macs, scope.confidence)
    return Metric("energy_mj", sums, exact=predicted.mj)


def _on(constraint: Constraint, energy: Metric, limit_mj: float) -> Constraint:
    """Return a budget on energy as one on that metric; any other as it is."""
    if constraint.metric.name != "energy_mj":
        return constraint
    return Constraint(energy, replace(constraint.budget, limit=limit_mj))
