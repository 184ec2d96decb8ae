"""Whole networks measured on the target, beside what was predicted for them."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from chamnet.errors import DeviceError, NotProfiledError, UnsupportedOpError
from chamnet.lut import NETWORK_POLICY, Platform, Request, Row, loop_request
from chamnet.lut.regimes import Regimes
from chamnet.lut.table import summarise
from chamnet.networks import Network
from chamnet.records import Item, Visit
from chamnet.stats import split_half
from chamnet_host.devices.serials import serial_of
from chamnet_host.prediction import Prediction, predict
from chamnet_host.workspace import Workspace

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["Verification", "measure_model", "platform_of", "verify"]

_VISITS = 20  # many short visits beat few long ones on a machine that drifts


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A network's measured latency beside its prediction.

    Attributes:
        prediction: What was predicted before measuring.
        row: What was measured now.
        split_half: Relative difference between the medians of odd and even visits: the noise of the truth.
        platform: What it was measured on.
    """

    prediction: Prediction
    row: Row
    split_half: float
    platform: Platform

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
    with workspace.connect_measured() as client:
        platform, regimes = platform_of(workspace, client), _regimes(workspace)
        lut_id = workspace.store.add_platform(platform)  # not the table's where a mismatch is allowed
        predictions = [predict(workspace, network) for network in networks]
        taken: dict[str, list[Visit]] = {network.digest: [] for network in networks}
        run, serial = secrets.token_hex(8), serial_of(workspace.device)
        for number in range(visits):
            request = loop_request(networks, f"{platform.digest}/verify/{run}/{number}")
            for network, visit in zip(networks, _measure(client, request, platform), strict=True):
                workspace.store.append(
                    lut_id, "network", network.digest, "loop", visit, name=network.name, serial=serial
                )
                _check(visit, network.name)
                taken[network.digest].append(visit)
                progress(number * len(networks) + networks.index(network) + 1, visits * len(networks))
    return [_verification(p, taken[p.network.digest], regimes, platform) for p in predictions]


def platform_of(workspace: Workspace, client: "DeviceClient") -> Platform:
    """Return what is measured on: what the target's table is of, or whatever the device has where there is no table.

    Raises:
        ConfigError: The runtime has another version than the table, or the device is another; says what to do.
    """
    try:
        return workspace.platform_measured(client)
    except NotProfiledError:
        return workspace.platform_now(client)


def _regimes(workspace: Workspace) -> Regimes:
    """Return how visits compare; a target without a table has nothing to compare with."""
    try:
        return workspace.latency.regimes
    except NotProfiledError:
        return Regimes({}, {})


def measure_model(
    workspace: Workspace,
    name: str,
    model: bytes,
    *,
    visits: int = _VISITS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Row, float, Platform]:
    """Measure a user's own model on the target; return its row, split-half noise and the platform.

    Raises:
        DeviceError: The agent was lost or the model broke it.
        UnsupportedOpError: The backend cannot run the model.
    """
    digest = sha256(model).hexdigest()[:16]
    run = secrets.token_hex(8)
    taken = []
    with workspace.connect() as client:
        platform = workspace.platform_now(client)
        lut_id = workspace.store.add_platform(platform)
        for number in range(visits):
            item = Item(visit_id=f"{platform.digest}/model/{run}/{number}/{digest}", name=name, model=model)
            request = Request(NETWORK_POLICY, (item,), "model", (digest,))
            (visit,) = _measure(client, request, platform)
            workspace.store.append(
                lut_id, "model", digest, "loop", visit, name=name, serial=serial_of(workspace.device)
            )
            _check(visit, name)
            taken.append(visit)
            progress(number + 1, visits)
    row = summarise("model", digest, name, taken, Regimes({}, {}), mode="loop")
    return row, split_half(row.visits_ms), platform


def _measure(client: "DeviceClient", request: Request, platform: Platform) -> list[Visit]:
    made = client.measure(request.items, request.policy, backend=platform.backend)
    visits = {visit.visit_id: visit for visit in made}
    return [visits[item.visit_id] for item in request.items]


def _check(visit: Visit, name: str) -> None:
    if visit.status == "unsupported":
        raise UnsupportedOpError(f"{name}: the backend cannot run it: {visit.message}")
    if visit.status != "ok":
        raise DeviceError(f"{name}: {visit.status} on the device: {visit.message}")


def _verification(
    prediction: Prediction, visits: list[Visit], regimes: Regimes, platform: Platform
) -> Verification:
    network = prediction.network
    row = summarise("network", network.digest, network.name, visits, regimes, mode="loop")
    return Verification(
        prediction=prediction, row=row, split_half=split_half(row.visits_ms), platform=platform
    )
