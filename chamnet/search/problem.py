"""What a search is asked for, how it weighs networks, and what it answers.

References:
    [Dai2019] ChamNet: Towards Efficient Network Design through Platform-Aware Model Adaptation. CVPR 2019.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from chamnet.errors import ConfigError
from chamnet.predictors.separable import Separable
from chamnet.search.constraints import Constraint
from chamnet.space import Genome, Levels, SearchSpace

__all__ = ["Generation", "Problem", "SearchResult", "SearchSettings", "Solver", "Status", "reward"]

FloatArray = npt.NDArray[np.float64]
Status = Literal["optimal", "bounded", "heuristic"]
Solver = Literal["exact", "evolution"]


@dataclass(frozen=True, eq=False)
class Problem:
    """Find the most accurate network of a space within budgets.

    Attributes:
        space: The space.
        accuracy: Predicts top-1 in percent, shape `n`, of genomes as levels, shape `n x d`. Any predictor
            will do; it is called with up to some ten thousand rows at a time.
        constraints: The budgets; all hold together. May be empty.
        separable: The same accuracy by link of the chain, where it adds up along it.
        surrogate: A similar accuracy that adds up: where to start from.

    Raises:
        ValueError: Two constraints bound one metric, or one belongs to another space.
    """

    space: SearchSpace
    accuracy: Callable[[Levels], FloatArray]
    constraints: tuple[Constraint, ...] = ()
    separable: Separable | None = None
    surrogate: Separable | None = None

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
        names = [constraint.metric.name for constraint in self.constraints]
        if len(set(names)) < len(names):
            raise ValueError(f"one metric has two constraints: {names}")
        if any(constraint.metric.tables.space != self.space for constraint in self.constraints):
            raise ValueError(f"a constraint is on another space than {self.space.name}")

    def costs(self, levels: Levels) -> FloatArray:
        """Return each constrained metric of genomes, shape `k x n`."""
        rows = [constraint.metric.total(levels) for constraint in self.constraints]
        return np.array(rows).reshape(len(rows), len(levels))

    @property
    def limits(self) -> FloatArray:
        """The budgets as a column, shape `k x 1`."""
        return np.array([constraint.limit for constraint in self.constraints]).reshape(-1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Settings of the evolutionary search.

    What is known of the paper's own [Dai2019]_, by its fact sheet: the penalised reward, alpha, exponent,
    population and generations are recollections of the paper (graded 0.5 to 0.7); no source gives the
    operators or their rates, so those are ours, chosen by `benchmarks/search_evolution.py`.

    Attributes:
        population: Networks in a generation; the paper's 96.
        generations: How often it is renewed; the paper's 100.
        alpha: Weight of an overrun, in 1/unit of the metric; None for the paper's 10 / budget.
        exponent: Power of the weighted overrun; the paper's 2.
        penalty: `ramp` takes the paper's H as max(0, cost - budget): at the defaults an overrun of 10 % costs
            1 point and one of 20 % costs 4. `step` takes it literally as 0 or 1.
        mutation: Decisions that change in a child, on average; doubled while nothing improves.
        crossover: Share of children with two parents.
        elite: Share of the population that is kept, however good the children.
        tournament: Networks that compete to be a parent.
        restarts: Populations evolved apart; if more than one, a last one then evolves from their best.
        polish: Whether local search ends the run.
        kicks: How often local search then starts anew from the best network, changed at random.
        seed: Of the random numbers.
        time_limit_s: Stop then, with the best so far; None for never. Results repeat only without it.

    Raises:
        ConfigError: A setting makes no sense.
    """

    population: int = 96
    generations: int = 100
    alpha: float | None = None
    exponent: float = 2.0
    penalty: Literal["ramp", "step"] = "ramp"
    mutation: float = 1.5
    crossover: float = 0.9
    elite: float = 0.25
    tournament: int = 3
    restarts: int = 4
    polish: bool = True
    kicks: int = 60
    seed: int = 0
    time_limit_s: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        rules = {
            "population": self.population >= 2,
            "generations": self.generations >= 0,
            "alpha": self.alpha is None or 0 < self.alpha < float("inf"),
            "exponent": 0 < self.exponent < float("inf"),
            "penalty": self.penalty in ("ramp", "step"),
            "mutation": 0 <= self.mutation < float("inf"),
            "crossover": 0 <= self.crossover <= 1,
            "elite": 0 <= self.elite <= 1,
            "tournament": self.tournament >= 1,
            "restarts": self.restarts >= 1,
            "kicks": self.kicks >= 0,
            "seed": self.seed >= 0,
            "time_limit_s": self.time_limit_s is None or self.time_limit_s > 0,
        }
        for name, sound in rules.items():
            if not sound:
                raise ConfigError(f"search setting {name} = {getattr(self, name)!r} makes no sense")


def reward(
    accuracy: FloatArray, costs: FloatArray, limits: FloatArray, *, settings: SearchSettings
) -> FloatArray:
    """Return accuracy less the penalty of each overrun, `A - sum [alpha H(F - budget)]^w` [Dai2019]_.

    Args:
        accuracy: Top-1 in percent, shape `n`.
        costs: Constrained metrics, shape `k x n`.
        limits: Their budgets, shape `k x 1`.
        settings: Gives alpha, w (`exponent`) and H (`penalty`).

    Returns:
        Reward in points, shape `n`.
    """
    alpha = 10.0 / limits if settings.alpha is None else settings.alpha
    over = np.maximum(0.0, costs - limits)
    steps = np.sign(over) if settings.penalty == "step" else over
    penalty: FloatArray = ((alpha * steps) ** settings.exponent).sum(axis=0)
    return accuracy - penalty


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation in numbers, for plots.

    Attributes:
        best: Top-1 in percent of the best network within budget so far; None before there is one.
        mean: Mean reward of the population, in points.
    """

    best: float | None
    mean: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchResult:
    """The answer of a search; it always keeps every budget.

    Attributes:
        levels: The network, shape `1 x d`.
        genome: The same as values.
        accuracy: Predicted top-1 in percent.
        metrics: Each constrained metric's value, in its own unit.
        binding: Whether each metric's budget excludes any network at all.
        evaluations: Networks whose accuracy was predicted.
        elapsed_s: Wall time of the search.
        solver: What found it.
        status: `optimal`: proven that no network within budgets is predicted better. `bounded`: proven that none
            exceeds `bound`. `heuristic`: nothing is proven.
        bound: Top-1 in percent that no network within budgets is predicted to exceed; None where nothing is proven.
        interrupted: The user stopped it.
        timed_out: The time limit stopped it.
        history: By generation, one restart after the other.
        others: Good networks that differ from the answer and each other, the best first, shape `m x d`.
    """

    levels: Levels
    genome: Genome
    accuracy: float
    metrics: Mapping[str, float]
    binding: Mapping[str, bool]
    evaluations: int
    elapsed_s: float
    solver: Solver = "evolution"
    status: Status = "heuristic"
    bound: float | None = None
    interrupted: bool = False
    timed_out: bool = False
    history: tuple[Generation, ...] = ()
    others: Levels | None = None

    @property
    def gap(self) -> float | None:
        """Points of top-1 that a better network could have at most; None where nothing is proven."""
        return None if self.bound is None else self.bound - self.accuracy
