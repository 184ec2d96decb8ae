"""Records that cross the wire or land on disk. Frozen; raw samples are kept; absent is None."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

__all__ = [
    "EXTERNAL_METER",
    "PROTOCOL_VERSION",
    "Component",
    "Conditions",
    "CoreCluster",
    "DeviceInfo",
    "EnergyPolicy",
    "EnergyReading",
    "EnergySpans",
    "Item",
    "Mode",
    "Policy",
    "Resolved",
    "Status",
    "Visit",
    "machine_identity",
]

PROTOCOL_VERSION = 3  # of the way a measurement is made; rows of different versions never mix

EXTERNAL_METER = "external"  # what an agent is told where the host reads a meter of its own

Status = Literal["ok", "unsupported", "fallback", "crashed", "timeout", "cancelled"]
Mode = Literal["ring", "loop", "energy"]

_NOISES = 5.0
_WINDOW_PERIODS, _IDLE_PERIODS, _GUARD_PERIODS = (
    50,
    40,
    2,
)  # idling: four stretches of ten updates tell its noise


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
        period_s: Of a meter that is usable: time between its updates; None where it is not known before it is read.
    """

    name: str
    version: str = ""
    provider: str = ""
    dtypes: tuple[str, ...] = ()
    why_not: str | None = None
    period_s: float | None = None


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
    """What a device is, what runs on it and what it is like now, as its agent describes it.

    Attributes:
        conditions: What it is like now.
        monotonic_ns: Its monotonic clock now, by which `EnergySpans` are told; None from agents that do not say.
    """

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
    monotonic_ns: int | None = None

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
class EnergyPolicy:
    """How the energy of items is measured; zeros leave a time to the agent, which knows how often its meter is updated.

    Attributes:
        meter: Name of the meter; empty for the first that works; `external` for none: the host reads one, and gets the
            spans of each visit.
        rails: A total (`compute`, `device`) or names of rails separated by commas; empty for the meter's own choice.
        window_s: How long an item runs over and over while it is measured.
        idle_s: How long the device idles before and after.
        guard_s: What is left out at either side of each, since updates of the meter are late.
    """

    meter: str = ""
    rails: str = ""
    window_s: float = 0.0
    idle_s: float = 0.0
    guard_s: float = 0.0

    def filled(self, period_s: float, *, least_s: float = 1.0, guard_s: float = 0.02) -> "EnergyPolicy":
        """Return it with each time that was left open as long as a meter needs: fifty updates make 2 % of error at most.

        Args:
            period_s: Between updates of the meter.
            least_s: Of a window, and of idling.
            guard_s: At least at either side of each.
        """
        return replace(
            self,
            window_s=self.window_s or max(_WINDOW_PERIODS * period_s, least_s),
            idle_s=self.idle_s or max(_IDLE_PERIODS * period_s, least_s),
            guard_s=self.guard_s or max(_GUARD_PERIODS * period_s, guard_s),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How items are measured.

    Attributes:
        mode: `ring` (items in their order, lap after lap), `loop` (each alone), or `energy` (each alone, for as long as
            `energy` says, with idling between).
        laps: Samples of each item.
        warmup_laps: Laps thrown away first.
        noops: Identity models spread through a ring.
        seed: Of weights and inputs.
        timeout_s: For one item to build or run.
        isolated: Units as files of their own, with what the runtime puts around them; otherwise as the runtime
            executes them inside a network.
        energy: For the mode of that name.
    """

    mode: Mode = "ring"
    laps: int = 20
    warmup_laps: int = 2
    noops: int = 3
    seed: int = 0
    timeout_s: float = 30.0
    isolated: bool = False
    energy: EnergyPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergySpans:
    """When a worker ran an item and when it idled, on the device's monotonic clock: what a meter is asked about afterwards.

    Attributes:
        window_ns: Start and end of the window in which the item ran.
        before_ns: Start and end of the idling before it.
        after_ns: Start and end of the idling after it.
        calls: How often it ran in the window.
        spin_ns: Start and end of a loop that computes nothing; None if there was none.
    """

    window_ns: tuple[int, int]
    before_ns: tuple[int, int]
    after_ns: tuple[int, int]
    calls: int
    spin_ns: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReading:
    """What a meter said of a window in which an item ran over and over.

    Attributes:
        meter: Its name.
        rails: Names of the rails that were added up.
        period_s: Time between updates of the meter, as observed.
        updates: How many there were in the window.
        window_ns: Length of the window.
        calls: How often the item ran in it.
        gross_uj: Energy of the window.
        idle_before_w, idle_after_w: Power while the device idled, before and after.
        idle_std_w: Standard deviation of the power of the idling device, between stretches of ten updates.
        power_std_w: The same in the window; None where it is too short to tell.
        spin_w: Power while the measuring core ran a loop that computes nothing; None if it was not measured.
    """

    meter: str
    rails: tuple[str, ...]
    period_s: float
    updates: int
    window_ns: int
    calls: int
    gross_uj: float
    idle_before_w: float
    idle_after_w: float
    idle_std_w: float
    power_std_w: float | None = None
    spin_w: float | None = None

    @property
    def idle_w(self) -> float:
        """Power of the idling device in the middle of the window, by interpolation."""
        return (self.idle_before_w + self.idle_after_w) / 2

    @property
    def net_w(self) -> float:
        """Power that the item adds to that of the idling device."""
        return self.gross_uj / (self.window_ns / 1e3) - self.idle_w

    @property
    def net_mj(self) -> float:
        """Energy of one run of the item above that of the idling device."""
        return self.net_w * self.latency_ms

    @property
    def gross_mj(self) -> float:
        """Energy that the device took for the time of one run."""
        return self.gross_uj / self.calls / 1e3

    @property
    def latency_ms(self) -> float:
        """Time of one run in this window: beside the table's latency, never instead of it."""
        return self.window_ns / self.calls / 1e6

    @property
    def error(self) -> float:
        """Relative standard error of the net energy, from what power changes by between stretches of ten updates."""
        stretches = max(self.updates / 10, 1.0)
        noise_w = math.hypot(
            self.power_std_w if self.power_std_w is not None else self.idle_std_w, self.idle_std_w
        )
        return noise_w / math.sqrt(stretches) / abs(self.net_w) if self.net_w else math.inf

    @property
    def noise_w(self) -> float:
        """What the power of the idling device itself changes by.

        Of two changes, the larger counts as far as it is not even: what idle power drifts by from before to after is
        interpolated, and half of it is still taken for noise.
        """
        return math.hypot(self.idle_std_w, (self.idle_after_w - self.idle_before_w) / 2)

    @property
    def is_below_noise(self) -> bool:
        """Whether the item adds less than five times what the idling device itself changes by."""
        return self.net_w < _NOISES * self.noise_w


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
        energy: What a meter said; None where no energy was measured.
        spans: When a worker ran and idled, for whoever reads the meter; None once it is read.
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
    energy: EnergyReading | None = None
    spans: EnergySpans | None = None


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
