"""Search: the most accurate network of a space within budgets."""

from chamnet.search.constraints import Constraint, Metric, check_feasible, format_amount
from chamnet.search.evolution import evolve
from chamnet.search.exact import ExactSearch, Proven
from chamnet.search.front import FrontPoint, pareto_front
from chamnet.search.problem import Generation, Problem, SearchResult, SearchSettings
from chamnet.search.solvers import SOLVERS, SolverChoice, search

__all__ = [
    "SOLVERS",
    "Constraint",
    "ExactSearch",
    "FrontPoint",
    "Generation",
    "Metric",
    "Problem",
    "Proven",
    "SearchResult",
    "SearchSettings",
    "SolverChoice",
    "check_feasible",
    "evolve",
    "format_amount",
    "pareto_front",
    "search",
]
