"""Latency of whole networks from the table: a sum of rows, calibrated on a few networks measured whole.

A row is the unit's latency as executed inside a network, without the empty call: measured on walks through networks,
smoothed and filled in by a Gaussian process (`chamnet.lut.interpolation`). Two numbers per device turn the sum of rows
into a network's latency (`Calibration`), and what they leave over gives the interval (`ResidualModel`).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from chamnet.lut import LatencyTable, Row
from chamnet.lut.interpolation import UnitInterpolator, Visited
from chamnet.lut.regimes import Regimes
from chamnet.networks import Network
from chamnet.space import CostTables, UnitGrid
from chamnet.stats import t95
from chamnet.units import Granularity, Unit

__all__ = [
    "Calibration",
    "LatencyPrediction",
    "LatencyPredictor",
    "ResidualModel",
    "Source",
    "Term",
    "UnitCost",
    "fit_relative",
    "fits_granularity",
    "term_of",
]

FloatArray = npt.NDArray[np.float64]
Source = Literal["measured", "interpolated", "missing"]
Term = Literal["units", "macs", "weight_bytes"]
TERMS: tuple[Term, ...] = ("units", "macs", "weight_bytes")

_UNCALIBRATED = 0.2  # relative deviation assumed where no network was measured whole
_FLATS = (0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.09, 0.13, 0.2)  # relative errors tried, at any size
_CALLS = (
    0.0,
    0.02,
    0.04,
    0.08,
    0.15,
    0.3,
)  # errors tried in empty calls a unit: they weigh on small networks
_EXTRAPOLATED = 0.1  # relative error for each e-fold beyond the latencies that were tested
_PRIOR_VISITS = 4.0  # what the spread of all rows counts beside a row's own
_MEDIAN_LOSS = 1.25  # standard error of a median over that of a mean, for normal noise
_MANY = 100  # degrees of freedom where nothing was fitted
_FEWEST = 4  # networks that two numbers and their errors need
_NODE, _NODES = 0.1, 0.05  # of an empty call: a node's share, and how far it may lie from that
_SCALES = 0.1  # how far sums of rows may lie from networks
_CLEARLY = 0.5  # of the left-out squared error
_SMALLEST = 0.05  # a unit never costs less than this share of its row


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
class ResidualModel:
    """How far a new network's latency lies from its prediction: a share of it, and something for each call.

    Attributes:
        flat: Relative standard deviation at any size.
        call_ms: Standard deviation in ms for each unit.
        quantile: Half-width of the 90 % interval in standard deviations.
        tested_ms: Smallest and largest latency that this was learned from; beyond, deviations grow.
    """

    flat: float
    call_ms: float
    quantile: float
    tested_ms: tuple[float, float] = (0.0, math.inf)

    @classmethod
    def fit(
        cls, residuals: FloatArray, units: FloatArray, latency_ms: FloatArray, noop_ms: float
    ) -> "ResidualModel":
        """Return what is to be expected after the left-out residuals of networks of so many units and such latencies.

        Ten residuals do not tell whether small networks lie further off. So no single pair of deviations is chosen:
        their variances are averaged, each pair weighing as it is likely. Residuals count a little more than they are,
        for what the calibration's second number multiplies was chosen to make them small.
        """
        if not len(residuals):
            return cls(flat=_UNCALIBRATED, call_ms=0.0, quantile=t95(_MANY))
        flats, calls = (each.ravel() for each in np.meshgrid(_FLATS, np.array(_CALLS) * noop_ms))
        deviation = np.hypot(flats[:, None], calls[:, None] * units / latency_ms)
        chosen = len(residuals) / max(len(residuals) - 1, 1)
        fit = -(np.log(deviation) + 0.5 * chosen * (residuals / deviation) ** 2).sum(axis=1)
        weight = np.exp(fit - fit.max())
        weight /= weight.sum()
        return cls(
            flat=float(np.sqrt(weight @ flats**2)),
            call_ms=float(np.sqrt(weight @ calls**2)),
            quantile=t95(len(residuals) - 2),
            tested_ms=(float(latency_ms.min()), float(latency_ms.max())),
        )

    def deviation(self, units: npt.ArrayLike, latency_ms: npt.ArrayLike) -> FloatArray:
        """Return the relative standard deviation of networks' predictions, shaped as the arguments together."""
        smallest_ms, largest_ms = self.tested_ms
        count, ms = np.asarray(units), np.asarray(latency_ms)
        beyond = np.maximum(1.0, np.maximum(smallest_ms / ms, ms / largest_ms))
        near: FloatArray = np.hypot(self.flat, self.call_ms * count / ms)
        return np.hypot(near, _EXTRAPOLATED * np.log(beyond))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How rows become shares of a network: `scale * row + coefficient * term`, two numbers for a device.

    Attributes:
        scale: Factor on a row.
        term: What the second number multiplies: 1 for each unit, or its MACs, or its weight bytes.
        coefficient: In ms per unit, MAC or byte; negative where rows carry what a network does not pay.
        residuals: Predicted over measured minus 1 of each calibration network, left out of its own fit.
        spread: What the residuals say of other networks.
    """

    scale: float
    term: Term
    coefficient: float
    residuals: tuple[float, ...]
    spread: ResidualModel

    @classmethod
    def fit(
        cls,
        rows_ms: Sequence[FloatArray],
        chains: Sequence[Sequence[Unit]],
        truth_ms: FloatArray,
        noop_ms: float,
    ) -> "Calibration":
        """Fit by least squares of the relative error, drawn towards what an empty call is known to be.

        The empty call runs one node itself, so what is taken off each unit holds the runtime's share of a node: a tenth
        of an empty call, which networks do pay. Ten networks alone do not tell that from their noise. A free fit, to the
        number of units or to another term, is taken only where it leaves half of the left-out squared error, or less.

        Args:
            rows_ms: Rows of each calibration network.
            chains: Units of each.
            truth_ms: Latency of each, measured whole, shape `n`.
            noop_ms: Latency of the empty model: the scale of what each call may add.
        """
        counts = np.array([len(chain) for chain in chains], dtype=np.float64)
        if len(chains) < _FEWEST:
            spread = ResidualModel.fit(np.empty(0), counts, truth_ms, noop_ms)
            return cls(scale=1.0, term="units", coefficient=0.0, residuals=(), spread=spread)
        sums_ms = np.array([rows.sum() for rows in rows_ms])
        found = []
        for term in TERMS:
            design = np.column_stack([sums_ms, [term_of(term, chain).sum() for chain in chains]])
            free = np.array([1.0, 0.0]), np.array([np.inf, np.inf])
            drawn = np.array([1.0, _NODE * noop_ms]), np.array([_SCALES, _NODES * noop_ms])
            for expected, deviation in (drawn, free) if term == "units" and noop_ms else (free,):
                solution, left_out = fit_relative(design, truth_ms, expected, deviation)
                error = float((left_out**2).mean()) / (_CLEARLY if expected is free[0] else 1.0)
                found.append((error, term, solution, left_out))
        _, term, solution, left_out = min(found, key=lambda each: each[0])
        return cls(
            scale=solution[0],
            term=term,
            coefficient=solution[1],
            residuals=tuple(left_out.tolist()),
            spread=ResidualModel.fit(left_out, counts, truth_ms, noop_ms),
        )


def term_of(term: Term, units: Sequence[Unit]) -> FloatArray:
    """Return what a calibration's second number multiplies, shape `n`."""
    if term == "units":
        return np.ones(len(units))
    return np.array([unit.macs if term == "macs" else unit.weight_bytes for unit in units], dtype=np.float64)


