"""Where a network's compute and time go: by stage, and by the size of the feature map."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chamnet.networks import Network
from chamnet.units import Unit
from chamnet_host.prediction import Prediction

__all__ = ["Breakdown", "Share", "break_down", "stage_names"]


@dataclass(slots=True)
class Share:
    """What falls to a stage, or to a size of feature maps.

    Attributes:
        name: Such as `stem`, `stage 3` or `14 x 14`.
        macs: Multiply-adds.
        latency_ms: Predicted; None without a table.
        energy_mj: By the sum over units; None where no energy was measured.
    """

    name: str
    macs: int = 0
    latency_ms: float | None = None
    energy_mj: float | None = None

    def add(self, macs: int, latency_ms: float | None, energy_mj: float | None) -> None:
        """Count a unit."""
        self.macs += macs
        if energy_mj is not None:
            self.energy_mj = (self.energy_mj or 0.0) + energy_mj
        if latency_ms is not None:
            self.latency_ms = (self.latency_ms or 0.0) + latency_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """One network, taken apart.

    Attributes:
        prediction: The network.
        stages: Stem, stages, head and classifier, in order.
        sizes: Output feature maps, largest first; the classifier's is `1 x 1`.
    """

    prediction: Prediction
    stages: tuple[Share, ...]
    sizes: tuple[Share, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as the documented JSON."""
        return {
            "network": self.prediction.network.name,
            "macs": self.prediction.network.macs,
            "latency_ms": self.prediction.latency and self.prediction.latency.value,
            "energy_mj": self.prediction.energy and self.prediction.energy.lut_mj,
            "stages": [_shown(share) for share in self.stages],
            "feature_maps": [_shown(share) for share in self.sizes],
        }


def break_down(prediction: Prediction) -> Breakdown:
    """Take a network apart; latencies come from its prediction, operator by operator or block by block."""
    stages: dict[str, Share] = {}
    sizes: dict[tuple[int, int], Share] = {}
    for stage, unit, costs in _units(prediction):
        size = unit.ops[-1].out_shape[2:]
        stages.setdefault(stage, Share(stage)).add(unit.macs, *costs)
        sizes.setdefault(size, Share(f"{size[0]} x {size[1]}")).add(unit.macs, *costs)
    ordered = tuple(sizes[size] for size in sorted(sizes, reverse=True))
    return Breakdown(prediction=prediction, stages=tuple(stages.values()), sizes=ordered)


def stage_names(network: Network) -> list[str]:
    """Return where each block of a network belongs, in order."""
    arch = network.architecture
    stages = [f"stage {i}" for i, stage in enumerate(arch.stages, 1) for _ in range(stage.blocks)]
    end = ["head"] * bool(arch.head) + ["classifier"] * 2  # with the pooling before it
    return ["stem"] * (len(network.blocks) - len(stages) - len(end)) + stages + end


def _units(prediction: Prediction) -> Iterator[tuple[str, Unit, tuple[float | None, float | None]]]:
    """Yield each unit with its stage, its predicted latency and energy."""
    network, latency = prediction.network, prediction.latency
    costs = {} if latency is None else {i: cost.latency_ms for i, cost in enumerate(latency.units)}
    energies = (
        {i: cost.energy_mj for i, cost in enumerate(prediction.energy.units)} if prediction.energy else {}
    )
    whole = latency is not None and len(latency.units) == len(network.blocks)
    number = 0
    for stage, block in zip(stage_names(network), network.blocks, strict=True):
        for unit in [block] if whole else block.split():
            yield stage, unit, (costs.get(number), energies.get(number))
            number += 1


def _shown(share: Share) -> dict[str, Any]:
    return {
        "name": share.name,
        "macs": share.macs,
        "latency_ms": share.latency_ms,
        "energy_mj": share.energy_mj,
    }
