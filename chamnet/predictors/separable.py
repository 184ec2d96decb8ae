"""An accuracy that adds up along a space's chain: what an exact search can take apart."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chamnet.space import CostTables, Levels

__all__ = ["Separable"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Separable:
    """Top-1 as `finish(sum of parts + slope * log(MACs))`, the parts one number for each link of a chain.

    Attributes:
        parts: What adds up, by link.
        macs: MACs of the networks, above zero, on the same links.
        slope: Of the logarithm of the MACs.
        finish: Turns a sum into top-1 in percent; never falls.
    """

    parts: CostTables
    macs: CostTables
    slope: float
    finish: Callable[[FloatArray], FloatArray]

    def value(self, levels: Levels) -> FloatArray:
        """Return the sum of each genome (`n x d`), shape `n`."""
        value = self.parts.total(levels)
        return value + self.slope * np.log(self.macs.total(levels)) if self.slope else value

    def top1(self, levels: Levels) -> FloatArray:
        """Return top-1 in percent of each genome (`n x d`), shape `n`."""
        return self.finish(self.value(levels))
