"""What works on this device, proven by running it."""

import dataclasses
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import chamnet
from chamnet.clock import SystemClock
from chamnet.errors import ChamNetError
from chamnet.machine import read_clusters
from chamnet.records import Component, CoreCluster, Item, Policy, Visit
from chamnet.wire.endpoint import Endpoint
from chamnet.wire.jobs import Job
from chamnet_agent import registry, sysinfo
from chamnet_agent.board import Board
from chamnet_agent.config import AgentConfig
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings
from chamnet_agent.process import start_worker
from chamnet_agent.settings import DEFAULTS, BackendSettings
from chamnet_agent.supervisor import Supervisor

__all__ = ["Diagnosis", "diagnose"]

_LAPS = 8  # few: a lap of a native tool takes a second
_TRIAL = Item(visit_id="trial", blocks=("conv:f32:1x16x14x14:o16:k3:relu",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What works here.

    Attributes:
        version: Of the agent.
        backends: With `why_not` filled in where a trial run failed.
        call_ns: By backend, what an empty model costs to call.
        meters: Energy meters.
        clusters: Cores of this device.
        cores: What a worker is pinned to by default.
        agent: Address of the agent that runs here; None if none does.
    """

    version: str
    backends: tuple[Component, ...]
    call_ns: dict[str, int]
    meters: tuple[Component, ...]
    clusters: tuple[CoreCluster, ...]
    cores: tuple[int, ...]
    agent: str | None


def diagnose(
    state_dir: Path, settings: BackendSettings = DEFAULTS, meters: MeterSettings = DEFAULT_SETTINGS
) -> Diagnosis:
    """Try every backend in a worker of its own; takes about a second each, a native tool some more."""
    groups = read_clusters()
    cores = sysinfo.auto_cores(1, groups, sysinfo.usable_cores())
    call_ns: dict[str, int] = {}
    backends = []
    for backend in registry.backends(settings):
        if backend.why_not is None:
            backend, noop_ns = _tried(backend, cores, settings)
            if noop_ns is not None:
                call_ns[backend.name] = noop_ns
        backends.append(backend)
    endpoint = Endpoint.load(state_dir)
    return Diagnosis(
        version=chamnet.__version__,
        backends=tuple(backends),
        call_ns=call_ns,
        meters=registry.meters(meters),
        clusters=groups,
        cores=cores,
        agent=endpoint.address if endpoint else None,
    )


def _tried(
    backend: Component, cores: tuple[int, ...], settings: BackendSettings
) -> tuple[Component, int | None]:
    """Run a small convolution and an empty model; return what the latter cost to call."""
    with tempfile.TemporaryDirectory(prefix="chamnet-agent-") as folder:
        config = AgentConfig(state_dir=Path(folder), backend=backend.name, cores=cores, settings=settings)
        board = Board.create(config.state_dir)
        environ = dict(os.environ)
        supervisor = Supervisor(
            lambda: start_worker(config, board, environ), board=board, clock=SystemClock()
        )
        try:
            job = Job(request_id="doctor", items=(_TRIAL,), policy=Policy(mode="loop", laps=_LAPS))
            visits = [report for report in supervisor.submit(job, "doctor") if isinstance(report, Visit)]
        except ChamNetError as error:
            return dataclasses.replace(backend, why_not=str(error)), None
        finally:
            supervisor.close("doctor is done")
            board.close()
    trial = visits[0]
    return (backend, trial.noop_ns) if trial.status == "ok" else (_failed(backend, trial), None)


def _failed(backend: Component, trial: Visit) -> Component:
    return dataclasses.replace(backend, why_not=f"a trial run ended {trial.status}: {trial.message}")
