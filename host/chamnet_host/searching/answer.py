"""The answer to a search: a network, what is predicted of it, and what binds it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from chamnet.errors import ConfigError
from chamnet.search import SearchResult, SearchSettings, SolverChoice
from chamnet.search import search as find
from chamnet.space import Genome, Levels
from chamnet_host.prediction import Prediction, predict
from chamnet_host.searching.budgets import ResolvedBudgets, resolve_budgets
from chamnet_host.searching.corrected import Correction, is_corrected, search_corrected
from chamnet_host.searching.scope import Scope
from chamnet_host.workspace import Workspace

__all__ = ["Answer", "search"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The best network found under budgets that hold together.

    Attributes:
        target: Name of the device profile.
        budgets: What was asked.
        genome: Of the network, in the whole space.
        prediction: The network with its latency and accuracy.
        result: How it was found.
        others: Predictions for good networks that differ from it, the best first.
        reachable: Metric -> smallest and largest value in what was searched, of the budgeted metrics.
        networks: How many networks were searched.
        kernel: Of the accuracy predictor that every proof holds under.
        correction: How energies that do not add up were met; None where they add up, or none is bounded.
    """

    target: str
    budgets: ResolvedBudgets
    genome: Genome
    prediction: Prediction
    result: SearchResult
    others: tuple[Prediction, ...]
    reachable: dict[str, tuple[float, float]]
    networks: int
    kernel: str
    correction: Correction | None = None

    @property
    def binding(self) -> bool:
        """Whether any budget excludes any network of the space."""
        return any(self.result.binding.values())

    def to_json(self) -> dict[str, Any]:
        """Return it as the documented JSON."""
        network = self.prediction.network
        return {
            "target": self.target,
            "budget": self.budgets.text,
            "budgets": {c.metric.name: c.limit for c in self.budgets.constraints},
            "network": network.name,
            "genome": list(self.genome),
            "architecture": network.architecture.to_dict(),
            "predicted": self.prediction.to_json(),
            "binding": self.binding,
            "reachable": {
                name: {"lowest": low, "highest": high} for name, (low, high) in self.reachable.items()
            },
            "status": self.result.status,
            "solver": self.result.solver,
            "optimality": {
                "status": self.result.status,
                "gap_top1": self.result.gap,
                "bound_top1": self.result.bound,
                "predictor": self.kernel,
                "networks": self.networks,
            },
            "others": [
                {
                    "network": other.network.name,
                    "architecture": other.network.architecture.to_dict(),
                    "predicted": other.to_json(),
                }
                for other in self.others
            ],
            "energy_correction": self.correction and asdict(self.correction),
            "interrupted": self.result.interrupted,
            "evaluations": self.result.evaluations,
            "elapsed_s": self.result.elapsed_s,
        }


def search(
    workspace: Workspace,
    budget: str,
    settings: SearchSettings | None = None,
    *,
    solver: SolverChoice = "auto",
    scope: Scope | None = None,
    top: int = 1,
    progress: Callable[[int, float | None], None] | None = None,
) -> Answer:
    """Find the most accurate network of the workspace's space within a budget on its target.

    Args:
        workspace: Gives space, target and predictors.
        budget: Budgets that hold together, separated by commas.
        settings: Of the evolution; the paper's by default.
        solver: `exact`, `evolution`, or `auto`: exact where the accuracy predictor adds up stage by stage.
        scope: The part of the space to search; all of it by default.
        top: Networks wanted in all: the answer, and others that differ from it.
        progress: Called after each generation with its number and the best top-1 so far.

    Raises:
        BudgetError: The budget cannot be read.
        ConfigError: The exact search cannot take this accuracy or energy predictor apart.
        InfeasibleBudgetError: No network keeps it; the minimum is named.
        NotProfiledError: The target was not profiled.
    """
    scope = scope or Scope.of(workspace)
    budgets = resolve_budgets(budget, workspace, scope.metrics)

    settings = settings or SearchSettings(seed=workspace.seed)
    correction: Correction | None = None
    if is_corrected(workspace, scope, budgets.constraints):
        if solver == "exact":
            raise ConfigError(
                "the exact search needs energies that add up over units, and these do not: a process over whole networks"
                " predicts them, or --confidence asks for more than the expected ones; use --solver auto"
            )
        result, correction = search_corrected(workspace, scope, budgets.constraints, settings, progress)
    else:
        result = find(
            scope.problem(budgets.constraints),
            settings,
            solver=solver,
            starts=scope.published,
            top=top,
            progress=progress,
        )
    genome, network = scope.network(result.levels)
    return Answer(
        target=workspace.device.name,
        budgets=budgets,
        genome=genome,
        prediction=predict(workspace, network),
        result=result,
        others=tuple(predict(workspace, scope.network(row)[1]) for row in _rows(result.others, top - 1)),
        reachable={c.metric.name: (c.metric.lowest, c.metric.highest) for c in budgets.constraints},
        networks=scope.space.cardinality,
        kernel=workspace.accuracy.model.kernel.name,
        correction=correction,
    )


def _rows(levels: Levels | None, count: int) -> list[Levels]:
    """Return the first rows, each of shape `1 x d`."""
    return [] if levels is None else [levels[[i]] for i in range(min(count, len(levels)))]
