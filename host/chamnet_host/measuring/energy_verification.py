"""Energies of whole networks measured on the target, beside what was predicted for them.

What a verification measures is stored as the windows of a profile are, and later predictions learn from it. Latency is
calibrated on networks fixed beforehand, so that it never learns from what it is judged on; energy learns from every network
that was measured whole (`Workspace.energy_networks`), those that `energy build` chose among them, and windows of a verification
are no others. So networks are predicted before any is measured, and a prediction that has learned from an earlier
measurement of its network says so.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from chamnet.errors import NotProfiledError
from chamnet.lut import EnergyBatch, EnergyRow, EnergyTable, MeteredBy, Platform
from chamnet.networks import Network
from chamnet.records import EnergyPolicy, EnergyReading
from chamnet_host.devices.reach import KeptConnection
from chamnet_host.devices.serials import serial_of
from chamnet_host.external.base import is_external
from chamnet_host.measuring.campaign import Progress
from chamnet_host.measuring.energy_campaign import (
    ENERGY_ROUNDS,
    EnergyPlan,
    check_meter,
    measure_windows,
    plan_of,
)
from chamnet_host.measuring.verification import platform_of
from chamnet_host.metered import keep_meters
from chamnet_host.prediction import Prediction
from chamnet_host.workspace import Workspace

__all__ = ["EnergyVerification", "plan_verification", "policy_of", "verify_energy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyVerification:
    """A network's measured energy beside its prediction.

    Attributes:
        prediction: What was predicted before measuring.
        row: What was measured now; None where no window told anything.
        table: What predictions were made from, before anything was measured now; None where nothing predicts.
        failed: Why the last window that told nothing did not; empty where all did.
        serial: Of the device; empty where nothing tells it from others.
    """

    prediction: Prediction
    row: EnergyRow | None
    table: EnergyTable | None
    failed: str = ""
    serial: str = ""

    @property
    def metered_by(self) -> MeteredBy | None:
        """With what it was measured now; None where it was not."""
        return MeteredBy.of(self.row.readings[0], self.serial) if self.row else None

    @property
    def is_comparable(self) -> bool:
        """Whether what was measured is of the same device, meter and rails as what predicts, if anything does."""
        return self.row is not None and (self.table is None or self.table.metered_by == self.metered_by)

    @property
    def measured_mj(self) -> float | None:
        """Energy of one run, being on included, to hold against predictions and budgets; None where it cannot be."""
        if self.row is None or self.row.is_below_noise or not self.is_comparable:
            return None
        return self.row.gross_mj

    @property
    def error(self) -> float | None:
        """Predicted over measured minus 1; None where the two cannot be compared."""
        energy, measured_mj = self.prediction.energy, self.measured_mj
        return energy.value / measured_mj - 1 if energy and measured_mj else None

    @property
    def has_learned(self) -> bool:
        """Whether an earlier measurement of the network is part of what predicts it."""
        return self.prediction.energy is not None and self.prediction.metered is not None

    def to_json(self) -> dict[str, Any]:
        """Return it as the documented JSON."""
        row, metered = self.row, self.metered_by
        return {
            "meter": metered and metered.meter,
            "rails": metered and list(metered.rails),
            "net_mj": row and row.net_mj,
            "gross_mj": row and row.gross_mj,
            "idle_w": row and row.idle_w,
            "latency_ms": row and row.latency_ms,
            "windows": row.visits if row else 0,
            "noise": row.noise_w / row.net_w if row and row.net_w > 0 else None,
            "spread": row and row.spread,
            "below_noise": row and row.is_below_noise,
            "error": self.error,
            "comparable": self.is_comparable,
            "learned": self.has_learned,
            "failed": self.failed or None,
        }


def policy_of(workspace: Workspace, meter: str = "", rails: str = "") -> EnergyPolicy:
    """Return which meter and rails to read: as asked for, as the device profile says, else those that predict.

    A meter of this machine is read only where it is asked for: one feeds the device at a voltage, another is a file.
    """
    meter, rails = meter or workspace.device.meter, rails or workspace.device.rails
    table = _table(workspace)
    known = table.metered_by if table else None
    if known is None or is_external(known.meter) or meter not in ("", known.meter):
        return EnergyPolicy(meter=meter, rails=rails)
    return EnergyPolicy(meter=known.meter, rails=rails or ",".join(known.rails))


def plan_verification(
    workspace: Workspace, networks: Sequence[Network], policy: EnergyPolicy, *, rounds: int = ENERGY_ROUNDS
) -> EnergyPlan:
    """Return the windows of a verification, and what they take.

    Args:
        workspace: Gives the device.
        networks: To measure.
        policy: Which meter and rails.
        rounds: Windows of each network; networks take turns.

    Raises:
        MeterError: The meter does not work, or none does; says which were tried.
        ConfigError: There is no such meter.
        DeviceError: No agent can be reached.
    """
    meter = check_meter(workspace, policy.meter)
    batch = EnergyBatch(
        policy=replace(policy, meter=meter.name),
        units=(),
        networks=tuple(networks),
        rounds=rounds,
        run=secrets.token_hex(8),
    )
    return plan_of(batch, meter, policy)


def verify_energy(
    workspace: Workspace,
    predictions: Sequence[Prediction],
    policy: EnergyPolicy,
    plan: EnergyPlan,
    *,
    progress: Progress = lambda tally: None,
) -> list[EnergyVerification]:
    """Measure the energy of predicted networks on the target, and store every window.

    Args:
        workspace: Gives store and device.
        predictions: Of the networks, made before anything of them was measured.
        policy: Which meter and rails.
        plan: Windows of these networks.
        progress: Called after every window.

    Raises:
        MeterError: The meter stopped working; what was measured is stored.
        DeviceLostError: The agent cannot be kept alive; what was measured is stored.
    """
    table = _table(workspace)  # before windows are stored, as the predictions were made
    with KeptConnection(workspace.connect_measured) as connect:
        with connect() as client:
            platform, info = platform_of(workspace, client), client.describe()
        keep_meters(workspace.store, platform, info)
        measure_windows(workspace, connect, platform, policy, plan, progress=progress)
    found, serial = _found(workspace, platform, plan.batch), serial_of(workspace.device)
    return [
        EnergyVerification(prediction=each, row=row, table=table, failed=failed, serial=serial)
        for each in predictions
        for row, failed in [found[each.network.digest]]
    ]


def _table(workspace: Workspace) -> EnergyTable | None:
    try:
        return workspace.energy_table if workspace.energy else None
    except NotProfiledError:
        return None


def _found(
    workspace: Workspace, platform: Platform, batch: EnergyBatch
) -> dict[str, tuple[EnergyRow | None, str]]:
    """Return the row of each network of a batch by its windows, and why the last window without a reading has none."""
    lut_id, start = workspace.store.add_platform(platform), batch.start(platform.digest)
    readings: dict[str, list[EnergyReading]] = {network.digest: [] for network in batch.networks}
    failed = dict.fromkeys(readings, "")
    for stored in workspace.store.visits(lut_id, "network", mode="energy"):
        visit = stored.visit
        if not visit.visit_id.startswith(start):
            continue
        if visit.status == "ok" and visit.energy is not None:
            readings[stored.key].append(visit.energy)
        else:
            failed[stored.key] = f"{visit.status}: {visit.message.strip()}".splitlines()[0]
    return {
        network.digest: (_row(network, tuple(readings[network.digest])), failed[network.digest])
        for network in batch.networks
    }


def _row(network: Network, readings: tuple[EnergyReading, ...]) -> EnergyRow | None:
    if not readings:
        return None
    return EnergyRow(kind="network", key=network.digest, name=network.name, readings=readings)
