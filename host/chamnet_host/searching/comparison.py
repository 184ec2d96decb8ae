"""Our answer to a budget beside the published networks, on one target."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chamnet.networks import load_all
from chamnet.search import SearchSettings, SolverChoice
from chamnet_host.measuring.verification import verify
from chamnet_host.prediction import Prediction, predict
from chamnet_host.searching.answer import Answer, search
from chamnet_host.searching.scope import Scope
from chamnet_host.workspace import Workspace

__all__ = ["Compared", "Comparison", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One network of a comparison.

    Attributes:
        name: Of the network.
        ours: Whether it answers the budget.
        prediction: Latency, accuracy, and energy where it was measured on the target, as predicted.
        published: Top-1 in percent as published at 32 bits; None for ours, and where none was.
        measured_ms: Latency measured now; None where it was not.
    """

    name: str
    ours: bool
    prediction: Prediction
    published: float | None
    measured_ms: float | None

    @property
    def latency_ms(self) -> float:
        """Measured latency, else the predicted one."""
        if self.measured_ms is not None:
            return self.measured_ms
        assert self.prediction.latency is not None
        return self.prediction.latency.value

    @property
    def top1(self) -> float | None:
        """Published top-1, else the predicted one; a table says which."""
        if self.published is not None:
            return self.published
        return self.prediction.top1.value if self.prediction.top1 else None

    def to_json(self) -> dict[str, Any]:
        """Return it as the documented JSON."""
        return {
            "network": self.name,
            "ours": self.ours,
            "predicted": self.prediction.to_json(),
            "published_top1": self.published,
            "measured_ms": self.measured_ms,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """An answer beside baselines.

    Attributes:
        answer: To the budget.
        limit_ms: The latency budget.
        limit_mj: The energy budget; None where none was asked for.
        networks: Ours and the published ones, fastest first.
    """

    answer: Answer
    limit_ms: float
    limit_mj: float | None = None
    networks: tuple[Compared, ...]

    def keeps(self, each: Compared) -> bool:
        """Return whether a network is within the budgets of latency, and of energy as predicted."""
        energy = each.prediction.energy
        hungry = self.limit_mj is not None and (energy is None or energy.value > self.limit_mj)
        return each.latency_ms <= self.limit_ms and not hungry

    @property
    def rival(self) -> Compared | None:
        """The most accurate published network within the budget; None if there is none."""
        within = [
            each for each in self.networks if not each.ours and self.keeps(each) and each.top1 is not None
        ]
        return max(within, key=lambda each: each.top1 or 0.0, default=None)

    @property
    def ours(self) -> Compared:
        """The answer."""
        return next(each for each in self.networks if each.ours)


def compare(
    workspace: Workspace,
    budget: str,
    settings: SearchSettings | None = None,
    *,
    solver: SolverChoice = "auto",
    scope: Scope | None = None,
    measure: bool = False,
    visits: int = 20,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Search, and put the answer beside every published network.

    Args:
        workspace: Gives space, target and predictors.
        budget: Budgets that hold together, one of them on latency.
        settings: Of the evolution.
        solver: As in `search`.
        scope: The part of the space to search; all of it by default.
        measure: Whether to measure all of them on the device.
        visits: Of each, where they are measured.
        progress: Called with visits done and their number.

    Raises:
        BudgetError: No budget bounds latency.
        DeviceError: The agent was lost or a network could not be measured.
        InfeasibleBudgetError: No network keeps the budget.
        NotProfiledError: The target was not profiled.
    """
    answer = search(workspace, budget, settings, solver=solver, scope=scope)
    limit_ms = answer.budgets.latency_ms("compare ranks by latency")
    ours = answer.prediction.network
    baselines = {p.name: p for p in load_all().values()}
    networks = {p.name: p.build().cast(workspace.space.dtype) for p in baselines.values()}
    measured_ms: dict[str, float] = {}
    if measure:
        found = verify(workspace, [ours, *networks.values()], visits=visits, progress=progress)
        measured_ms = {each.prediction.network.digest: each.row.latency_ms for each in found}
    compared = [
        Compared(
            name=ours.name,
            ours=True,
            prediction=answer.prediction,
            published=None,
            measured_ms=measured_ms.get(ours.digest),
        )
    ]
    compared += [
        Compared(
            name=name,
            ours=False,
            prediction=predict(workspace, network),
            published=baselines[name].top1,
            measured_ms=measured_ms.get(network.digest),
        )
        for name, network in networks.items()
    ]
    ordered = tuple(sorted(compared, key=lambda each: each.latency_ms))
    return Comparison(
        answer=answer, limit_ms=limit_ms, limit_mj=answer.budgets.limit("energy_mj"), networks=ordered
    )
