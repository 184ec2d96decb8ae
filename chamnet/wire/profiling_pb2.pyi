from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DescribeRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class CoreCluster(_message.Message):
    __slots__ = ("cores", "max_khz")
    CORES_FIELD_NUMBER: _ClassVar[int]
    MAX_KHZ_FIELD_NUMBER: _ClassVar[int]
    cores: _containers.RepeatedScalarFieldContainer[int]
    max_khz: int
    def __init__(self, cores: _Optional[_Iterable[int]] = ..., max_khz: _Optional[int] = ...) -> None: ...

class Component(_message.Message):
    __slots__ = ("name", "version", "provider", "dtypes", "why_not", "period_s")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DTYPES_FIELD_NUMBER: _ClassVar[int]
    WHY_NOT_FIELD_NUMBER: _ClassVar[int]
    PERIOD_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    provider: str
    dtypes: _containers.RepeatedScalarFieldContainer[str]
    why_not: str
    period_s: float
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., provider: _Optional[str] = ..., dtypes: _Optional[_Iterable[str]] = ..., why_not: _Optional[str] = ..., period_s: _Optional[float] = ...) -> None: ...

class DescribeReply(_message.Message):
    __slots__ = ("agent_version", "protocol_version", "cpu_model", "arch", "cpu_flags", "clusters", "memory_bytes", "os", "python", "backends", "meters", "default_backend", "cores", "threads", "conditions", "monotonic_ns")
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CPU_MODEL_FIELD_NUMBER: _ClassVar[int]
    ARCH_FIELD_NUMBER: _ClassVar[int]
    CPU_FLAGS_FIELD_NUMBER: _ClassVar[int]
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    OS_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    METERS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_BACKEND_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    MONOTONIC_NS_FIELD_NUMBER: _ClassVar[int]
    agent_version: str
    protocol_version: int
    cpu_model: str
    arch: str
    cpu_flags: _containers.RepeatedScalarFieldContainer[str]
    clusters: _containers.RepeatedCompositeFieldContainer[CoreCluster]
    memory_bytes: int
    os: str
    python: str
    backends: _containers.RepeatedCompositeFieldContainer[Component]
    meters: _containers.RepeatedCompositeFieldContainer[Component]
    default_backend: str
    cores: _containers.RepeatedScalarFieldContainer[int]
    threads: int
    conditions: Conditions
    monotonic_ns: int
    def __init__(self, agent_version: _Optional[str] = ..., protocol_version: _Optional[int] = ..., cpu_model: _Optional[str] = ..., arch: _Optional[str] = ..., cpu_flags: _Optional[_Iterable[str]] = ..., clusters: _Optional[_Iterable[_Union[CoreCluster, _Mapping]]] = ..., memory_bytes: _Optional[int] = ..., os: _Optional[str] = ..., python: _Optional[str] = ..., backends: _Optional[_Iterable[_Union[Component, _Mapping]]] = ..., meters: _Optional[_Iterable[_Union[Component, _Mapping]]] = ..., default_backend: _Optional[str] = ..., cores: _Optional[_Iterable[int]] = ..., threads: _Optional[int] = ..., conditions: _Optional[_Union[Conditions, _Mapping]] = ..., monotonic_ns: _Optional[int] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("visit_id", "name", "blocks", "model")
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    visit_id: str
    name: str
    blocks: _containers.RepeatedScalarFieldContainer[str]
    model: bytes
    def __init__(self, visit_id: _Optional[str] = ..., name: _Optional[str] = ..., blocks: _Optional[_Iterable[str]] = ..., model: _Optional[bytes] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("mode", "laps", "warmup_laps", "noops", "seed", "timeout_s", "isolated", "energy")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MODE_UNSPECIFIED: _ClassVar[Policy.Mode]
        RING: _ClassVar[Policy.Mode]
        LOOP: _ClassVar[Policy.Mode]
        ENERGY: _ClassVar[Policy.Mode]
    MODE_UNSPECIFIED: Policy.Mode
    RING: Policy.Mode
    LOOP: Policy.Mode
    ENERGY: Policy.Mode
    MODE_FIELD_NUMBER: _ClassVar[int]
    LAPS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_LAPS_FIELD_NUMBER: _ClassVar[int]
    NOOPS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    ISOLATED_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    mode: Policy.Mode
    laps: int
    warmup_laps: int
    noops: int
    seed: int
    timeout_s: float
    isolated: bool
    energy: EnergyPolicy
    def __init__(self, mode: _Optional[_Union[Policy.Mode, str]] = ..., laps: _Optional[int] = ..., warmup_laps: _Optional[int] = ..., noops: _Optional[int] = ..., seed: _Optional[int] = ..., timeout_s: _Optional[float] = ..., isolated: bool = ..., energy: _Optional[_Union[EnergyPolicy, _Mapping]] = ...) -> None: ...

class EnergyPolicy(_message.Message):
    __slots__ = ("meter", "rails", "window_s", "idle_s", "guard_s")
    METER_FIELD_NUMBER: _ClassVar[int]
    RAILS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_S_FIELD_NUMBER: _ClassVar[int]
    IDLE_S_FIELD_NUMBER: _ClassVar[int]
    GUARD_S_FIELD_NUMBER: _ClassVar[int]
    meter: str
    rails: str
    window_s: float
    idle_s: float
    guard_s: float
    def __init__(self, meter: _Optional[str] = ..., rails: _Optional[str] = ..., window_s: _Optional[float] = ..., idle_s: _Optional[float] = ..., guard_s: _Optional[float] = ...) -> None: ...

class MeasureRequest(_message.Message):
    __slots__ = ("request_id", "backend", "policy", "items")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    backend: str
    policy: Policy
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, request_id: _Optional[str] = ..., backend: _Optional[str] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class Conditions(_message.Message):
    __slots__ = ("cpu_khz", "temperature_c", "probe_ns", "load_1min", "memory_probe_ns", "cap_khz", "governor", "online_cores", "battery_percent", "charging")
    CPU_KHZ_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_C_FIELD_NUMBER: _ClassVar[int]
    PROBE_NS_FIELD_NUMBER: _ClassVar[int]
    LOAD_1MIN_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PROBE_NS_FIELD_NUMBER: _ClassVar[int]
    CAP_KHZ_FIELD_NUMBER: _ClassVar[int]
    GOVERNOR_FIELD_NUMBER: _ClassVar[int]
    ONLINE_CORES_FIELD_NUMBER: _ClassVar[int]
    BATTERY_PERCENT_FIELD_NUMBER: _ClassVar[int]
    CHARGING_FIELD_NUMBER: _ClassVar[int]
    cpu_khz: int
    temperature_c: float
    probe_ns: int
    load_1min: float
    memory_probe_ns: int
    cap_khz: int
    governor: str
    online_cores: int
    battery_percent: int
    charging: bool
    def __init__(self, cpu_khz: _Optional[int] = ..., temperature_c: _Optional[float] = ..., probe_ns: _Optional[int] = ..., load_1min: _Optional[float] = ..., memory_probe_ns: _Optional[int] = ..., cap_khz: _Optional[int] = ..., governor: _Optional[str] = ..., online_cores: _Optional[int] = ..., battery_percent: _Optional[int] = ..., charging: bool = ...) -> None: ...

class Visit(_message.Message):
    __slots__ = ("visit_id", "status", "samples_ns", "cpu_samples_ns", "preempted", "noop_ns", "started_unix_ms", "conditions", "message", "energy", "spans")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Visit.Status]
        OK: _ClassVar[Visit.Status]
        UNSUPPORTED: _ClassVar[Visit.Status]
        FALLBACK: _ClassVar[Visit.Status]
        CRASHED: _ClassVar[Visit.Status]
        TIMEOUT: _ClassVar[Visit.Status]
        CANCELLED: _ClassVar[Visit.Status]
    STATUS_UNSPECIFIED: Visit.Status
    OK: Visit.Status
    UNSUPPORTED: Visit.Status
    FALLBACK: Visit.Status
    CRASHED: Visit.Status
    TIMEOUT: Visit.Status
    CANCELLED: Visit.Status
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_NS_FIELD_NUMBER: _ClassVar[int]
    CPU_SAMPLES_NS_FIELD_NUMBER: _ClassVar[int]
    PREEMPTED_FIELD_NUMBER: _ClassVar[int]
    NOOP_NS_FIELD_NUMBER: _ClassVar[int]
    STARTED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    visit_id: str
    status: Visit.Status
    samples_ns: _containers.RepeatedScalarFieldContainer[int]
    cpu_samples_ns: _containers.RepeatedScalarFieldContainer[int]
    preempted: int
    noop_ns: int
    started_unix_ms: int
    conditions: Conditions
    message: str
    energy: Energy
    spans: EnergySpans
    def __init__(self, visit_id: _Optional[str] = ..., status: _Optional[_Union[Visit.Status, str]] = ..., samples_ns: _Optional[_Iterable[int]] = ..., cpu_samples_ns: _Optional[_Iterable[int]] = ..., preempted: _Optional[int] = ..., noop_ns: _Optional[int] = ..., started_unix_ms: _Optional[int] = ..., conditions: _Optional[_Union[Conditions, _Mapping]] = ..., message: _Optional[str] = ..., energy: _Optional[_Union[Energy, _Mapping]] = ..., spans: _Optional[_Union[EnergySpans, _Mapping]] = ...) -> None: ...

class Energy(_message.Message):
    __slots__ = ("meter", "rails", "period_s", "updates", "window_ns", "calls", "gross_uj", "idle_before_w", "idle_after_w", "idle_std_w", "power_std_w", "spin_w")
    METER_FIELD_NUMBER: _ClassVar[int]
    RAILS_FIELD_NUMBER: _ClassVar[int]
    PERIOD_S_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_NS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    GROSS_UJ_FIELD_NUMBER: _ClassVar[int]
    IDLE_BEFORE_W_FIELD_NUMBER: _ClassVar[int]
    IDLE_AFTER_W_FIELD_NUMBER: _ClassVar[int]
    IDLE_STD_W_FIELD_NUMBER: _ClassVar[int]
    POWER_STD_W_FIELD_NUMBER: _ClassVar[int]
    SPIN_W_FIELD_NUMBER: _ClassVar[int]
    meter: str
    rails: _containers.RepeatedScalarFieldContainer[str]
    period_s: float
    updates: int
    window_ns: int
    calls: int
    gross_uj: float
    idle_before_w: float
    idle_after_w: float
    idle_std_w: float
    power_std_w: float
    spin_w: float
    def __init__(self, meter: _Optional[str] = ..., rails: _Optional[_Iterable[str]] = ..., period_s: _Optional[float] = ..., updates: _Optional[int] = ..., window_ns: _Optional[int] = ..., calls: _Optional[int] = ..., gross_uj: _Optional[float] = ..., idle_before_w: _Optional[float] = ..., idle_after_w: _Optional[float] = ..., idle_std_w: _Optional[float] = ..., power_std_w: _Optional[float] = ..., spin_w: _Optional[float] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("start_ns", "end_ns")
    START_NS_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    start_ns: int
    end_ns: int
    def __init__(self, start_ns: _Optional[int] = ..., end_ns: _Optional[int] = ...) -> None: ...

class EnergySpans(_message.Message):
    __slots__ = ("window", "before", "after", "calls", "spin")
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    SPIN_FIELD_NUMBER: _ClassVar[int]
    window: Span
    before: Span
    after: Span
    calls: int
    spin: Span
    def __init__(self, window: _Optional[_Union[Span, _Mapping]] = ..., before: _Optional[_Union[Span, _Mapping]] = ..., after: _Optional[_Union[Span, _Mapping]] = ..., calls: _Optional[int] = ..., spin: _Optional[_Union[Span, _Mapping]] = ...) -> None: ...

class ResolveRequest(_message.Message):
    __slots__ = ("request_id", "backend", "items")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    backend: str
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, request_id: _Optional[str] = ..., backend: _Optional[str] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class Resolved(_message.Message):
    __slots__ = ("visit_id", "status", "executed", "message")
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    visit_id: str
    status: Visit.Status
    executed: _containers.RepeatedScalarFieldContainer[str]
    message: str
    def __init__(self, visit_id: _Optional[str] = ..., status: _Optional[_Union[Visit.Status, str]] = ..., executed: _Optional[_Iterable[str]] = ..., message: _Optional[str] = ...) -> None: ...

class HealthRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class HealthReply(_message.Message):
    __slots__ = ("status",)
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[HealthReply.Status]
        SERVING: _ClassVar[HealthReply.Status]
        NOT_SERVING: _ClassVar[HealthReply.Status]
        SERVICE_UNKNOWN: _ClassVar[HealthReply.Status]
    UNKNOWN: HealthReply.Status
    SERVING: HealthReply.Status
    NOT_SERVING: HealthReply.Status
    SERVICE_UNKNOWN: HealthReply.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: HealthReply.Status
    def __init__(self, status: _Optional[_Union[HealthReply.Status, str]] = ...) -> None: ...

class ToWorker(_message.Message):
    __slots__ = ("measure", "resolve")
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    RESOLVE_FIELD_NUMBER: _ClassVar[int]
    measure: MeasureRequest
    resolve: ResolveRequest
    def __init__(self, measure: _Optional[_Union[MeasureRequest, _Mapping]] = ..., resolve: _Optional[_Union[ResolveRequest, _Mapping]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("error", "message")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    error: str
    message: str
    def __init__(self, error: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class FromWorker(_message.Message):
    __slots__ = ("ready", "visit", "resolved", "done", "failed")
    READY_FIELD_NUMBER: _ClassVar[int]
    VISIT_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    ready: bool
    visit: Visit
    resolved: Resolved
    done: str
    failed: Failure
    def __init__(self, ready: bool = ..., visit: _Optional[_Union[Visit, _Mapping]] = ..., resolved: _Optional[_Union[Resolved, _Mapping]] = ..., done: _Optional[str] = ..., failed: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...
