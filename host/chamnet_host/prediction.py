"""What is predicted of one network: latency, accuracy, counts, each saying how sure it is."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from chamnet.errors import ConfigError, NotProfiledError
from chamnet.lut import EnergyRow, Row
from chamnet.networks import Network
from chamnet.predictors.energy import EnergyPrediction
from chamnet.predictors.latency import LatencyPrediction
from chamnet_host.workspace import Workspace

__all__ = ["Prediction", "Top1", "predict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Top1:
    """Predicted top-1 accuracy of one network, in percent.

    Attributes:
        value, low, high: Prediction and 90 % interval.
        extrapolated: Whether the network is far from all that the predictor learned from.
        recipe: Training recipe for which it holds.
        precision: Element type of the weights it was learned at.
        dataset: What is classified.
        note: What to say beside a table of another precision; None where there is nothing.
    """

    value: float
    low: float
    high: float
    extrapolated: bool
    recipe: str
    precision: str
    dataset: str
    note: str | None = None

    @property
    def basis(self) -> str:
        """For what it holds, for people."""
        return f"{self.dataset}, {self.precision}, trained as {self.recipe}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What is predicted of one network on one target.

    Attributes:
        network: The network.
        latency: In ms; None where the target was not profiled.
        measured: Row of the network measured whole on the target; None if it never was.
        top1: ImageNet top-1 in percent; None where the predictor does not cover the structure.
        energy: In mJ; None where no energy was measured.
        measured_mj: Energy of one run as measured, being on included; None if it never was.
        metered: Row of the network measured whole for energy; None if it never was.
    """

    network: Network
    latency: LatencyPrediction | None
    measured: Row | None
    top1: Top1 | None
    energy: EnergyPrediction | None = None
    measured_mj: float | None = None
    metered: EnergyRow | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as the documented JSON."""
        return {
            "latency_ms": self.latency
            and {
                "value": self.latency.value,
                "low": self.latency.low,
                "high": self.latency.high,
                "coverage": self.latency.coverage,
            },
            "measured_ms": self.measured and self.measured.latency_ms,
            "energy_mj": self.energy
            and {
                "value": self.energy.value,
                "low": self.energy.low,
                "high": self.energy.high,
                "predictor": self.energy.model,
                "sum_over_units": self.energy.lut_mj,
                "coverage": self.energy.coverage,
            },
            "measured_mj": self.measured_mj,
            "top1": self.top1 and asdict(self.top1),
            "macs": self.network.macs,
            "params": self.network.params,
            "weight_bytes": self.network.weight_bytes,
            "peak_activation_bytes": self.network.peak_activation_bytes,
        }


def predict(workspace: Workspace, network: Network) -> Prediction:
    """Predict a network on the workspace's target; without a table, all but its latency and energy."""
    top1 = _top1(workspace, network)
    try:
        latency = workspace.latency.predict(network)
        measured = workspace.network_rows.get(network.digest)
    except NotProfiledError:
        return Prediction(network=network, latency=None, measured=None, top1=top1)
    plain = Prediction(network=network, latency=latency, measured=measured, top1=top1)
    if workspace.energy is None:
        return plain
    table = workspace.energy_table
    metered = table.networks.get(network.digest)
    if metered is not None and metered.is_below_noise:
        metered = None
    return replace(
        plain,
        energy=workspace.energy.predict(network),
        measured_mj=table.network_mj(network.digest) if metered else None,
        metered=metered,
    )


def _top1(workspace: Workspace, network: Network) -> Top1 | None:
    try:
        held = workspace.accuracy.predict_architecture(network.architecture, workspace.recipe)
    except ConfigError:
        if workspace.recipe not in (None, *workspace.accuracy.recipes):
            raise
        return None  # other blocks or stages than the predictor knows
    return Top1(
        value=float(held.top1[0]),
        low=float(held.low[0]),
        high=float(held.high[0]),
        extrapolated=bool(held.extrapolated[0]),
        recipe=held.recipe,
        precision=held.precision,
        dataset=held.dataset,
        note=held.precision_note(network.blocks[0].dtype),
    )
