"""What a device draws, measured into the same store as its latencies: `profile --energy`, and windows for whoever asks."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from chamnet.clock import SystemClock
from chamnet.errors import ConfigError, MeterError, NotProfiledError
from chamnet.lut import EnergyBatch, EnergyTimes, Platform, choose_spread
from chamnet.lut.store import ItemKind
from chamnet.networks import Network
from chamnet.records import Component, DeviceInfo, EnergyPolicy
from chamnet.units import Unit
from chamnet_host.devices.reach import Connect, KeptConnection
from chamnet_host.devices.serials import serial_of
from chamnet_host.external.base import METERS, is_external, open_meter, told_of
from chamnet_host.external.witness import Witness
from chamnet_host.measuring.campaign import Campaign, Progress, Tally
from chamnet_host.measuring.exploring import planned_networks
from chamnet_host.measuring.lanes import Lane, Measure, measure
from chamnet_host.metered import keep_meters
from chamnet_host.workspace import Workspace

__all__ = [
    "ENERGY_ROUNDS",
    "ENERGY_ROWS",
    "EnergyPlan",
    "check_meter",
    "find_host_meter",
    "find_meter",
    "measure_energy",
    "measure_windows",
    "measuring",
    "plan_energy",
    "plan_of",
    "times_of",
]

log = logging.getLogger(__name__)

ENERGY_ROWS, ENERGY_ROUNDS = 120, 2
_EXTERNAL_LEAST_S = 2.0  # a device that idles wakes up now and then, and its marker must stand out
_EXTERNAL_GUARD_S = 0.2


@dataclass(frozen=True, slots=True)
class EnergyPlan:
    """What is to be measured, and what that takes.

    Attributes:
        batch: The windows.
        meter: Which is read.
        seconds: About how long the windows that are missing take; None where the meter does not say how often it is updated.
        missing: Windows that are not stored yet.
        refused: Windows of items that the device cannot run.
    """

    batch: EnergyBatch
    meter: Component
    seconds: float | None
    missing: int
    refused: int = 0


def plan_energy(
    workspace: Workspace,
    info: DeviceInfo,
    policy: EnergyPolicy,
    *,
    rows: int = ENERGY_ROWS,
    rounds: int = ENERGY_ROUNDS,
    networks: Sequence[Network] | None = None,
) -> EnergyPlan:
    """Choose what to measure on a device that was profiled.

    Args:
        workspace: Gives space, store and latencies.
        info: The device, as it describes itself.
        policy: Which meter and rails; times that are left open suit the meter.
        rows: Units to measure.
        rounds: Windows of each.
        networks: Measured whole; by default those of the calibration, and those that `energy build` chose.

    Raises:
        MeterError: No meter works there; says which were tried, and why each failed.
        NotProfiledError: The latencies of the units are not known yet.
        ConfigError: There is no such meter, or nothing to measure.
    """
    if rows < 1 or rounds < 1:
        raise ConfigError(f"--energy-rows {rows}, --energy-rounds {rounds}: give at least 1 of each")
    meter = find_meter(info, policy.meter, workspace.device.name)
    try:
        known = [Unit.parse(key) for key in workspace.table.units]
    except NotProfiledError as error:
        raise NotProfiledError(
            f"{error}; energies are measured beside latencies, so these come first"
        ) from error
    grid = {unit.key for unit in workspace.grid(workspace.granularity).units}
    units = sorted((unit for unit in known if unit.key in grid), key=lambda unit: unit.key)
    latency_ms = np.array([workspace.table.units[unit.key].latency_ms for unit in units])
    batch = EnergyBatch(
        policy=replace(policy, meter=meter.name),
        units=tuple(choose_spread(units, rows, latency_ms)),
        networks=tuple(planned_networks(workspace) if networks is None else networks),
        rounds=rounds,
        seed=workspace.seed,
        serial=serial_of(workspace.device),
    )
    lut_id, platform = workspace.measured
    stored, failed = workspace.store.visit_ids(lut_id), workspace.store.failed_items(lut_id, energy=True)
    return plan_of(batch, meter, policy, digest=platform.digest, done=stored, failed=failed)


def plan_of(
    batch: EnergyBatch,
    meter: Component,
    policy: EnergyPolicy,
    *,
    digest: str = "",
    done: Collection[str] = (),
    failed: Collection[tuple[ItemKind, str]] = (),
) -> EnergyPlan:
    """Return a batch with what it takes.

    Args:
        batch: The windows.
        meter: Which is read.
        policy: Times that are left open suit the meter.
        digest: Of the platform.
        done: Ids of visits that are stored already.
        failed: Items that the device cannot run.
    """
    left = list(batch.requests(digest, done, failed))
    missing, times = sum(len(request.items) for request in left), times_of(policy, meter)
    refused = len(batch.visit_ids(digest).difference(done)) - missing
    return EnergyPlan(batch, meter, times.seconds(missing, len(left)) if times else None, missing, refused)


def check_meter(workspace: Workspace, name: str) -> Component:
    """Return a meter that works; asked before minutes of measuring latencies.

    Raises:
        MeterError: It does not, or none does.
        ConfigError: There is no such meter.
    """
    if is_external(name):  # nobody has to be reached for that
        return find_host_meter(name)
    with workspace.connect() as client:
        return find_meter(client.describe(), name, workspace.device.name)


def find_meter(info: DeviceInfo, name: str, target: str) -> Component:
    """Return a meter that works: one of this machine by name, or one of a device by name, else its first.

    Raises:
        MeterError: It does not work there, or none does; says what was tried, and why each failed.
        ConfigError: There is no such meter.
    """
    if is_external(name):
        return find_host_meter(name)
    named = [meter for meter in info.meters if not name or meter.name == name]
    if name and not named:
        known = ", ".join(meter.name for meter in info.meters)
        raise ConfigError(
            f"meter {name!r} is unknown to {target}; known: {known}; of this machine: {', '.join(METERS)}"
        )
    for meter in named:
        if meter.why_not is None:
            return meter
    tried = "; ".join(f"{meter.name}: {meter.why_not}" for meter in named)
    raise MeterError(
        f"{target}: no energy can be read. Tried: {tried}. docs/energy.md says what helps on which device"
    )


def find_host_meter(name: str) -> Component:
    """Return a meter of this machine.

    Raises:
        MeterError: It does not work here.
        ConfigError: What follows its name makes no sense.
    """
    meter = told_of(name)
    if meter.why_not is not None:
        raise MeterError(f"no energy can be read: {meter.why_not}")
    return meter


def times_of(policy: EnergyPolicy, meter: Component) -> EnergyTimes | None:
    """Return how long windows are, as the agent will choose, or the host for a meter of its own; None where that is not known."""
    if meter.period_s is None:
        return None
    least = {"least_s": _EXTERNAL_LEAST_S, "guard_s": _EXTERNAL_GUARD_S} if is_external(meter.name) else {}
    filled = policy.filled(meter.period_s, **least)
    return EnergyTimes(window_s=filled.window_s, idle_s=filled.idle_s, guard_s=filled.guard_s)


def measure_energy(
    workspace: Workspace,
    policy: EnergyPolicy,
    *,
    rows: int = ENERGY_ROWS,
    rounds: int = ENERGY_ROUNDS,
    networks: Sequence[Network] | None = None,
    announce: Callable[[EnergyPlan], None] = lambda plan: None,
    progress: Progress = lambda tally: None,
) -> Tally:
    """Measure what is missing of a plan for energy, and store it; return what was stored.

    Args:
        workspace: Gives space, store and device.
        policy: Which meter and rails, and how long windows are.
        rows: Units to measure.
        rounds: Windows of each.
        networks: Measured whole; by default those of the calibration, and those that `energy build` chose.
        announce: Told what will be measured, before it is.
        progress: Called after every window.

    Raises:
        MeterError: No meter works there, or it stopped working; what was measured is stored.
        NotProfiledError: The latencies of the units are not known yet.
        DeviceLostError: The agent cannot be kept alive; what was measured is stored.
    """
    with KeptConnection(workspace.connect_measured) as connect:
        with connect() as client:
            info, platform = client.describe(), workspace.platform_measured(client)
        keep_meters(workspace.store, platform, info)
        plan = plan_energy(workspace, info, policy, rows=rows, rounds=rounds, networks=networks)
        announce(plan)
        return measure_windows(workspace, connect, platform, policy, plan, progress=progress)


def measure_windows(
    workspace: Workspace,
    connect: Connect,
    platform: Platform,
    policy: EnergyPolicy,
    plan: EnergyPlan,
    *,
    progress: Progress = lambda tally: None,
) -> Tally:
    """Measure what is missing of a plan, and store each window in the platform's table when it ends.

    Args:
        workspace: Gives store and device.
        connect: Opens a connection to the device's agent.
        platform: That the agent measures on.
        policy: As asked for: a meter of the host with what follows its name.
        plan: The windows.
        progress: Called after every window.

    Raises:
        MeterError: The meter does not work, or stopped working; what was measured is stored.
        DeviceLostError: The agent cannot be kept alive; what was measured is stored.
    """
    try:
        with measuring(policy, plan) as how:
            lane = Lane(
                connect=connect,
                serial=serial_of(workspace.device),
                patience_s=workspace.device.patience_s,
                cool_to_c=workspace.device.cool_to_c,
                backend=platform.backend,
                measure=how,
            )
            campaign = Campaign(
                lanes=[lane],
                store=workspace.store,
                lut_id=workspace.store.add_platform(platform),
                digest=platform.digest,
                progress=progress,
            )
            campaign.run(plan.batch)
    finally:
        workspace.forget_table()
    return campaign.tally


@contextmanager
def measuring(policy: EnergyPolicy, plan: EnergyPlan) -> Iterator[Measure]:
    """Return how a lane measures: by the device's own meter, or by one of this machine, which records meanwhile.

    Raises:
        MeterError: It does not work here.
        ConfigError: It has no such rail.
    """
    times = times_of(policy, plan.meter)
    if not is_external(policy.meter) or times is None or not plan.missing:
        yield measure  # where nothing is missing, the device's supply is left alone
        return
    clock = SystemClock()
    with (
        closing(open_meter(policy.meter, clock=clock)) as meter,
        Witness(meter, name=plan.meter.name, rails=policy.rails, times=times, clock=clock) as witness,
    ):
        yield witness.measure
