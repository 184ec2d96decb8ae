"""A search that measures its candidates, learns from them how far predictions are off here, and searches again."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from chamnet.search import Constraint, SearchSettings, SolverChoice
from chamnet_host.measuring.verification import Verification, verify
from chamnet_host.searching.answer import Answer, search
from chamnet_host.searching.scope import Scope
from chamnet_host.workspace import Workspace

__all__ = ["Verified", "search_verified"]

_ROUNDS = 4
_CANDIDATES = 3

Progress = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """An answer whose latency was measured.

    Attributes:
        answer: The last search.
        winner: The most accurate network that was measured within the budget; None if none was.
        measured: Every network measured, in order.
        limit_ms: The budget.
        rounds: Searches made.
    """

    answer: Answer
    winner: Verification | None
    measured: tuple[Verification, ...]
    limit_ms: float
    rounds: int

    def to_json(self) -> dict[str, Any]:
        """Return it as the documented JSON."""
        return {
            "limit_ms": self.limit_ms,
            "rounds": self.rounds,
            "winner": self.winner and self.winner.to_json(),
            "measured": [each.to_json() for each in self.measured],
        }


def search_verified(
    workspace: Workspace,
    budget: str,
    settings: SearchSettings | None = None,
    *,
    solver: SolverChoice = "auto",
    scope: Scope | None = None,
    visits: int = 20,
    progress: Progress = lambda number, done, total: None,
) -> Verified:
    """Search, measure the best candidates, and search again until the most accurate one keeps the budget as measured.

    What networks near the budget take beyond their prediction scales all latencies of the next search.

    Args:
        workspace: Gives space, target and predictors.
        budget: Budgets that hold together, one of them on latency.
        settings: Of the evolution.
        solver: As in `search`.
        scope: The part of the space to search; all of it by default.
        visits: Of each network.
        progress: Called with the number of the search, visits done, and their number.

    Raises:
        BudgetError: No budget bounds latency.
        DeviceError: The agent was lost or a network could not be measured.
        InfeasibleBudgetError: No network keeps the budget, as far as measured.
    """
    scope = scope or Scope.of(workspace)
    measured: dict[str, Verification] = {}
    factor, asked = 1.0, budget
    for number in range(1, _ROUNDS + 1):
        answer = search(
            workspace, asked, settings, solver=solver, scope=scope.scaled(factor), top=_CANDIDATES
        )
        limit_ms = answer.budgets.latency_ms("--verify measures latency")
        # words such as 40% mean the same in each round, however latencies are scaled
        asked = ",".join(_amount(constraint) for constraint in answer.budgets.constraints)
        networks = [each.network for each in (answer.prediction, *answer.others)]
        new = [network for network in networks if network.digest not in measured]

        def told(done: int, total: int, number: int = number) -> None:
            progress(number, done, total)

        for found in verify(workspace, new, visits=visits, progress=told) if new else ():
            measured[found.prediction.network.digest] = found
        best = measured[answer.prediction.network.digest]
        errors = [found.error for found in measured.values() if found.error is not None]
        factor = median(1 / (1 + error) for error in errors)
        if best.row.latency_ms <= limit_ms or (not new and number > 1):
            break
    return Verified(
        answer=answer,
        winner=_winner(measured, limit_ms),
        measured=tuple(measured.values()),
        limit_ms=limit_ms,
        rounds=number,
    )


def _amount(constraint: Constraint) -> str:
    units = {"latency_ms": "ms", "energy_mj": "mJ"}
    name = constraint.metric.name
    return f"{constraint.limit!r}{units[name]}" if name in units else constraint.budget.text


def _winner(measured: dict[str, Verification], limit_ms: float) -> Verification | None:
    """Return the most accurate network that kept the budget."""
    kept = [each for each in measured.values() if each.row.latency_ms <= limit_ms]
    return max(
        kept, key=lambda each: each.prediction.top1.value if each.prediction.top1 else 0.0, default=None
    )
