"""Physical quantities: the only unit conversions, and the budgets people type.

Results are in ms and mJ everywhere; raw samples are in ns.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from chamnet.errors import BudgetError

__all__ = ["Budget", "format_count", "ns_to_ms", "parse_budget", "parse_budgets"]

_NS_PER_MS = 1_000_000


def ns_to_ms(duration_ns: float) -> float:
    """Convert nanoseconds to milliseconds.

    >>> ns_to_ms(2_500_000)
    2.5
    """
    return duration_ns / _NS_PER_MS


def format_count(count: float) -> str:
    """Shorten a count of MACs or parameters for people.

    >>> format_count(300_774_272)
    '300.8 M'
    """
    for scale, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= scale:
            return f"{count / scale:.1f}{suffix}"
    return f"{count:.0f}"


@dataclass(frozen=True, slots=True)
class Budget:
    """An upper bound on one metric.

    Attributes:
        metric: `latency_ms`, `energy_mj`, `macs`, `params` or `weight_bytes`.
        limit: The bound, in the metric's own unit.
        text: What the user typed.
    """

    metric: str
    limit: float
    text: str


# unit -> (metric, factor to the metric's own unit); matched without regard to case
_UNITS: dict[str, tuple[str, float]] = {
    "us": ("latency_ms", 1e-3),
    "ms": ("latency_ms", 1.0),
    "s": ("latency_ms", 1e3),
    "uj": ("energy_mj", 1e-3),
    "mj": ("energy_mj", 1.0),
    "j": ("energy_mj", 1e3),
    "macs": ("macs", 1.0),
    "kmacs": ("macs", 1e3),
    "mmacs": ("macs", 1e6),
    "gmacs": ("macs", 1e9),
    "params": ("params", 1.0),
    "kparams": ("params", 1e3),
    "mparams": ("params", 1e6),
    "b": ("weight_bytes", 1.0),
    "kb": ("weight_bytes", 1e3),
    "mb": ("weight_bytes", 1e6),
}
_BUDGET = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|\.[0-9]+)\s*([a-zA-Z]+)\s*", re.ASCII)


def parse_budget(text: str) -> Budget:
    """Read one budget such as `20ms`, `35mJ`, `300MMACs`, `4Mparams` or `5MB`.

    Raises:
        BudgetError: Not a number with a known unit, or not above zero.

    >>> parse_budget("20ms")
    Budget(metric='latency_ms', limit=20.0, text='20ms')
    """
    match = _BUDGET.fullmatch(text)
    if match is None:
        raise BudgetError(f"budget {text!r} is not a number with a unit; try 20ms, 300MMACs, 4Mparams or 5MB")
    unit = match[2].lower()
    if unit not in _UNITS:
        known = "us, ms, s (latency), mJ, J (energy), MMACs, GMACs, kparams, Mparams, kB, MB (weights)"
        raise BudgetError(f"budget {text!r}: unknown unit {match[2]!r}; known: {known}")
    metric, factor = _UNITS[unit]
    limit = float(match[1]) * factor
    if not 0 < limit < float("inf"):
        raise BudgetError(f"budget {text!r} must be above zero and finite")
    return Budget(metric, limit, text.strip())


def parse_budgets(text: str, read: Callable[[str], Budget] = parse_budget) -> tuple[Budget, ...]:
    """Read budgets that hold together, separated by commas, one per metric.

    Args:
        text: What the user typed.
        read: Reads one of them.

    Raises:
        BudgetError: One of them cannot be read, or two bound the same metric.
    """
    budgets = tuple(read(part.strip()) for part in text.split(","))
    metrics = [budget.metric for budget in budgets]
    if repeated := {metric for metric in metrics if metrics.count(metric) > 1}:
        raise BudgetError(
            f"budget {text!r} bounds {', '.join(sorted(repeated))} twice; repeat --budget instead"
        )
    return budgets
