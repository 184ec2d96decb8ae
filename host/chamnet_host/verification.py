"""Whole networks measured on the target, beside what was predicted for them."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import median
from typing import Any

from chamnet.errors import DeviceError, UnsupportedOpError
from chamnet.lut import Platform, Row
from chamnet.lut.table import summarise, visit_ms
from chamnet.networks import Network
from chamnet.records import Item, Policy, Visit
from chamnet_host.client import DeviceClient
from chamnet_host.prediction import Prediction, predict
from chamnet_host.workspace import Workspace

__all__ = ["Verification", "measure_model", "verify"]

_LAPS = 8  # runs a visit; many short visits beat few long ones on a machine that drifts
_VISITS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A network's measured latency beside its prediction.

    Attributes:
        prediction: What was predicted before measuring.
        row: What was measured now.
        split_half: Relative difference between the medians of odd and even visits: the noise of the truth.
    """

    prediction: Prediction
    row: Row
    split_half: float

    @property
    def error(self) -> float | None:
        """Predicted over measured minus 1; None without a prediction."""
        latency = self.prediction.latency
        return latency.value / self.row.latency_ms - 1 if latency else None

    def to_json(self) -> dict[str, Any]:
        """Return it as the documented JSON."""
        return {
            "network": self.prediction.network.name,
            "architecture": self.prediction.network.architecture.to_dict(),
            "predicted": self.prediction.to_json(),
            "measured_ms": self.row.latency_ms,
            "visits": self.row.visits,
            "spread": self.row.spread,
            "split_half": self.split_half,
            "error": self.error,
        }


def verify(
    workspace: Workspace,
    networks: Sequence[Network],
    *,
    visits: int = _VISITS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Verification]:
    """Measure networks whole on the target, in turn over several visits, and store every visit.

    Raises:
        DeviceError: The agent was lost or a network could not be measured.
        UnsupportedOpError: The backend cannot run a network.
    """
    with workspace.connect() as client:
        platform = Platform.of(client.describe(), workspace.device.backend or None)
        lut_id = workspace.remember(platform)
        predictions = [predict(workspace, network) for network in networks]
        taken: dict[str, list[Visit]] = {network.digest: [] for network in networks}
        run = secrets.token_hex(8)
        for number in range(visits):
            items = [
                _item(network, f"{platform.digest}/{network.digest}/verify/{run}/{number}")
                for network in networks
            ]
            for network, visit in zip(networks, _measure(client, items, platform), strict=True):
                workspace.store.append(lut_id, "network", network.digest, "loop", visit, name=network.name)
                _check(visit, network.name)
                taken[network.digest].append(visit)
                progress(number * len(networks) + networks.index(network) + 1, visits * len(networks))
    return [_verification(p, taken[p.network.digest]) for p in predictions]


def measure_model(
    workspace: Workspace,
    name: str,
    model: bytes,
    *,
    visits: int = _VISITS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Row, float, Platform]:
    """Measure a user's own ONNX model on the target; return its row, split-half noise and the platform.

    Raises:
        DeviceError: The agent was lost or the model broke it.
        UnsupportedOpError: The backend cannot run the model.
    """
    digest = sha256(model).hexdigest()[:16]
    run = secrets.token_hex(8)
    taken = []
    with workspace.connect() as client:
        platform = Platform.of(client.describe(), workspace.device.backend or None)
        lut_id = workspace.remember(platform)
        for number in range(visits):
            item = Item(visit_id=f"{platform.digest}/{digest}/model/{run}/{number}", name=name, model=model)
            (visit,) = _measure(client, [item], platform)
            workspace.store.append(lut_id, "model", digest, "loop", visit, name=name)
            _check(visit, name)
            taken.append(visit)
            progress(number + 1, visits)
    return summarise("model", digest, name, taken), _split_half(taken), platform


def _item(network: Network, visit_id: str) -> Item:
    return Item(visit_id=visit_id, name=network.name, blocks=tuple(block.key for block in network.blocks))


def _measure(client: DeviceClient, items: Sequence[Item], platform: Platform) -> list[Visit]:
    policy = Policy(mode="loop", laps=_LAPS, warmup_laps=2, noops=0, timeout_s=60.0)
    visits = {visit.visit_id: visit for visit in client.measure(items, policy, backend=platform.backend)}
    return [visits[item.visit_id] for item in items]


def _check(visit: Visit, name: str) -> None:
    if visit.status == "unsupported":
        raise UnsupportedOpError(f"{name}: the backend cannot run it: {visit.message}")
    if visit.status != "ok":
        raise DeviceError(f"{name}: {visit.status} on the device: {visit.message}")


def _verification(prediction: Prediction, visits: list[Visit]) -> Verification:
    network = prediction.network
    row = summarise("network", network.digest, network.name, visits)
    return Verification(prediction=prediction, row=row, split_half=_split_half(visits))


def _split_half(visits: Sequence[Visit]) -> float:
    """Return how far the medians of odd and even visits differ, relative to their mean."""
    medians_ms = [visit_ms(visit) for visit in visits]
    odd, even = median(medians_ms[::2]), median(medians_ms[1::2] or medians_ms)
    return abs(odd - even) / ((odd + even) / 2)
