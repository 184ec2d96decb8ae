"""Energies of a space's genomes, for searches that ask for millions."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from chamnet.predictors.energy import EnergyPredictor, widths
from chamnet.space import CostTables, Levels

__all__ = ["SpaceEnergy"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SpaceEnergy:
    """Predicts genomes of a space, or of a part of one, whose structure a predictor was fitted to.

    Attributes:
        predictor: The predictor.
        sums: Energy of the networks by its sum over units, in mJ.
        macs: Their MACs.
        confidence: With which networks keep what is predicted, 0.5 or more; None for the expected energy.
    """

    predictor: EnergyPredictor
    sums: CostTables
    macs: CostTables
    confidence: float | None = None

    def mj(self, levels: Levels) -> FloatArray:
        """Return energies of genomes (`n x d`) in mJ, shape `n`, as `EnergyPredictor.predict` gives them.

        An upper end is a little low where units of kinds never measured widen the interval.
        """
        known = self._features(levels), np.log(self.macs.total(levels)), self.sums.total(levels)
        value = self.predictor.expected_mj(*known)
        if self.confidence is None:
            return value
        width = self.predictor.quantile * widths(self.confidence)
        upper: FloatArray = value * np.exp(width * self.predictor.deviations(*known))
        return upper

    def _features(self, levels: Levels) -> FloatArray:
        first, places, scaled = self._tables
        rows = np.repeat(first.T, len(levels), axis=1)
        for place, table, column in zip(places, scaled, levels.T, strict=True):
            np.take(table, column, out=rows[place], mode="clip")
        return rows.T

    @cached_property
    def _tables(self) -> tuple[FloatArray, list[int], list[FloatArray]]:
        """Features of the first genome, shape `1 x f`; of each decision, which one it is, and its values by level."""
        structure, space = self.predictor.structure, self.sums.space
        places = [structure.feature_names.index(axis.name) for axis in space.decisions]
        scaled = []
        for column, place in enumerate(places):
            levels = np.zeros((space.sizes[column], len(space.sizes)), dtype=np.int32)
            levels[:, column] = np.arange(len(levels))
            scaled.append(structure.scale(structure.values_of(space, levels))[:, place].copy())
        first = structure.scale(structure.values_of(space, np.zeros((1, len(space.sizes)), dtype=np.int32)))
        return first, places, scaled
