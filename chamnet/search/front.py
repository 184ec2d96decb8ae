"""The best accuracy for every budget at once, each point certified."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chamnet.errors import InfeasibleBudgetError
from chamnet.predictors.separable import Separable
from chamnet.quantities import Budget
from chamnet.search.constraints import Constraint, Metric, format_amount
from chamnet.search.exact import ExactSearch, Proven

__all__ = ["FrontPoint", "pareto_front"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class FrontPoint:
    """The best network under one budget.

    Attributes:
        limit: The budget, in the metric's unit.
        cost: What the network needs of it.
        proven: The network and its bound.
    """

    limit: float
    cost: float
    proven: Proven


def pareto_front(
    accuracy: Separable,
    swept: Metric,
    others: Sequence[Constraint] = (),
    *,
    limits: FloatArray | None = None,
    points: int = 64,
    gap: float = 0.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[FrontPoint]:
    """Return the best network for each of many budgets on one metric, cheapest first, each network once.

    Args:
        accuracy: What is maximised.
        swept: The metric whose budget varies.
        others: Budgets that hold all along.
        limits: The budgets; None for `points` of them, evenly spaced in log over what is reachable.
        points: See `limits`.
        gap: Points of top-1 between answer and bound that are good enough.
        progress: Called with budgets done and their number.

    Raises:
        InfeasibleBudgetError: The other budgets leave no network.
    """
    if limits is None:
        limits = np.geomspace(swept.lowest, swept.highest, points)
    search = ExactSearch(accuracy, [swept, *(other.metric for other in others)])
    found: list[FrontPoint] = []
    refused: InfeasibleBudgetError | None = None
    for done, limit in enumerate(np.sort(limits).tolist(), 1):
        budget = Budget(swept.name, limit, format_amount(swept.name, limit, round_up=True))
        starts = found[-1].proven.levels if found else None
        try:
            proven = search.best((Constraint(swept, budget), *others), gap=gap, starts=starts)
        except InfeasibleBudgetError as error:
            refused = error
        else:
            point = FrontPoint(limit, float(swept.total(proven.levels)[0]), proven)
            if not found or proven.top1 > found[-1].proven.top1:
                found.append(point)
        progress(done, len(limits))
    if not found and refused is not None:
        raise refused
    return found
