"""Budgets as people ask for them: amounts, `like:NETWORK`, and shares of the slowest network.

Words mean latency; with `mJ` behind them, as in `40%mJ` and `like:NETWORK:mJ`, they mean energy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp

import numpy as np
import numpy.typing as npt

from chamnet.errors import BudgetError
from chamnet.networks import Network
from chamnet.predictors.upper import UpperLatency
from chamnet.quantities import Budget, parse_budget, parse_budgets
from chamnet.search import Constraint, Metric
from chamnet.space import CostTables, Levels
from chamnet_host.subjects import LAST_SEARCH, read_networks
from chamnet_host.workspace import Workspace

__all__ = ["Metrics", "ResolvedBudgets", "resolve_budgets"]

_SHARE = re.compile(r"(\d+(?:\.\d*)?)%(mj)?", re.IGNORECASE)
_ENERGY = ":mj"


@dataclass(frozen=True, eq=False)
class Metrics:
    """What networks of a space cost, and how budgets bound it.

    Attributes:
        cost_tables: Metric -> cost of each network.
        upper: What latency budgets bound instead of the expected latency, if anything.
        energy_factor: What energies by the sum over units are multiplied with in `cost_tables`.
    """

    cost_tables: Mapping[str, CostTables]
    upper: UpperLatency | None = None
    energy_factor: float = 1.0

    def of(self, budget: Budget) -> Metric:
        """Return what a budget bounds."""
        if self.upper is None or budget.metric != "latency_ms":
            return Metric(budget.metric, self.cost_tables[budget.metric])
        upper, latency, units = self.upper, self.cost_tables["latency_ms"], self.cost_tables["units"]

        def exact(levels: Levels) -> npt.NDArray[np.float64]:
            return upper.ms(latency.total(levels), units.total(levels))

        few, many = (float(np.median(each)) for each in units.bounds())
        of_ms, of_units = upper.plane(
            budget.limit / exp(upper.quantile * upper.spread.flat), (few + many) / 2
        )
        sums = (of_ms * a + of_units * b for a, b in zip(latency.tables, units.tables, strict=True))
        return Metric(
            "latency_ms", replace(latency, tables=tuple(sums)), exact=exact, rises_with=(latency, units)
        )


@dataclass(frozen=True, slots=True)
class ResolvedBudgets:
    """Budgets that hold together, as amounts.

    Attributes:
        text: What the user typed.
        constraints: One per metric.
        notes: How words became amounts, for people.
    """

    text: str
    constraints: tuple[Constraint, ...]
    notes: tuple[str, ...]

    def limit(self, metric: str) -> float | None:
        """Return the bound on a metric, in its own unit; None where there is none."""
        return next((each.limit for each in self.constraints if each.metric.name == metric), None)

    def latency_ms(self, why: str) -> float:
        """Return the bound on latency.

        Raises:
            BudgetError: There is none; says why one is needed.
        """
        if (limit_ms := self.limit("latency_ms")) is not None:
            return limit_ms
        raise BudgetError(f"{why}, and budget {self.text!r} bounds none; add one, such as 8ms")


def resolve_budgets(text: str, workspace: Workspace, metrics: Metrics | None = None) -> ResolvedBudgets:
    """Read budgets that hold together, separated by commas, on a workspace's target.

    Beside amounts such as `20ms` or `300MMACs`: `like:NETWORK` is the latency of a network on the
    target, and `40%` that share of the latency of the slowest network of the space.

    Args:
        text: Budgets.
        workspace: Gives target and networks.
        metrics: Costs of the networks that may be chosen; those of the workspace's whole space by default.

    Raises:
        BudgetError: One cannot be read, or two bound the same metric.
        NotProfiledError: A budget needs a table that was not measured.
    """
    notes: list[str] = []
    chosen = metrics or Metrics(workspace.cost_tables)
    budgets = parse_budgets(text, lambda part: _read(part, workspace, chosen, notes))
    constraints = tuple(Constraint(_metric(budget, workspace, chosen), budget) for budget in budgets)
    return ResolvedBudgets(text, constraints, tuple(notes))


def _read(part: str, workspace: Workspace, metrics: Metrics, notes: list[str]) -> Budget:
    if part.startswith("like:") and part.lower().endswith(_ENERGY):
        return _like_energy(part, workspace, notes)
    if part.startswith("like:"):
        network = _reference(part.removeprefix("like:"), workspace)
        if row := workspace.network_rows.get(network.digest):
            limit_ms, how = row.latency_ms, f"measured over {row.visits} visits"
        else:
            limit_ms, how = workspace.latency.predict(network).value, "predicted; `verify` measures it"
        notes.append(f"{part} is {limit_ms:.3f} ms on {workspace.device.name} ({how})")
        return Budget("latency_ms", limit_ms, part)
    if (match := _SHARE.fullmatch(part)) and match[2]:
        workspace.require_energy()
        most_mj = Metric("energy_mj", metrics.cost_tables["energy_mj"]).highest / metrics.energy_factor
        limit_mj = float(match[1]) / 100 * most_mj
        if limit_mj <= 0:
            raise BudgetError(f"budget {part!r} must be above zero")
        notes.append(f"{part} of the hungriest network's {most_mj:.3f} mJ is {limit_mj:.3f} mJ")
        return Budget("energy_mj", limit_mj, part)
    if match:
        slowest_ms = Metric("latency_ms", metrics.cost_tables["latency_ms"]).highest
        limit_ms = float(match[1]) / 100 * slowest_ms
        if limit_ms <= 0:
            raise BudgetError(f"budget {part!r} must be above zero")
        notes.append(f"{part} of the slowest network's {slowest_ms:.3f} ms is {limit_ms:.3f} ms")
        return Budget("latency_ms", limit_ms, part)
    return parse_budget(part)


def _like_energy(part: str, workspace: Workspace, notes: list[str]) -> Budget:
    """Return the budget that is the energy of a network, as far as any was measured."""
    energy = workspace.require_energy()
    network = _reference(part.removeprefix("like:")[: -len(_ENERGY)], workspace)
    row = workspace.energy_table.networks.get(network.digest)
    if row is not None and not row.is_below_noise:
        limit_mj, how = (
            workspace.energy_table.network_mj(network.digest),
            f"measured over {row.visits} visits",
        )
    else:
        limit_mj, how = energy.predict(network).value, "predicted"
    notes.append(f"{part} is {limit_mj:.3f} mJ on {workspace.device.name} ({how})")
    return Budget("energy_mj", limit_mj, part)


def _reference(text: str, workspace: Workspace) -> Network:
    networks = read_networks([text], workspace.space, workspace.store.get(LAST_SEARCH))
    if len(networks) != 1:
        raise BudgetError(f"like:{text}: means {len(networks)} networks; choose one, such as like:best:1")
    return networks[0]


def _metric(budget: Budget, workspace: Workspace, metrics: Metrics) -> Metric:
    if budget.metric == "energy_mj":
        workspace.require_energy()
    return metrics.of(budget)
