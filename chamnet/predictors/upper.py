"""The latency that a network keeps with a given confidence: its prediction and what the interval adds.

With latency `v` and `n` units, the interval's upper end is `f(v, n) = v exp(q sqrt(flat^2 + (call n / v)^2))`, the
perspective of a convex function: convex itself and of degree one, so that a tangent plane through the origin lies below
it everywhere (3.2.6 of [Boyd2004]_). The plane adds up along a chain, and a search can bound with it.

References:
    [Boyd2004] Convex Optimization. Cambridge University Press 2004.
"""

from dataclasses import dataclass
from math import exp, hypot
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from chamnet.predictors.latency import ResidualModel

__all__ = ["UpperLatency"]

FloatArray = npt.NDArray[np.float64]

_INTERVAL = NormalDist().inv_cdf(0.95)  # what the quantile of a 90 % interval stands for


@dataclass(frozen=True, slots=True)
class UpperLatency:
    """Upper bounds on latency at one confidence.

    Attributes:
        spread: How far networks lie from their prediction.
        confidence: Probability that a network keeps its bound, 0.5 to below 1; 0.95 is the upper end of the 90 %
            interval.
    """

    spread: ResidualModel
    confidence: float

    @property
    def quantile(self) -> float:
        """Standard deviations between prediction and bound."""
        return self.spread.quantile * NormalDist().inv_cdf(self.confidence) / _INTERVAL

    def ms(self, latency_ms: FloatArray, units: FloatArray) -> FloatArray:
        """Return the bound of networks of some predicted latency and number of units, shape `n`."""
        upper: FloatArray = latency_ms * np.exp(self.quantile * self.spread.deviation(units, latency_ms))
        return upper

    def plane(self, latency_ms: float, units: float) -> tuple[float, float]:
        """Return what a bound takes at least of each ms and of each unit; exact at the point given."""
        flat, share = self.spread.flat, self.spread.call_ms * units / latency_ms
        deviation = hypot(flat, share)
        grown = exp(self.quantile * deviation)
        bent = self.quantile * grown * (share / deviation if deviation else 0.0)  # of f, for each share
        return grown - bent * share, bent * self.spread.call_ms
