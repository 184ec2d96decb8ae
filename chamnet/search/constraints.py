"""What a network costs, and the budgets it must keep.

A metric is a sum over a network's units plus a constant, so its smallest and largest values in a space are
known exactly before any search starts: an impossible budget is refused at once, naming the minimum. One that does not
add up, such as the upper end of an interval, comes with a sum that it never falls below.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from chamnet.errors import InfeasibleBudgetError
from chamnet.quantities import Budget
from chamnet.space import CostTables, Levels

__all__ = ["Constraint", "Metric", "check_feasible", "format_amount"]

FloatArray = npt.NDArray[np.float64]

# metric -> (factor to its own unit, unit as `parse_budget` reads it), largest first
_UNITS: dict[str, tuple[tuple[float, str], ...]] = {
    "latency_ms": ((1.0, "ms"),),
    "energy_mj": ((1.0, "mJ"),),
    "macs": ((1e9, "GMACs"), (1e6, "MMACs"), (1e3, "kMACs"), (1.0, "MACs")),
    "params": ((1e6, "Mparams"), (1e3, "kparams"), (1.0, "params")),
    "weight_bytes": ((1e6, "MB"), (1e3, "kB"), (1.0, "B")),
}
_DIGITS = 4  # significant digits shown


@dataclass(frozen=True, eq=False)
class Metric:
    """A cost of whole networks, additive over their units.

    Attributes:
        name: As in `Budget.metric`, such as `latency_ms`; values are in that unit.
        tables: Cost of the units, by link of the space's chain.
        constant: Added to every network, such as the overhead of a call.
        exact: The cost of genomes (`n x d`), where it does not add up; never below what adds up.
        rises_with: Where it does not: sums that it rises with, and nothing else.
    """

    name: str
    tables: CostTables
    constant: float = 0.0
    exact: Callable[[Levels], FloatArray] | None = None
    rises_with: tuple[CostTables, ...] = ()

    def total(self, levels: Levels) -> FloatArray:
        """Return the cost of each genome (`n x d`), shape `n`."""
        if self.exact is not None:
            return self.exact(levels)
        return self.tables.total(levels) + self.constant

    @cached_property
    def lowest_levels(self) -> Levels:
        """The cheapest genome, shape `1 x d`."""
        return self.tables.lowest()

    @cached_property
    def lowest(self) -> float:
        """The smallest cost in the space, exactly that of `lowest_levels`."""
        return float(self.total(self.lowest_levels)[0])

    @cached_property
    def highest(self) -> float:
        """The largest cost in the space; where it does not add up, that of the network with the largest sum."""
        if self.exact is not None:
            return float(self.exact(self.tables.highest())[0])
        return float(self.tables.bounds()[1].max()) + self.constant


@dataclass(frozen=True, eq=False)
class Constraint:
    """A metric that must not exceed a budget.

    Raises:
        ValueError: The budget is on another metric.
    """

    metric: Metric
    budget: Budget

    def __post_init__(self) -> None:
        """Check that the two belong together."""
        if self.metric.name != self.budget.metric:
            raise ValueError(
                f"budget {self.budget.text!r} bounds {self.budget.metric}, not {self.metric.name}"
            )

    @property
    def limit(self) -> float:
        """The bound, in the metric's unit."""
        return self.budget.limit

    @property
    def binding(self) -> bool:
        """Whether some network of the space exceeds the budget; if not, `metric.highest` says by how far."""
        return self.limit < self.metric.highest


def check_feasible(constraints: Iterable[Constraint]) -> None:
    """Refuse budgets that no network of the space can keep, each on its own.

    Raises:
        InfeasibleBudgetError: Names the minimum reachable, and the network that reaches it.
    """
    for constraint in constraints:
        metric, budget = constraint.metric, constraint.budget
        if budget.limit < metric.lowest:
            space = metric.tables.space
            architecture = space.architecture(space.genomes(metric.lowest_levels)[0])
            raise InfeasibleBudgetError(
                f"budget {budget.text}: no network of {space.name} gets there; the lowest reachable is "
                f"{format_amount(metric.name, metric.lowest, round_up=True)}, at resolution "
                f"{architecture.resolution}; raise the budget to that or more"
            )


def format_amount(metric: str, value: float, *, round_up: bool = False) -> str:
    """Write a metric's value with its unit, in a form that `parse_budget` reads back.

    Args:
        metric: As in `Budget.metric`.
        value: In the metric's own unit.
        round_up: Never show less than `value`, so that the text serves as a budget.

    >>> format_amount("macs", 300_774_272)
    '300.8MMACs'
    >>> format_amount("macs", 300_774_272, round_up=True)
    '300.8MMACs'
    """
    scales = _UNITS[metric]
    factor, unit = next(((f, u) for f, u in scales if abs(value) >= f), scales[-1])
    scaled = value / factor
    magnitude = math.floor(math.log10(abs(scaled))) if scaled else 0
    decimals = max(0, _DIGITS - 1 - magnitude)
    step = 10.0**-decimals
    shown = f"{scaled:.{decimals}f}"
    if round_up and float(shown) * factor < value:
        shown = f"{float(shown) + step:.{decimals}f}"
    return shown + unit
