"""The part of a workspace's space that a search may use, with what its networks cost and score."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp

import numpy as np
import numpy.typing as npt

from chamnet.errors import ConfigError
from chamnet.networks import Network, load_all
from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.space_accuracy import SpaceAccuracy
from chamnet.predictors.upper import UpperLatency
from chamnet.quantities import Budget
from chamnet.search import Constraint, Metric, Problem
from chamnet.space import CostTables, Genome, Levels, SearchSpace
from chamnet_host.workspace import Workspace

__all__ = ["Scope"]


@dataclass(frozen=True, eq=False)
class Scope:
    """A space or a part of one.

    Attributes:
        whole: The workspace's space; genomes are given in it.
        space: What is searched.
        cost_tables: Metric -> cost of its networks.
        accuracy: Scores its networks.
        surrogate: Scores them alike, and adds up along the chain; None where `accuracy` does so itself, or none is known.
        upper: What latency budgets bound instead of the expected latency, if anything.
    """

    whole: SearchSpace
    space: SearchSpace
    cost_tables: Mapping[str, CostTables]
    accuracy: SpaceAccuracy
    surrogate: SpaceAccuracy | None
    upper: UpperLatency | None = None

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        fixed: Mapping[str, int] | None = None,
        *,
        channel_multiple: int = 1,
        confidence: float | None = None,
    ) -> "Scope":
        """Return what is left of a workspace's space.

        Args:
            workspace: Gives space, tables and predictor.
            fixed: Axis -> its only value.
            channel_multiple: Of which all filters are multiples.
            confidence: With which latency budgets are to be kept; None for the expected latency.

        Raises:
            ConfigError: A confidence out of range, nothing is left, or there is no such axis.
            NotProfiledError: The target was not profiled.
        """
        if confidence is not None and not 0.5 <= confidence < 1:
            raise ConfigError(f"confidence {confidence:g}: give at least 0.5 and less than 1, such as 0.9")
        space = workspace.space.restricted(fixed, channel_multiple=channel_multiple)
        tables = {name: costs.restricted(space) for name, costs in workspace.cost_tables.items()}
        accuracy = workspace.accuracy.for_space(space, tables["macs"], workspace.recipe)
        surrogate = None
        if accuracy.separable is None:
            shipped = AccuracyPredictor.load()
            recipe = workspace.recipe if workspace.recipe in shipped.recipes else None
            surrogate = shipped.for_space(space, tables["macs"], recipe)
        upper = confidence and UpperLatency(workspace.latency.calibration.spread, confidence)
        return cls(workspace.space, space, tables, accuracy, surrogate, upper or None)

    def metric(self, budget: Budget) -> Metric:
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

    def scaled(self, factor: float) -> "Scope":
        """Return the same with every latency multiplied."""
        latency = self.cost_tables["latency_ms"]
        tables = tuple(factor * table for table in latency.tables)
        return replace(self, cost_tables={**self.cost_tables, "latency_ms": replace(latency, tables=tables)})

    def problem(self, constraints: tuple[Constraint, ...]) -> Problem:
        """Return the search for the most accurate network within budgets."""
        return Problem(
            self.space,
            self.accuracy.top1,
            constraints,
            separable=self.accuracy.separable,
            surrogate=self.surrogate.separable if self.surrogate else None,
        )

    def network(self, levels: Levels) -> tuple[Genome, Network]:
        """Return genome and network of one row of levels, shape `1 x d`, as the whole space names them."""
        (genome,) = self.space.genomes(levels)
        genome = self.whole.genome(self.space.architecture(genome))
        return genome, self.whole.decode(genome)

    @property
    def published(self) -> Levels:
        """The published networks that lie in the space, shape `n x d`."""
        architectures = [replace(p.architecture, dtype=self.space.dtype) for p in load_all().values()]
        inside = [self.space.genome(each) for each in architectures if self.space.holds(each)]
        return np.asarray(self.space.levels(inside))
