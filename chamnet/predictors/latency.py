"""Latency of whole networks from the table: a sum of rows, calibrated on a few networks measured whole.

`latency = scale * sum(rows) + per_unit * units`, where a row is the unit's latency as measured (in a ring,
call overhead included). Without calibration `scale` is 1 and `per_unit` takes the overhead of an empty model
off each unit. Figures with their causes: the LUT fact sheet (fused units, rings, `a*S + c*N`).
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

__all__ = ["Calibration", "LatencyPrediction", "LatencyPredictor", "Source", "UnitCost"]

FloatArray = npt.NDArray[np.float64]
Source = Literal["measured", "interpolated", "missing"]

_UNCALIBRATED = 0.2  # relative deviation assumed where no network was measured whole
_FLOOR = 0.03  # noise of one network's own measurement on a shared machine
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
    """How sums of rows become latencies of networks.

    Attributes:
        scale: Factor on the sum.
        per_unit_ms: Added for every unit; negative where rows carry call overhead.
        residuals: Predicted over measured minus 1, of the networks it was fitted on.
    """

    scale: float
    per_unit_ms: float
    residuals: tuple[float, ...]

    @classmethod
    def fit(
        cls, sums_ms: Sequence[float], counts: Sequence[int], truth_ms: Sequence[float], noop_ms: float
    ) -> "Calibration":
        """Fit by least squares of the relative error, with a weak pull towards (1, -noop).

        Args:
            sums_ms: Sum of rows of each network.
            counts: Units of each network.
            truth_ms: Latency of each network, measured whole.
            noop_ms: Latency of the empty model.
        """
        start = np.array([1.0, -noop_ms])
        if not truth_ms:
            return cls(scale=1.0, per_unit_ms=-noop_ms, residuals=())
        design = np.column_stack([sums_ms, counts]) / np.asarray(truth_ms)[:, None]
        pull = np.diag(
            [0.1 / 0.3, 0.1 / max(noop_ms, 1e-3)]
        )  # standard deviations 0.3 and one no-op; 10 % noise
        normal = design.T @ design + pull**2
        solution = np.linalg.solve(normal, design.T @ np.ones(len(truth_ms)) + pull**2 @ start)
        residuals = design @ solution - 1
        return cls(
            scale=float(solution[0]), per_unit_ms=float(solution[1]), residuals=tuple(residuals.tolist())
        )

    @property
    def deviation(self) -> float:
        """Relative standard deviation of a new network's prediction."""
        free = len(self.residuals) - 2
        if free < 1:
            return _UNCALIBRATED
        spread = math.sqrt(sum(residual**2 for residual in self.residuals) / free)
        return max(_FLOOR, spread) * math.sqrt(1 + 1 / len(self.residuals))

    @property
    def quantile(self) -> float:
        """Half-width of the 90 % interval in standard deviations."""
        free = max(1, len(self.residuals) - 2) if self.residuals else len(_T95)
        return _T95[min(free, len(_T95)) - 1]


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
        plain = cls(table, interpolator, Calibration(scale=1, per_unit_ms=0, residuals=()), granularity)
        measured = [network for network in networks if network.digest in table.networks]
        chains = [network.units(granularity) for network in measured]
        sums_ms = [float(plain.rows_ms(chain)[0].sum()) for chain in chains]
        truth_ms = [table.networks[network.digest].latency_ms for network in measured]
        calibration = Calibration.fit(sums_ms, [len(chain) for chain in chains], truth_ms, table.noop_ms)
        return cls(table, interpolator, calibration, granularity)

    def rows_ms(self, units: Sequence[Unit]) -> tuple[FloatArray, FloatArray, list[Source]]:
        """Return each unit's row in ms, its relative deviation, and its source; arrays of shape `n`."""
        latency_ms, deviation, known = self.interpolator.predict(units)
        sources: list[Source] = ["interpolated" if k else "missing" for k in known.tolist()]
        for i, unit in enumerate(units):
            if row := self.table.units.get(unit.key):
                latency_ms[i], deviation[i], sources[i] = row.latency_ms, row.spread or 0.0, "measured"
        return latency_ms, deviation, sources

    def costs_ms(self, rows_ms: FloatArray) -> FloatArray:
        """Return what rows add to a network: calibrated, and never zero."""
        calibrated = self.calibration.scale * rows_ms + self.calibration.per_unit_ms
        return np.maximum(calibrated, _SMALLEST * rows_ms)

    def predict(self, network: Network) -> LatencyPrediction:
        """Return a network's latency with its interval and where it comes from."""
        units = network.units(self.granularity)
        rows_ms, deviation, sources = self.rows_ms(units)
        costs_ms = self.costs_ms(rows_ms)
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
        return grid.tables(self.costs_ms(self.rows_ms(grid.units)[0]))


def _fits(unit: Unit, granularity: Granularity) -> bool:
    return granularity == "block" or len(unit.all_ops) == 1
