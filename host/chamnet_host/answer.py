"""The answer to a search: a network, what is predicted of it, and what binds it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chamnet.networks import load_all
from chamnet.search import SearchResult, SearchSettings, evolve
from chamnet.search.problem import Problem
from chamnet.space import Levels
from chamnet_host.budgets import ResolvedBudgets, resolve_budgets
from chamnet_host.prediction import Prediction, predict
from chamnet_host.workspace import Workspace

__all__ = ["Answer", "search"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The best network found under budgets that hold together.

    Attributes:
        budgets: What was asked.
        prediction: The network with its latency and accuracy.
        result: How it was found.
        reachable: Metric -> smallest and largest value in the space, of the budgeted metrics.
    """

    budgets: ResolvedBudgets
    prediction: Prediction
    result: SearchResult
    reachable: dict[str, tuple[float, float]]

    @property
    def binding(self) -> bool:
        """Whether any budget excludes any network of the space."""
        return any(self.result.binding.values())

    def to_json(self) -> dict[str, Any]:
        """Return it as the documented JSON."""
        network = self.prediction.network
        return {
            "budget": self.budgets.text,
            "budgets": {c.metric.name: c.limit for c in self.budgets.constraints},
            "network": network.name,
            "genome": list(self.result.genome),
            "architecture": network.architecture.to_dict(),
            "predicted": self.prediction.to_json(),
            "binding": self.binding,
            "reachable": {
                name: {"lowest": low, "highest": high} for name, (low, high) in self.reachable.items()
            },
            "status": self.result.status,
            "interrupted": self.result.interrupted,
            "evaluations": self.result.evaluations,
            "elapsed_s": self.result.elapsed_s,
        }


def search(
    workspace: Workspace,
    budget: str,
    settings: SearchSettings | None = None,
    *,
    progress: Callable[[int, float | None], None] | None = None,
) -> Answer:
    """Find the most accurate network of the workspace's space within a budget on its target.

    Args:
        workspace: Gives space, target and predictors.
        budget: Budgets that hold together, separated by commas.
        settings: Of the evolution; the paper's by default.
        progress: Called after each generation with its number and the best top-1 so far.

    Raises:
        BudgetError: The budget cannot be read.
        InfeasibleBudgetError: No network keeps it; the minimum is named.
        NotProfiledError: The target was not profiled.
    """
    budgets = resolve_budgets(budget, workspace)
    problem = Problem(workspace.space, workspace.space_accuracy.top1, budgets.constraints)
    result = evolve(
        problem, settings or SearchSettings(seed=workspace.seed), starts=_starts(workspace), progress=progress
    )
    prediction = predict(workspace, workspace.space.decode(result.genome))
    reachable = {c.metric.name: (c.metric.lowest, c.metric.highest) for c in budgets.constraints}
    return Answer(budgets=budgets, prediction=prediction, result=result, reachable=reachable)


def _starts(workspace: Workspace) -> Levels | None:
    """Return the published networks of the space."""
    space = workspace.space
    published = [replace(p.architecture, dtype=space.dtype) for p in load_all().values()]
    inside = [space.genome(architecture) for architecture in published if space.holds(architecture)]
    return np.asarray(space.levels(inside)) if inside else None
