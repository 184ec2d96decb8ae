"""Energy of a network as a sum over its units: net energy of each, idle power once, two numbers calibrated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from chamnet.predictors.latency import LatencyPredictor, fit_relative
from chamnet.predictors.power import KnownPower, PowerModel
from chamnet.units import Unit

__all__ = ["FEWEST", "SOURCES", "EnergyCalibration", "EnergySource", "NetworkSum", "UnitEnergy"]

FloatArray = npt.NDArray[np.float64]
EnergySource = Literal["idle", "measured", "interpolated", "missing", "below_noise"]
SOURCES: tuple[EnergySource, ...] = get_args(EnergySource)

FEWEST = 4  # networks that two numbers and their errors need
_SCALES = 0.2  # how far sums of units may lie from networks
_BASES = 0.1  # how far from idle power that of the whole time may lie, in net power
_LEAST_NOISE = 0.03  # of a sum: units interpolated alike are off alike, which residuals do not show
_SMALLEST = 0.05  # a unit never costs less than this share of what its row and idling take


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitEnergy:
    """One unit's share of a prediction.

    Attributes:
        unit: The unit.
        energy_mj: What it adds to the network, calibrated, idle power for its time included.
        net_w: Power that it adds to that of the idling device, measured or interpolated.
        source: Where the power and the time come from: the worse of both.
    """

    unit: Unit
    energy_mj: float
    net_w: float
    source: EnergySource


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyCalibration:
    """How units become a network: `scale * net power + base_w`, times each unit's time.

    Attributes:
        scale: Factor on net power.
        base_w: Power for the whole time: that of the idling device, moved by what networks take beside their units.
        networks: How many it was fitted to.
        rough: Mean relative deviation that units not measured bring into these networks: their errors hold it.
        tested_mj: Smallest and largest energy among them.
    """

    scale: float
    base_w: float
    networks: int = 0
    rough: float = 0.0
    tested_mj: tuple[float, float] = (0.0, math.inf)

    @classmethod
    def fit(
        cls,
        sums: Sequence["NetworkSum"],
        truth_mj: FloatArray,
        idle_w: float,
        *,
        fewest: int = FEWEST,
    ) -> "EnergyCalibration":
        """Fit by least squares of the relative error, drawn towards what units and the idling device say.

        Args:
            sums: Of networks measured whole, `n` of them.
            truth_mj: Their energies, shape `n`.
            idle_w: Power of the idling device.
            fewest: Networks below which nothing is fitted.
        """
        if len(sums) < fewest:
            return cls(scale=1.0, base_w=idle_w)
        design = np.array([(each.net_mj, each.latency_ms) for each in sums])
        usual_w = float(np.mean(design[:, 0] / design[:, 1]))
        expected, deviation = np.array([1.0, idle_w]), np.array([_SCALES, _BASES * usual_w])
        (scale, base_w), _ = fit_relative(design, truth_mj, expected, deviation, least_noise=_LEAST_NOISE)
        return cls(
            scale=max(scale, _SMALLEST),
            base_w=max(base_w, 0.0),
            networks=len(sums),
            rough=float(np.mean([each.rough for each in sums])),
            tested_mj=(float(truth_mj.min()), float(truth_mj.max())),
        )

    def energy_mj(self, each: "NetworkSum") -> float:
        """Return the energy of a network."""
        return float(self.costs_mj(each.known.net_w, each.costs_ms, self.base_w).sum())

    def costs_mj(self, net_w: FloatArray, costs_ms: FloatArray, idle_w: float) -> FloatArray:
        """Return what units add to a network, shape `n`, idle power for their time included: never zero."""
        power: FloatArray = np.maximum(self.scale * net_w + self.base_w, _SMALLEST * (net_w + idle_w))
        return power * costs_ms


@dataclass(frozen=True, slots=True)
class NetworkSum:
    """A network's units, `n` of them: their power, the time they take in it, and where both come from.

    Attributes:
        units: The units, in order.
        known: Their power.
        costs_ms: Their calibrated times, shape `n`.
        sources: The worse of where power and time come from.
    """

    units: tuple[Unit, ...]
    known: KnownPower
    costs_ms: FloatArray
    sources: tuple[EnergySource, ...]

    @classmethod
    def of(cls, units: Sequence[Unit], power: PowerModel, latency: LatencyPredictor) -> "NetworkSum":
        """Look units up."""
        rows_ms, _, timed = latency.rows_ms(units)
        known = power.predict(units)
        told = (known.measured.tolist(), known.hidden.tolist(), known.known.tolist())
        sources = tuple(map(_source, *told, timed))
        return cls(tuple(units), known, latency.costs_ms(units, rows_ms), sources)

    @property
    def latency_ms(self) -> float:
        """Time of one run."""
        return float(self.costs_ms.sum())

    @property
    def net_mj(self) -> float:
        """Energy that units add to that of the idling device."""
        return float((self.known.net_w * self.costs_ms).sum())

    @property
    def rough(self) -> float:
        """Relative deviation of the net energy by units without a figure of their kind, all in one direction."""
        doubtful = np.array([source in ("missing", "below_noise") for source in self.sources], dtype=bool)
        off_mj = (self.known.net_w * self.costs_ms * self.known.deviation)[doubtful]
        return float(off_mj.sum()) / self.net_mj


def _source(measured: bool, hidden: bool, known: bool, timed: str) -> EnergySource:
    """Return where a unit's energy comes from: the worse of its power's and its time's source."""
    if hidden:
        return "below_noise"
    if not known or timed == "missing":
        return "missing"
    return "measured" if measured and timed == "measured" else "interpolated"
