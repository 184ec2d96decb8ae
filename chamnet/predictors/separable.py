"""An accuracy that adds up along a space's chain: what an exact search can take apart."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chamnet.space import CostTables, Levels

__all__ = ["Separable"]

FloatArray = npt.NDArray[np.float64]

_HALVINGS = 50
_FAR = 1e9  # no sum is as far from the lowest


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

    def value_of(self, top1: float, lowest: float) -> float:
        """Return a sum whose top-1 in percent is the one given or a little lower; `lowest` if that is higher.

        Args:
            top1: In percent.
            lowest: A sum that no network falls below.
        """
        low, high = lowest, lowest + 1.0
        while self.finish(np.array([high]))[0] <= top1 and high - lowest < _FAR:
            high += high - lowest
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.finish(np.array([middle]))[0] <= top1 else (low, middle)
        return low

    def top1(self, levels: Levels) -> FloatArray:
        """Return top-1 in percent of each genome (`n x d`), shape `n`."""
        return self.finish(self.value(levels))
