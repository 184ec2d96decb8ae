"""Latency of whole networks from the table: a sum of rows, calibrated on a few networks measured whole.

A row is the unit's latency as measured: in a ring of different units, call overhead and layout changes included.
In a network it costs less, the more so the smaller it is; two numbers per device account for that (`Calibration`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from chamnet.lut import LatencyTable
from chamnet.lut.interpolation import UnitInterpolator
from chamnet.networks import Network
from chamnet.space import CostTables, UnitGrid
from chamnet.units import Granularity, Unit

__all__ = ["Calibration", "LatencyPrediction", "LatencyPredictor", "Source", "Term", "UnitCost", "term_of"]

FloatArray = npt.NDArray[np.float64]
Source = Literal["measured", "interpolated", "missing"]
Term = Literal["units", "macs", "weight_bytes"]
TERMS: tuple[Term, ...] = ("units", "macs", "weight_bytes")

_UNCALIBRATED = 0.2  # relative deviation assumed where no network was measured whole
_FLOOR = 0.03  # noise of one network's own measurement on a shared machine
_FEWEST = 4  # networks that two numbers and their errors need
_SMALLEST = 0.05  # a unit never costs less than this share of its row
# 95 % quantile of Student's t by degrees of freedom; the last holds for more
_T95 = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81, 1.80)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCost:
    """One unit's share of a prediction.

    Attributes:
        unit: The unit.
        latency_ms: What it adds to the network, calibrated.
        row_ms: Its row, measured or interpolated.
        source: Where the row comes from.
    """

    unit: Unit
    latency_ms: float
    row_ms: float
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPrediction:
    """A network's latency with its 90 % interval, in ms.

    Attributes:
        value, low, high: Prediction and interval.
        coverage: Share of the predicted time by source; sums to 1.
        units: Each unit's share, in order.
    """

    value: float
    low: float
    high: float
    coverage: dict[Source, float]
    units: tuple[UnitCost, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How rows become shares of a network: `scale * row + coefficient * term`, two numbers for a device.

    Attributes:
        scale: Factor on a row.
        term: What the second number multiplies: 1 for each unit, or its MACs, or its weight bytes.
        coefficient: In ms per unit, MAC or byte; negative where rows carry what a network does not pay.
        residuals: Predicted over measured minus 1 of each calibration network, left out of its own fit.
    """

    scale: float
    term: Term
    coefficient: float
    residuals: tuple[float, ...]

    @classmethod
    def fit(
        cls,
        rows_ms: Sequence[FloatArray],
        chains: Sequence[Sequence[Unit]],
        truth_ms: FloatArray,
        noop_ms: float,
    ) -> "Calibration":
        """Fit by least squares of the relative error; the term is the one with the smallest left-out error.

        Args:
            rows_ms: Rows of each calibration network.
            chains: Units of each.
            truth_ms: Latency of each, measured whole, shape `n`.
            noop_ms: Latency of the empty model, taken off each unit where too few networks were measured.
        """
        if len(chains) < _FEWEST:
            return cls(scale=1.0, term="units", coefficient=-noop_ms, residuals=())
        sums_ms = np.array([rows.sum() for rows in rows_ms])
        found = []
        for term in TERMS:
            design = np.column_stack([sums_ms, [term_of(term, chain).sum() for chain in chains]])
            solution, left_out = _fit_relative(design, truth_ms)
            fitted = cls(
                scale=solution[0], term=term, coefficient=solution[1], residuals=tuple(left_out.tolist())
            )
            found.append((float((left_out**2).mean()), fitted))
        return min(found, key=lambda each: each[0])[1]

    @property
    def deviation(self) -> float:
        """Relative standard deviation of a new network's prediction."""
        if not self.residuals:
            return _UNCALIBRATED
        return max(_FLOOR, math.sqrt(sum(residual**2 for residual in self.residuals) / len(self.residuals)))

    @property
    def quantile(self) -> float:
        """Half-width of the 90 % interval in standard deviations."""
        free = len(self.residuals) - 2 if self.residuals else len(_T95)
        return _T95[min(free, len(_T95)) - 1]


def term_of(term: Term, units: Sequence[Unit]) -> FloatArray:
    """Return what a calibration's second number multiplies, shape `n`."""
    if term == "units":
        return np.ones(len(units))
    return np.array([unit.macs if term == "macs" else unit.weight_bytes for unit in units], dtype=np.float64)


