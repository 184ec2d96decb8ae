"""Search: the most accurate network of a space within budgets."""

from chamnet.search.constraints import Constraint, Metric, check_feasible, format_amount
from chamnet.search.evolution import evolve
from chamnet.search.problem import Generation, Problem, SearchResult, SearchSettings

__all__ = [
    "Constraint",
    "Generation",
    "Metric",
    "Problem",
    "SearchResult",
    "SearchSettings",
    "check_feasible",
    "evolve",
    "format_amount",
]
