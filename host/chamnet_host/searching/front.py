"""The most accurate network for every budget on a target at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chamnet.errors import BudgetError, ConfigError
from chamnet.networks import load_all
from chamnet.search import FrontPoint, Metric, pareto_front
from chamnet.space import Genome
from chamnet_host.prediction import Prediction, predict
from chamnet_host.searching.budgets import resolve_budgets
from chamnet_host.searching.scope import Scope
from chamnet_host.workspace import Workspace

__all__ = ["Front", "FrontNetwork", "cost_of", "find_front"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontNetwork:
    """One point of a front.

    Attributes:
        point: Budget, cost, accuracy and what none exceeds.
        genome: Of the network.
        prediction: The network with its latency and accuracy.
    """

    point: FrontPoint
    genome: Genome
    prediction: Prediction

    def to_json(self) -> dict[str, Any]:
        """Return it as the documented JSON."""
        network, proven = self.prediction.network, self.point.proven
        return {
            "limit": self.point.limit,
            "cost": self.point.cost,
            "network": network.name,
            "genome": list(self.genome),
            "architecture": network.architecture.to_dict(),
            "predicted": self.prediction.to_json(),
            "optimality": {
                "status": "bounded" if proven.gap else "optimal",
                "gap_top1": proven.gap,
                "bound_top1": proven.bound,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The best accuracy against one metric, on one target.

    Attributes:
        target: Name of the device profile.
        metric: Whose budget varies.
        held: Budgets that hold all along, as typed.
        networks: Cheapest first.
        beside: Published networks of the space, for comparison.
        searched: How many networks were searched.
        kernel: Of the accuracy predictor that every proof holds under.
    """

    target: str
    metric: str
    held: str
    networks: tuple[FrontNetwork, ...]
    beside: tuple[Prediction, ...]
    searched: int
    kernel: str

    def to_json(self) -> dict[str, Any]:
        """Return it as the documented JSON."""
        return {
            "target": self.target,
            "metric": self.metric,
            "held": self.held,
            "networks_searched": self.searched,
            "predictor": self.kernel,
            "networks": [each.to_json() for each in self.networks],
        }


def find_front(
    workspace: Workspace,
    *,
    metric: str = "latency_ms",
    held: str = "",
    points: int = 64,
    gap: float = 0.0,
    scope: Scope | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Front:
    """Return the most accurate network for budgets from the lowest to the highest that matter.

    Args:
        workspace: Gives space, target and predictors.
        metric: Whose budget varies.
        held: Budgets on other metrics that hold all along, separated by commas; empty for none.
        points: How many budgets, evenly spaced in log.
        gap: Points of top-1 between each answer and its bound that are good enough.
        scope: The part of the space to search; all of it by default.
        progress: Called with budgets done and their number.

    Raises:
        BudgetError: A budget cannot be read, or is on the metric that varies.
        ConfigError: The accuracy predictor does not add up stage by stage, or the scope has a confidence.
        InfeasibleBudgetError: No network keeps the budgets that hold.
        NotProfiledError: The target was not profiled.
    """
    scope = scope or Scope.of(workspace)
    if scope.confidence is not None:
        raise ConfigError(
            f"a front is of expected costs; leave out the confidence {scope.confidence:g}, or search for one budget"
        )
    if scope.accuracy.separable is None:
        raise ConfigError(
            "a front needs an accuracy that adds up stage by stage, and this predictor's does not; choose an additive one"
            " (`chamnet-host accuracy fit --kernel additive`)"
        )
    if metric == "energy_mj":
        workspace.require_energy()
    others = resolve_budgets(held, workspace, scope.metrics).constraints if held else ()
    if any(other.metric.name == metric for other in others):
        raise BudgetError(
            f"--budget {held}: bounds what the front sweeps; give budgets on other metrics, or none"
        )
    found = pareto_front(
        scope.accuracy.separable,
        Metric(metric, scope.metrics.cost_tables[metric]),
        others,
        points=points,
        gap=gap,
        progress=progress,
    )
    return Front(
        target=workspace.device.name,
        metric=metric,
        held=held,
        networks=tuple(_network(workspace, scope, point) for point in found),
        beside=tuple(_beside(workspace)),
        searched=scope.space.cardinality,
        kernel=workspace.accuracy.model.kernel.name,
    )


def _network(workspace: Workspace, scope: Scope, point: FrontPoint) -> FrontNetwork:
    genome, network = scope.network(point.proven.levels)
    return FrontNetwork(point=point, genome=genome, prediction=predict(workspace, network))


def _beside(workspace: Workspace) -> Sequence[Prediction]:
    networks = (published.build().cast(workspace.space.dtype) for published in load_all().values())
    return [
        predict(workspace, network) for network in networks if workspace.space.holds(network.architecture)
    ]


def cost_of(prediction: Prediction, metric: str) -> float | None:
    """Return a network's metric, energy by its sum over units; None where it is not predicted."""
    if metric == "energy_mj":
        return prediction.energy.lut_mj if prediction.energy else None
    if metric == "latency_ms":
        return prediction.latency.value if prediction.latency else None
    return float(getattr(prediction.network, metric))