def fit_relative(
    design: FloatArray,
    truth: FloatArray,
    expected: FloatArray,
    deviation: FloatArray,
    *,
    least_noise: float = 0.0,
) -> tuple[list[float], FloatArray]:
    """Return coefficients that minimise the relative error, and each row's error when it is left out.

    Args:
        design: What the two coefficients multiply, shape `n x 2`.
        truth: Shape `n`.
        expected: The coefficients before anything was measured, shape 2.
        deviation: How far they may lie from that, shape 2: counted against the noise that the rows show.
        least_noise: Relative error that rows have at least, however well they happen to fit.
    """
    relative = design / truth[:, None]
    everyone = np.ones(len(truth), dtype=bool)
    free = relative @ np.linalg.lstsq(relative, everyone.astype(np.float64), rcond=None)[0] - 1
    noise = max(float(np.sqrt((free**2).sum() / (len(truth) - 2))), least_noise)
    held = np.diag(noise / deviation)  # rows that say what is expected, as heavy as they are sure

    def solve(keep: npt.NDArray[np.bool_]) -> FloatArray:
        rows, wanted = np.vstack([relative[keep], held]), np.append(np.ones(keep.sum()), held @ expected)
        return np.asarray(np.linalg.lstsq(rows, wanted, rcond=None)[0])

    left_out = [relative[i] @ solve(np.arange(len(truth)) != i) - 1 for i in range(len(truth))]
    return solve(everyone).tolist(), np.array(left_out)