def _fit_relative(design: FloatArray, truth: FloatArray) -> tuple[list[float], FloatArray]:
    """Return coefficients that minimise the relative error, and each row's error when it is left out."""
    relative = design / truth[:, None]

    def solve(keep: npt.NDArray[np.bool_]) -> FloatArray:
        return np.asarray(np.linalg.lstsq(relative[keep], np.ones(keep.sum()), rcond=None)[0])

    everyone = np.ones(len(truth), dtype=bool)
    left_out = [relative[i] @ solve(np.arange(len(truth)) != i) - 1 for i in range(len(truth))]
    return solve(everyone).tolist(), np.array(left_out)


@dataclass(frozen=True)
class LatencyPredictor:
    """Predicts the latency of networks on the platform a table was measured on.

    Attributes:
        table: The measured rows.
        interpolator: For the other units.
        calibration: From sums to networks.
        granularity: Of the units.
    """

    table: LatencyTable
    interpolator: UnitInterpolator
    calibration: Calibration
    granularity: Granularity

    @classmethod
    def fit(
        cls, table: LatencyTable, networks: Sequence[Network], granularity: Granularity
    ) -> "LatencyPredictor":
        """Fit to a table.

        Args:
            table: Rows of units, and of the networks measured whole.
            networks: Those to calibrate on; such without a row are left out.
            granularity: Of the units.

        Raises:
            NotProfiledError: The table holds no unit of that granularity.
        """
        rows = [(Unit.parse(key), row) for key, row in table.units.items()]
        rows = [(unit, row) for unit, row in rows if _fits(unit, granularity)]
        interpolator = UnitInterpolator.fit([unit for unit, _ in rows], [row.latency_ms for _, row in rows])
        measured = [network for network in networks if network.digest in table.networks]
        chains = [network.units(granularity) for network in measured]
        truth_ms = np.array([table.networks[network.digest].latency_ms for network in measured])
        rows_ms = [_rows_ms(table, interpolator, chain)[0] for chain in chains]
        calibration = Calibration.fit(rows_ms, chains, truth_ms, table.noop_ms)
        return cls(table, interpolator, calibration, granularity)

    def rows_ms(self, units: Sequence[Unit]) -> tuple[FloatArray, FloatArray, list[Source]]:
        """Return each unit's row in ms, its relative deviation, and its source; arrays of shape `n`."""
        return _rows_ms(self.table, self.interpolator, units)

    def costs_ms(self, units: Sequence[Unit], rows_ms: FloatArray) -> FloatArray:
        """Return what units add to a network, shape `n`: calibrated, and never zero."""
        calibration = self.calibration
        calibrated = calibration.scale * rows_ms + calibration.coefficient * term_of(calibration.term, units)
        return np.maximum(calibrated, _SMALLEST * rows_ms)

    def predict(self, network: Network) -> LatencyPrediction:
        """Return a network's latency with its interval and where it comes from."""
        units = network.units(self.granularity)
        rows_ms, deviation, sources = self.rows_ms(units)
        costs_ms = self.costs_ms(units, rows_ms)
        value = float(costs_ms.sum())
        rough = np.array([source == "missing" for source in sources])
        missing = (
            float(((costs_ms * deviation)[rough] ** 2).sum()) ** 0.5 / value
        )  # the others are in the residuals
        width = self.calibration.quantile * float(np.hypot(self.calibration.deviation, missing))
        coverage: dict[Source, float] = {"measured": 0.0, "interpolated": 0.0, "missing": 0.0}
        for cost, source in zip(costs_ms.tolist(), sources, strict=True):
            coverage[source] += cost / value
        shares = zip(units, costs_ms.tolist(), rows_ms.tolist(), sources, strict=True)
        return LatencyPrediction(
            value=value,
            low=value * float(np.exp(-width)),
            high=value * float(np.exp(width)),
            coverage=coverage,
            units=tuple(UnitCost(unit=u, latency_ms=c, row_ms=r, source=s) for u, c, r, s in shares),
        )

    def tables(self, grid: UnitGrid) -> CostTables:
        """Return the latency of every network of a space, as link tables in ms."""
        return grid.tables(self.costs_ms(grid.units, self.rows_ms(grid.units)[0]))


def _rows_ms(
    table: LatencyTable, interpolator: UnitInterpolator, units: Sequence[Unit]
) -> tuple[FloatArray, FloatArray, list[Source]]:
    latency_ms, deviation, known = interpolator.predict(units)
    sources: list[Source] = ["interpolated" if k else "missing" for k in known.tolist()]
    for i, unit in enumerate(units):
        if row := table.units.get(unit.key):
            latency_ms[i], deviation[i], sources[i] = row.latency_ms, row.spread or 0.0, "measured"
    return latency_ms, deviation, sources


def _fits(unit: Unit, granularity: Granularity) -> bool:
    return granularity == "block" or len(unit.all_ops) == 1
