"""Records that cross the wire or land on disk. Frozen; raw samples are kept; absent is None."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "PROTOCOL_VERSION",
    "Component",
    "Conditions",
    "CoreCluster",
    "DeviceInfo",
    "Item",
    "Mode",
    "Policy",
    "Resolved",
    "Status",
    "Visit",
    "machine_identity",
]

PROTOCOL_VERSION = 3  # of the way a measurement is made; rows of different versions never mix

Status = Literal["ok", "unsupported", "fallback", "crashed", "timeout", "cancelled"]
Mode = Literal["ring", "loop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreCluster:
    """Cores of one kind.

    Attributes:
        cores: Core numbers, ascending.
        max_khz: Highest clock; None if the device does not say.
    """

    cores: tuple[int, ...]
    max_khz: int | None = None


def machine_identity(
    cpu_model: str, arch: str, cpu_flags: Iterable[str], clusters: Iterable[CoreCluster]
) -> str:
    """Return the digest of a machine's kind; tables are kept under it."""
    facts = json.dumps([cpu_model, arch, sorted(cpu_flags), [[len(c.cores), c.max_khz] for c in clusters]])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A backend or meter of a device, usable or not.

    Attributes:
        name: Its name in the registry.
        version: Version of the runtime; empty if absent.
        provider: What runs the work, such as `CPUExecutionProvider`.
        dtypes: Element types it can run.
        why_not: None if usable here, else the reason and what would help.
    """

    name: str
    version: str = ""
    provider: str = ""
    dtypes: tuple[str, ...] = ()
    why_not: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the device was like around a visit; None where it does not say.

    Attributes:
        cpu_khz: Clock of the slowest core at work.
        temperature_c: Of the hottest zone.
        probe_ns: Median of a fixed reference computation between the visit's laps.
        memory_probe_ns: The same of a fixed pass over memory that was last read a lap ago.
        load_1min: Load average.
        cap_khz: Clock that the slowest core at work may reach now; less than its highest when it is throttled.
        governor: Of the cores at work; empty where it is unknown.
        online_cores: Cores that are switched on.
        battery_percent: Charge of the battery.
        charging: Whether it is being charged.
    """

    cpu_khz: int | None = None
    temperature_c: float | None = None
    probe_ns: int | None = None
    memory_probe_ns: int | None = None
    load_1min: float | None = None
    cap_khz: int | None = None
    governor: str = ""
    online_cores: int | None = None
    battery_percent: int | None = None
    charging: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """What a device is, what runs on it and what it is like now, as its agent describes it."""

    agent_version: str
    protocol_version: int
    cpu_model: str
    arch: str
    cpu_flags: tuple[str, ...]
    clusters: tuple[CoreCluster, ...]
    memory_bytes: int
    os: str
    python: str
    backends: tuple[Component, ...]
    meters: tuple[Component, ...]
    default_backend: str
    cores: tuple[int, ...]
    threads: int
    conditions: Conditions = Conditions()

    @property
    def identity(self) -> str:
        """Digest of the machine's kind: CPU model, flags and core clusters.

        Tables are kept under it, so that another machine's is never used silently.
        """
        return machine_identity(self.cpu_model, self.arch, self.cpu_flags, self.clusters)

    def backend(self, name: str | None = None) -> Component | None:
        """Return the named backend, or the default one; None if the device has no such backend."""
        wanted = name or self.default_backend
        return next((backend for backend in self.backends if backend.name == wanted), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something to measure, under the name its visit will have.

    Attributes:
        visit_id: Chosen by the host, unique in the store.
        blocks: Unit keys: one for a unit, several for a whole network; empty for a model file.
        name: Of a network; empty for a unit.
        model: Bytes of an ONNX file; None otherwise.
    """

    visit_id: str
    blocks: tuple[str, ...] = ()
    name: str = ""
    model: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How items are measured.

    Attributes:
        mode: `ring` (items in their order, lap after lap) or `loop` (each alone).
        laps: Samples of each item.
        warmup_laps: Laps thrown away first.
        noops: Identity models spread through a ring.
        seed: Of weights and inputs.
        timeout_s: For one item to build or run.
        isolated: Units as files of their own, with what the runtime puts around them; otherwise as the runtime
            executes them inside a network.
    """

    mode: Mode = "ring"
    laps: int = 20
    warmup_laps: int = 2
    noops: int = 3
    seed: int = 0
    timeout_s: float = 30.0
    isolated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """The atom of measuring: one item's samples in one ring or loop at one time.

    Attributes:
        visit_id: As the host named it.
        status: `ok`, or why there are no samples to use.
        samples_ns: Every kept sample, in order.
        cpu_samples_ns: Thread CPU time of the same calls; empty where several threads work.
        preempted: Samples rejected because the thread was descheduled.
        noop_ns: Mean of an empty model under the same policy; None if none ran.
        started_unix_ms: When it started, for people.
        conditions: What the device was like.
        message: Why it is not ok, with the last lines of the worker's stderr.
    """

    visit_id: str
    status: Status
    samples_ns: tuple[int, ...] = ()
    cpu_samples_ns: tuple[int, ...] = ()
    preempted: int = 0
    noop_ns: int | None = None
    started_unix_ms: int = 0
    conditions: Conditions = Conditions()
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What the runtime executes for an item.

    Attributes:
        visit_id: As the host named the item.
        status: `ok` or `unsupported`, `crashed`, `timeout`.
        executed: Executed keys, in the order they run.
        message: Why it is not ok.
    """

    visit_id: str
    status: Status
    executed: tuple[str, ...] = ()
    message: str = ""
