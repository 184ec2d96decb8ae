"""Energy of whole networks: a sum over units, a process over whole networks, or both.

Three predictors, compared by leaving networks out:

- `lut`: what each unit adds to the power of the idling device (`chamnet.predictors.power`), times the time it takes in a network
  (`chamnet.predictors.latency`), added up; and the power of the idling device once, for the whole time. Two numbers are
  calibrated on networks measured whole. It adds up along a network, so an exact search can take it apart.
- `network-gp`: the paper's [Dai2019]_: a Gaussian process over whole networks, that knows nothing of units.
- `residual-gp`: a Gaussian process on what the sum leaves over, as the log of measured over summed.

A unit's net energy never holds idle power, so adding units up never counts it twice.

References:
    [Dai2019] ChamNet: Towards Efficient Network Design through Platform-Aware Model Adaptation. CVPR 2019, section 3.3.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from statistics import NormalDist, median
from typing import get_args

import numpy as np
import numpy.typing as npt

from chamnet.errors import ConfigError, NotProfiledError
from chamnet.lut import EnergyTable
from chamnet.networks import Network
from chamnet.predictors.energy_left_out import EnergyModel, left_out_process, left_out_sums
from chamnet.predictors.energy_sum import (
    FEWEST,
    SOURCES,
    EnergyCalibration,
    EnergySource,
    NetworkSum,
    UnitEnergy,
)
from chamnet.predictors.features import Structure
from chamnet.predictors.gp import GaussianProcess
from chamnet.predictors.latency import LatencyPredictor, fits_granularity
from chamnet.predictors.network_process import (
    ENERGY,
    RESIDUAL,
    fit_process,
    pack_process,
    unpack_process,
)
from chamnet.predictors.power import PowerModel, PowerRows
from chamnet.space import CostTables, UnitGrid
from chamnet.stats import t95
from chamnet.units import Unit

__all__ = [
    "ENERGY_MODELS",
    "EnergyCalibration",
    "EnergyModel",
    "EnergyPrediction",
    "EnergyPredictor",
    "EnergySource",
    "UnitEnergy",
    "widths",
]

FloatArray = npt.NDArray[np.float64]
ENERGY_MODELS: tuple[EnergyModel, ...] = get_args(EnergyModel)

_FEWEST_OF_PROCESS = 8  # the same of a process
_UNCALIBRATED = 0.25  # relative deviation assumed where no network was measured whole
_EXPECTED, _EXPECTED_COUNT = (
    0.05,
    2,
)  # relative error that is assumed of so many networks beside those measured
_EXTRAPOLATED = 0.1  # relative error for each e-fold beyond the energies that were tested
_CLEARLY = 0.9  # of the left-out error: what a predictor that does not add up must be under to be chosen
_MANY = 100  # degrees of freedom where nothing was fitted
_INTERVAL = NormalDist().inv_cdf(0.95)  # what the quantile of a 90 % interval stands for


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyPrediction:
    """A network's energy with its 90 % interval, in mJ, idle power included.

    Attributes:
        value, low, high: Prediction and interval.
        model: What predicts it.
        lut_mj: The sum over units, calibrated: what an exact search adds up.
        coverage: Share of the sum by source; sums to 1.
        units: Each unit's share of the sum, in order.
    """

    value: float
    low: float
    high: float
    model: EnergyModel
    lut_mj: float
    coverage: dict[EnergySource, float]
    units: tuple[UnitEnergy, ...]

    def upper_mj(self, confidence: float | None) -> float:
        """Return what the network keeps with a probability of 0.5 or more; the prediction where None is asked for."""
        if confidence is None:
            return self.value
        return self.value * math.exp(math.log(self.high / self.value) * widths(confidence))


@dataclass(frozen=True, eq=False)
class EnergyPredictor:
    """Predicts the energy of networks on the platform a table was measured on.

    Attributes:
        latency: Predicts times on the same platform.
        power: Of units.
        idle_w: Power of the idling device.
        calibration: From units to networks.
        structure: Reads networks for the processes.
        processes: Over whole networks, where enough were measured.
        inflation: What each process's deviations are multiplied with, by its left-out errors.
        errors: By model, log of predicted over measured energy of each network that was left out.
        names: Networks that these are of, in their order.
        truth_mj: Their measured energies.
    """

    latency: LatencyPredictor
    power: PowerModel
    idle_w: float
    calibration: EnergyCalibration
    structure: Structure
    processes: Mapping[EnergyModel, GaussianProcess] = field(default_factory=dict)
    inflation: Mapping[EnergyModel, float] = field(default_factory=dict)
    errors: Mapping[EnergyModel, tuple[float, ...]] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    truth_mj: tuple[float, ...] = ()

    @classmethod
    def fit(
        cls,
        table: EnergyTable,
        latency: LatencyPredictor,
        networks: Sequence[Network],
        structure: Structure,
    ) -> "EnergyPredictor":
        """Fit to a table.

        Args:
            table: Rows of units, and of networks measured whole.
            latency: Predictor of times on the same platform.
            networks: To calibrate and to learn from; such without a row, or with one below the noise, are left out.
            structure: Of the networks to be predicted.

        Raises:
            NotProfiledError: Every row is below the noise.
        """
        held = [(Unit.parse(key), row) for key, row in table.units.items()]
        rows = PowerRows.of([(u, row) for u, row in held if fits_granularity(u, latency.granularity)])
        whole = {n: table.networks[n.digest] for n in networks if n.digest in table.networks}
        whole = {network: row for network, row in whole.items() if not row.is_below_noise}
        powers = [row.net_w for row in whole.values()]
        if not powers and not rows.told.any():
            raise NotProfiledError(
                f"every energy row measured with {table.metered_by} is below the noise; measure with a better meter, for"
                " longer, or on a quieter device (`chamnet-host profile --energy`)"
            )
        power = PowerModel.fit(rows, usual_w=median(powers or rows.net_w[rows.told].tolist()))
        truth_mj = np.array([table.network_mj(network.digest) for network in whole])
        start = cls(
            latency, power, table.idle_w, EnergyCalibration(scale=1.0, base_w=table.idle_w), structure
        )
        return start._learned(list(whole), truth_mj)

    @cached_property
    def chosen(self) -> EnergyModel:
        """What predicts best: the sum over units unless a process is clearly better on networks left out."""
        errors = {model: error for model in self.errors if (error := self.error(model)) is not None}
        if not errors:
            return "lut"
        best = min(errors, key=lambda model: errors[model])
        return best if errors[best] < _CLEARLY * errors["lut"] else "lut"

    def error(self, model: EnergyModel) -> float | None:
        """Return a model's root mean square relative error on networks left out; None where too few were measured."""
        if not self.errors.get(model):
            return None
        return float(np.sqrt(np.mean(np.square(np.expm1(self.errors[model])))))

    @property
    def spread(self) -> float:
        """Relative standard deviation of networks from their sum over units."""
        errors = self.errors.get("lut", ())
        if not errors:
            return _UNCALIBRATED
        squares = float(np.square(errors).sum()) + _EXPECTED_COUNT * _EXPECTED**2
        return math.sqrt(squares / (len(errors) + _EXPECTED_COUNT - 1))

    @property
    def quantile(self) -> float:
        """Half-width of the 90 % interval in standard deviations."""
        count = len(self.errors.get("lut", ()))
        return t95(count - 2 if count else _MANY)

    def upper_factor(self, confidence: float) -> float:
        """Return what a sum over units is multiplied with so that a network keeps it with a probability of 0.5 or more."""
        return math.exp(self.quantile * self.spread * widths(confidence))

    def predict(self, network: Network) -> EnergyPrediction:
        """Return a network's energy with its interval and where it comes from."""
        summed = self._sum(network)
        costs_mj = self._costs_mj(summed.known.net_w, summed.costs_ms)
        lut_mj = float(costs_mj.sum())
        found = self.features([network])
        sums = np.array([lut_mj])
        model: EnergyModel = "lut" if found is None else self.chosen
        value = lut_mj if found is None else float(self.expected_mj(*found, sums)[0])
        deviation = float((self._deviation(sums) if found is None else self.deviations(*found, sums))[0])
        rough = max(summed.rough - self.calibration.rough, 0.0) * (1 - self._idle_share(summed, lut_mj))
        width = self.quantile * math.hypot(deviation, rough)
        return EnergyPrediction(
            value=value,
            low=value * math.exp(-width),
            high=value * math.exp(width),
            model=model,
            lut_mj=lut_mj,
            coverage=self._coverage(summed, lut_mj),
            units=tuple(
                UnitEnergy(unit=unit, energy_mj=cost, net_w=net_w, source=source)
                for unit, cost, net_w, source in zip(
                    summed.units, costs_mj.tolist(), summed.known.net_w.tolist(), summed.sources, strict=True
                )
            ),
        )

    def expected_mj(self, features: FloatArray, log_macs: FloatArray, lut_mj: FloatArray) -> FloatArray:
        """Return energies by the chosen predictor, shape `n`, from what `features` gives and the sums over units."""
        if self.chosen == "lut":
            return lut_mj
        logs = self.processes[self.chosen].mean(features, log_macs)
        return np.exp(logs) * (lut_mj if self.chosen == "residual-gp" else 1.0)

    def deviations(self, features: FloatArray, log_macs: FloatArray, lut_mj: FloatArray) -> FloatArray:
        """Return relative standard deviations by the chosen predictor, shape `n`; arguments as of `expected_mj`."""
        if self.chosen == "lut":
            return self._deviation(lut_mj)
        process = self.processes[self.chosen]
        variance = process.posterior(features, log_macs)[1]
        return self.inflation[self.chosen] * np.sqrt(variance + process.noise_sd**2)

    def tables(self, grid: UnitGrid) -> CostTables:
        """Return the energy of every network of a space by its sum over units, as link tables in mJ."""
        costs_ms = self.latency.costs_ms(grid.units, self.latency.rows_ms(grid.units)[0])
        return grid.tables(self._costs_mj(self.power.predict(grid.units).net_w, costs_ms))

    @property
    def explorer(self) -> GaussianProcess | None:
        """The process whose uncertainty says what to measure next: the one that predicts, or that of the residuals."""
        return self.processes.get(self.chosen, self.processes.get("residual-gp"))

    def features(self, networks: Sequence[Network]) -> tuple[FloatArray, FloatArray] | None:
        """Return features, shape `n x d`, and log MACs, shape `n`; None where a network has another structure."""
        try:
            values = self.structure.values([network.architecture for network in networks])
        except ConfigError:
            return None
        inside = all(self.structure.admits(network.architecture) for network in networks)
        if not inside or not self.structure.conforms(values).all():
            return None
        return self.structure.scale(values), np.log([network.macs for network in networks])

    def _learned(self, networks: list[Network], truth_mj: FloatArray) -> "EnergyPredictor":
        """Return the predictor with calibration, processes and errors of networks measured whole."""
        sums = [self._sum(network) for network in networks]
        calibration = EnergyCalibration.fit(sums, truth_mj, self.idle_w)
        errors: dict[EnergyModel, tuple[float, ...]] = {}
        if len(networks) >= FEWEST:
            errors["lut"] = tuple(left_out_sums(sums, truth_mj, self.idle_w).tolist())
        made = replace(
            self,
            calibration=calibration,
            errors=errors,
            names=tuple(network.name for network in networks),
            truth_mj=tuple(truth_mj.tolist()),
        )
        return made._with_processes(networks, sums, truth_mj)

    def _with_processes(
        self, networks: list[Network], sums: list[NetworkSum], truth_mj: FloatArray
    ) -> "EnergyPredictor":
        rows = [i for i, network in enumerate(networks) if self.features([network]) is not None]
        if len(rows) < _FEWEST_OF_PROCESS or not self.structure.feature_names:
            return self
        found = self.features([networks[i] for i in rows])
        assert found is not None
        features, log_macs = found
        logs = np.log(truth_mj[rows])
        inside = [sums[i] for i in rows]
        whole = [self.calibration.energy_mj(each) for each in inside]
        processes: dict[EnergyModel, GaussianProcess] = {
            "network-gp": fit_process(features, log_macs, logs, ENERGY),
            "residual-gp": fit_process(features, log_macs, logs - np.log(whole), RESIDUAL),
        }
        errors, inflation = dict(self.errors), dict(self.inflation)
        for model in processes:
            told = left_out_process(model, features, log_macs, inside, truth_mj[rows], self.idle_w)
            errors[model] = tuple(told[0].tolist())
            inflation[model] = max(1.0, float(np.sqrt(np.mean(told[0] ** 2 / told[1]))))
        if len(rows) < len(networks):  # compared on the same networks
            errors["lut"] = tuple(self.errors["lut"][i] for i in rows)
        return replace(
            self,
            processes=processes,
            inflation=inflation,
            errors=errors,
            names=tuple(self.names[i] for i in rows),
            truth_mj=tuple(self.truth_mj[i] for i in rows),
        )

    def _sum(self, network: Network) -> NetworkSum:
        return NetworkSum.of(list(network.units(self.latency.granularity)), self.power, self.latency)

    def _costs_mj(self, net_w: FloatArray, costs_ms: FloatArray) -> FloatArray:
        return self.calibration.costs_mj(net_w, costs_ms, self.idle_w)

    def _deviation(self, lut_mj: FloatArray) -> FloatArray:
        smallest_mj, largest_mj = self.calibration.tested_mj
        beyond = np.maximum(1.0, np.maximum(smallest_mj / lut_mj, lut_mj / largest_mj))
        near: FloatArray = np.hypot(self.spread, _EXTRAPOLATED * np.log(beyond))
        return near

    def _idle_share(self, summed: NetworkSum, lut_mj: float) -> float:
        return min(self.calibration.base_w * summed.latency_ms / lut_mj, 1.0)

    def _coverage(self, summed: NetworkSum, lut_mj: float) -> dict[EnergySource, float]:
        coverage: dict[EnergySource, float] = dict.fromkeys(SOURCES, 0.0)
        coverage["idle"] = self._idle_share(summed, lut_mj)
        net_mj = summed.known.net_w * summed.costs_ms
        for share, source in zip((net_mj / net_mj.sum()).tolist(), summed.sources, strict=True):
            coverage[source] += (1 - coverage["idle"]) * share
        return coverage

    def pack(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return all but the latency predictor as plain arrays; `unpack` reads them back."""
        facts = json.dumps(
            {
                "idle_w": self.idle_w,
                "calibration": {
                    **asdict(self.calibration),
                    "tested_mj": [
                        each if math.isfinite(each) else None for each in self.calibration.tested_mj
                    ],
                },
                "structure": self.structure.to_dict(),
                "inflation": dict(self.inflation),
                "errors": dict(self.errors),
                "names": self.names,
                "truth_mj": self.truth_mj,
            }
        )
        arrays: dict[str, npt.NDArray[np.generic]] = {"facts": np.frombuffer(facts.encode(), dtype=np.uint8)}
        arrays |= {f"power/{name}": array for name, array in self.power.pack().items()}
        for model, process in self.processes.items():
            arrays |= {f"{model}/{name}": array for name, array in pack_process(process).items()}
        return arrays

    @classmethod
    def unpack(
        cls, arrays: Mapping[str, npt.NDArray[np.generic]], latency: LatencyPredictor
    ) -> "EnergyPredictor":
        """Read what `pack` gave, beside the latency predictor of the same platform."""
        facts = json.loads(arrays["facts"].tobytes())
        held = facts["calibration"]
        low, high = held.pop("tested_mj")
        models: tuple[EnergyModel, ...] = ("network-gp", "residual-gp")
        return cls(
            latency,
            PowerModel.unpack(_part(arrays, "power/")),
            facts["idle_w"],
            EnergyCalibration(**held, tested_mj=(low, math.inf if high is None else high)),
            Structure.from_dict(facts["structure"]),
            processes={m: unpack_process(_part(arrays, f"{m}/")) for m in models if f"{m}/facts" in arrays},
            inflation=facts["inflation"],
            errors={model: tuple(errors) for model, errors in facts["errors"].items()},
            names=tuple(facts["names"]),
            truth_mj=tuple(facts["truth_mj"]),
        )


def widths(confidence: float) -> float:
    """Return half-widths of the 90 % interval between a prediction and what is kept with a confidence."""
    return NormalDist().inv_cdf(confidence) / _INTERVAL


def _part(arrays: Mapping[str, npt.NDArray[np.generic]], prefix: str) -> dict[str, npt.NDArray[np.generic]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
