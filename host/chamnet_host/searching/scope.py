"""The part of a workspace's space that a search may use, with what its networks cost and score."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from chamnet.errors import ConfigError
from chamnet.networks import Network, load_all
from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.space_accuracy import SpaceAccuracy
from chamnet.predictors.upper import UpperLatency
from chamnet.search import Constraint, Problem
from chamnet.space import CostTables, Genome, Levels, SearchSpace
from chamnet_host.searching.budgets import Metrics
from chamnet_host.workspace import Workspace

__all__ = ["Scope"]


@dataclass(frozen=True, eq=False)
class Scope:
    """A space or a part of one.

    Attributes:
        whole: The workspace's space; genomes are given in it.
        space: What is searched.
        metrics: What its networks cost.
        accuracy: Scores its networks.
        surrogate: Scores them alike, and adds up along the chain; None where `accuracy` does so itself, or none is known.
        confidence: With which latency and energy budgets are to be kept; None for the expected amounts.
    """

    whole: SearchSpace
    space: SearchSpace
    metrics: Metrics
    accuracy: SpaceAccuracy
    surrogate: SpaceAccuracy | None
    confidence: float | None = None

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
            confidence: With which latency and energy budgets are to be kept; None for the expected amounts.

        Raises:
            ConfigError: A confidence out of range, nothing is left, there is no such axis, or the accuracy predictor is
                of other networks.
            NotProfiledError: The target was not profiled.
        """
        if confidence is not None and not 0.5 <= confidence < 1:
            raise ConfigError(f"confidence {confidence:g}: give at least 0.5 and less than 1, such as 0.9")
        space = workspace.space.restricted(fixed, channel_multiple=channel_multiple)
        workspace.accuracy.check(space)  # before anybody is sent to measure it
        tables = {name: costs.restricted(space) for name, costs in workspace.cost_tables.items()}
        accuracy = workspace.accuracy.for_space(space, tables["macs"], workspace.recipe)
        surrogate = None
        if accuracy.separable is None:
            shipped = AccuracyPredictor.load()
            recipe = workspace.recipe if workspace.recipe in shipped.recipes else None
            if shipped.pool.structure.refusal(space) is None:
                surrogate = shipped.for_space(space, tables["macs"], recipe)
        upper = UpperLatency(workspace.latency.calibration.spread, confidence) if confidence else None
        factor = 1.0
        if confidence is not None and workspace.energy is not None:
            factor = workspace.energy.upper_factor(confidence)
            tables["energy_mj"] = _times(factor, tables["energy_mj"])
        metrics = Metrics(tables, upper, factor)
        return cls(workspace.space, space, metrics, accuracy, surrogate, confidence=confidence)

    def scaled(self, factor: float) -> "Scope":
        """Return the same with every latency multiplied."""
        costs = self.metrics.cost_tables
        scaled = {**costs, "latency_ms": _times(factor, costs["latency_ms"])}
        return replace(self, metrics=replace(self.metrics, cost_tables=scaled))

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


def _times(factor: float, costs: CostTables) -> CostTables:
    return replace(costs, tables=tuple(factor * table for table in costs.tables))