@dataclass(frozen=True)
class LatencyPredictor:
    """Predicts the latency of networks on the platform a table was measured on.

    Attributes:
        interpolator: Rows of all units, measured or not.
        calibration: From sums to networks.
        granularity: Of the units.
        regimes: Of the machine; the latencies hold for its usual speed.
        noop_ms: Latency of the empty model.
    """

    interpolator: UnitInterpolator
    calibration: Calibration
    granularity: Granularity
    regimes: Regimes
    noop_ms: float

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
        rows = [(unit, row) for unit, row in rows if fits_granularity(unit, granularity)]
        interpolator = UnitInterpolator.fit(_visited(rows))
        none = Calibration.fit([], [], np.empty(0), table.noop_ms)
        predictor = cls(interpolator, none, granularity, table.regimes, table.noop_ms)
        return predictor.recalibrated(
            {n: table.networks[n.digest].latency_ms for n in networks if n.digest in table.networks}
        )

    def recalibrated(self, truth_ms: Mapping[Network, float]) -> "LatencyPredictor":
        """Return the same rows with a calibration fitted to networks measured whole, latencies in ms."""
        chains = [network.units(self.granularity) for network in truth_ms]
        rows_ms = [self.interpolator.predict(chain).latency_ms for chain in chains]
        calibration = Calibration.fit(rows_ms, chains, np.array(list(truth_ms.values())), self.noop_ms)
        return replace(self, calibration=calibration)

    def rows_ms(self, units: Sequence[Unit]) -> tuple[FloatArray, FloatArray, list[Source]]:
        """Return each unit's row in ms, its relative deviation, and its source; arrays of shape `n`."""
        found = self.interpolator.predict(units)
        sources: list[Source] = [
            "measured" if unit.key in self.interpolator.rows else "interpolated" if known else "missing"
            for unit, known in zip(units, found.known.tolist(), strict=True)
        ]
        return found.latency_ms, found.deviation, sources

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
        # what kinds never measured may be off by, all in one direction; the others are in the residuals
        missing = float((costs_ms * deviation)[rough].sum()) / value
        spread = self.calibration.spread
        width = spread.quantile * math.hypot(float(spread.deviation(len(units), value)), missing)
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

    def pack(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return it as plain arrays; `unpack` reads them back."""
        facts = json.dumps(
            {
                "calibration": asdict(self.calibration),
                "granularity": self.granularity,
                "regimes": asdict(self.regimes),
                "noop_ms": self.noop_ms,
            }
        )
        return self.interpolator.pack() | {"facts": np.frombuffer(facts.encode(), dtype=np.uint8)}

    @classmethod
    def unpack(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> "LatencyPredictor":
        """Read what `pack` gave."""
        facts = json.loads(arrays["facts"].tobytes())
        held = facts["calibration"]
        spread = held.pop("spread")
        spread = ResidualModel(**{**spread, "tested_ms": tuple(spread["tested_ms"])})
        calibration = Calibration(**{**held, "residuals": tuple(held["residuals"])}, spread=spread)
        return cls(
            UnitInterpolator.unpack(arrays),
            calibration,
            facts["granularity"],
            Regimes.from_dict(facts["regimes"]),
            facts["noop_ms"],
        )

    def tables(self, grid: UnitGrid) -> CostTables:
        """Return the latency of every network of a space, as link tables in ms."""
        return grid.tables(self.costs_ms(grid.units, self.rows_ms(grid.units)[0]))


def _visited(rows: Sequence[tuple[Unit, Row]]) -> Visited:
    """Return rows with their noise: each row's own spread between visits, drawn towards that of all rows."""
    spreads = np.array([row.spread or 0.0 for _, row in rows])
    visits = np.array([row.visits for _, row in rows], dtype=np.float64)
    usual = float(np.median(spreads[visits > 2])) if (visits > 2).any() else 0.1
    freedom = visits - 1
    variance = (_PRIOR_VISITS * usual**2 + freedom * spreads**2) / (_PRIOR_VISITS + freedom)
    loss = np.where(visits > 2, _MEDIAN_LOSS, 1.0)
    return Visited(
        [unit for unit, _ in rows],
        np.array([row.latency_ms for _, row in rows]),
        loss * np.sqrt(variance / visits),
    )


def fits_granularity(unit: Unit, granularity: Granularity) -> bool:
    """Return whether rows of a granularity may be of a unit."""
    return granularity == "block" or len(unit.all_ops) == 1
