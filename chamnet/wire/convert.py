"""Records to messages and back: nothing else knows both.

`x_message(record)` writes, `x_record(message)` reads. Reading raises `ValueError` for a message that no record
can hold, such as a status from a newer peer.
"""

from dataclasses import asdict
from typing import cast

from chamnet import errors
from chamnet.records import (
    Component,
    Conditions,
    CoreCluster,
    DeviceInfo,
    EnergyPolicy,
    EnergyReading,
    EnergySpans,
    Item,
    Mode,
    Policy,
    Resolved,
    Status,
    Visit,
)
from chamnet.wire import profiling_pb2 as pb
from chamnet.wire.jobs import Done, FromWorker, Job, Ready

__all__ = [
    "device_message",
    "device_record",
    "from_worker_message",
    "from_worker_record",
    "measure_message",
    "measure_record",
    "resolve_message",
    "resolve_record",
    "resolved_message",
    "resolved_record",
    "to_worker_message",
    "to_worker_record",
    "visit_message",
    "visit_record",
]


def device_message(info: DeviceInfo) -> pb.DescribeReply:
    """Write what a device is."""
    return pb.DescribeReply(
        agent_version=info.agent_version,
        protocol_version=info.protocol_version,
        cpu_model=info.cpu_model,
        arch=info.arch,
        cpu_flags=info.cpu_flags,
        clusters=[pb.CoreCluster(cores=each.cores, max_khz=each.max_khz) for each in info.clusters],
        memory_bytes=info.memory_bytes,
        os=info.os,
        python=info.python,
        backends=[_component_message(each) for each in info.backends],
        meters=[_component_message(each) for each in info.meters],
        default_backend=info.default_backend,
        cores=info.cores,
        threads=info.threads,
        conditions=_conditions_message(info.conditions),
        monotonic_ns=info.monotonic_ns,
    )


def device_record(message: pb.DescribeReply) -> DeviceInfo:
    """Read what a device is."""
    return DeviceInfo(
        agent_version=message.agent_version,
        protocol_version=message.protocol_version,
        cpu_model=message.cpu_model,
        arch=message.arch,
        cpu_flags=tuple(message.cpu_flags),
        clusters=tuple(map(_cluster_record, message.clusters)),
        memory_bytes=message.memory_bytes,
        os=message.os,
        python=message.python,
        backends=tuple(map(_component_record, message.backends)),
        meters=tuple(map(_component_record, message.meters)),
        default_backend=message.default_backend,
        cores=tuple(message.cores),
        threads=message.threads,
        conditions=_conditions_record(message.conditions),
        monotonic_ns=message.monotonic_ns if message.HasField("monotonic_ns") else None,
    )


def _cluster_record(message: pb.CoreCluster) -> CoreCluster:
    max_khz = message.max_khz if message.HasField("max_khz") else None
    return CoreCluster(cores=tuple(message.cores), max_khz=max_khz)


def _component_message(component: Component) -> pb.Component:
    return pb.Component(
        name=component.name,
        version=component.version,
        provider=component.provider,
        dtypes=component.dtypes,
        why_not=component.why_not,
        period_s=component.period_s,
    )


def _component_record(message: pb.Component) -> Component:
    return Component(
        name=message.name,
        version=message.version,
        provider=message.provider,
        dtypes=tuple(message.dtypes),
        why_not=message.why_not if message.HasField("why_not") else None,
        period_s=message.period_s if message.HasField("period_s") else None,
    )


def measure_message(job: Job) -> pb.MeasureRequest:
    """Write a job that measures.

    Raises:
        ValueError: The job has no policy: it resolves.
    """
    if job.policy is None:
        raise ValueError(f"job {job.request_id!r} has no policy to measure under")
    return pb.MeasureRequest(
        request_id=job.request_id,
        backend=job.backend,
        policy=_policy_message(job.policy),
        items=map(_item_message, job.items),
    )


def measure_record(message: pb.MeasureRequest) -> Job:
    """Read a job that measures."""
    return Job(
        request_id=message.request_id,
        backend=message.backend,
        policy=_policy_record(message.policy),
        items=tuple(map(_item_record, message.items)),
    )


def resolve_message(job: Job) -> pb.ResolveRequest:
    """Write a job that resolves; a policy is left out."""
    items = map(_item_message, job.items)
    return pb.ResolveRequest(request_id=job.request_id, backend=job.backend, items=items)


def resolve_record(message: pb.ResolveRequest) -> Job:
    """Read a job that resolves."""
    items = tuple(map(_item_record, message.items))
    return Job(request_id=message.request_id, backend=message.backend, items=items)


def _item_message(item: Item) -> pb.Item:
    return pb.Item(visit_id=item.visit_id, name=item.name, blocks=item.blocks, model=item.model)


def _item_record(message: pb.Item) -> Item:
    return Item(
        visit_id=message.visit_id,
        name=message.name,
        blocks=tuple(message.blocks),
        model=message.model if message.HasField("model") else None,
    )


def _policy_message(policy: Policy) -> pb.Policy:
    return pb.Policy(
        mode=cast(pb.Policy.Mode, pb.Policy.Mode.Value(policy.mode.upper())),
        laps=policy.laps,
        warmup_laps=policy.warmup_laps,
        noops=policy.noops,
        seed=policy.seed,
        timeout_s=policy.timeout_s,
        isolated=policy.isolated,
        energy=None if policy.energy is None else pb.EnergyPolicy(**asdict(policy.energy)),
    )


def _policy_record(message: pb.Policy) -> Policy:
    if message.mode not in (pb.Policy.RING, pb.Policy.LOOP, pb.Policy.ENERGY):
        raise ValueError(f"policy: mode {message.mode} is unknown; send RING, LOOP or ENERGY")
    return Policy(
        mode=cast(Mode, pb.Policy.Mode.Name(message.mode).lower()),
        laps=message.laps,
        warmup_laps=message.warmup_laps,
        noops=message.noops,
        seed=message.seed,
        timeout_s=message.timeout_s,
        isolated=message.isolated,
        energy=_energy_policy_record(message.energy) if message.HasField("energy") else None,
    )


def _energy_policy_record(message: pb.EnergyPolicy) -> EnergyPolicy:
    return EnergyPolicy(
        meter=message.meter,
        rails=message.rails,
        window_s=message.window_s,
        idle_s=message.idle_s,
        guard_s=message.guard_s,
    )


def visit_message(visit: Visit) -> pb.Visit:
    """Write a visit."""
    return pb.Visit(
        visit_id=visit.visit_id,
        status=_status_value(visit.status),
        samples_ns=visit.samples_ns,
        cpu_samples_ns=visit.cpu_samples_ns,
        preempted=visit.preempted,
        noop_ns=visit.noop_ns,
        started_unix_ms=visit.started_unix_ms,
        conditions=_conditions_message(visit.conditions),
        message=visit.message,
        energy=None if visit.energy is None else pb.Energy(**asdict(visit.energy)),
        spans=None if visit.spans is None else _spans_message(visit.spans),
    )


def visit_record(message: pb.Visit) -> Visit:
    """Read a visit."""
    return Visit(
        visit_id=message.visit_id,
        status=_status_name(message.status),
        samples_ns=tuple(message.samples_ns),
        cpu_samples_ns=tuple(message.cpu_samples_ns),
        preempted=message.preempted,
        noop_ns=message.noop_ns if message.HasField("noop_ns") else None,
        started_unix_ms=message.started_unix_ms,
        conditions=_conditions_record(message.conditions),
        message=message.message,
        energy=_energy_record(message.energy) if message.HasField("energy") else None,
        spans=_spans_record(message.spans) if message.HasField("spans") else None,
    )


def _energy_record(message: pb.Energy) -> EnergyReading:
    return EnergyReading(
        meter=message.meter,
        rails=tuple(message.rails),
        period_s=message.period_s,
        updates=message.updates,
        window_ns=message.window_ns,
        calls=message.calls,
        gross_uj=message.gross_uj,
        idle_before_w=message.idle_before_w,
        idle_after_w=message.idle_after_w,
        idle_std_w=message.idle_std_w,
        power_std_w=message.power_std_w if message.HasField("power_std_w") else None,
        spin_w=message.spin_w if message.HasField("spin_w") else None,
    )


def _spans_message(spans: EnergySpans) -> pb.EnergySpans:
    window, before, after = (_span(each) for each in (spans.window_ns, spans.before_ns, spans.after_ns))
    spin = None if spans.spin_ns is None else _span(spans.spin_ns)
    return pb.EnergySpans(window=window, before=before, after=after, calls=spans.calls, spin=spin)


def _span(start_and_end: tuple[int, int]) -> pb.Span:
    return pb.Span(start_ns=start_and_end[0], end_ns=start_and_end[1])


def _spans_record(message: pb.EnergySpans) -> EnergySpans:
    window, before, after, spin = (
        (span.start_ns, span.end_ns) for span in (message.window, message.before, message.after, message.spin)
    )
    return EnergySpans(
        window_ns=window,
        before_ns=before,
        after_ns=after,
        calls=message.calls,
        spin_ns=spin if message.HasField("spin") else None,
    )


def _conditions_message(conditions: Conditions) -> pb.Conditions:
    return pb.Conditions(
        cpu_khz=conditions.cpu_khz,
        temperature_c=conditions.temperature_c,
        probe_ns=conditions.probe_ns,
        memory_probe_ns=conditions.memory_probe_ns,
        load_1min=conditions.load_1min,
        cap_khz=conditions.cap_khz,
        governor=conditions.governor,
        online_cores=conditions.online_cores,
        battery_percent=conditions.battery_percent,
        charging=conditions.charging,  # type: ignore[arg-type]  # the stub forgets None
    )


def _conditions_record(message: pb.Conditions) -> Conditions:
    return Conditions(
        cpu_khz=message.cpu_khz if message.HasField("cpu_khz") else None,
        temperature_c=message.temperature_c if message.HasField("temperature_c") else None,
        probe_ns=message.probe_ns if message.HasField("probe_ns") else None,
        memory_probe_ns=message.memory_probe_ns if message.HasField("memory_probe_ns") else None,
        load_1min=message.load_1min if message.HasField("load_1min") else None,
        cap_khz=message.cap_khz if message.HasField("cap_khz") else None,
        governor=message.governor,
        online_cores=message.online_cores if message.HasField("online_cores") else None,
        battery_percent=message.battery_percent if message.HasField("battery_percent") else None,
        charging=message.charging if message.HasField("charging") else None,
    )


def resolved_message(resolved: Resolved) -> pb.Resolved:
    """Write what an item resolves to."""
    return pb.Resolved(
        visit_id=resolved.visit_id,
        status=_status_value(resolved.status),
        executed=resolved.executed,
        message=resolved.message,
    )


def resolved_record(message: pb.Resolved) -> Resolved:
    """Read what an item resolves to."""
    return Resolved(
        visit_id=message.visit_id,
        status=_status_name(message.status),
        executed=tuple(message.executed),
        message=message.message,
    )


def _status_value(status: Status) -> pb.Visit.Status:
    return cast(pb.Visit.Status, pb.Visit.Status.Value(status.upper()))


def _status_name(value: int) -> Status:
    if value not in pb.Visit.Status.values() or value == pb.Visit.STATUS_UNSPECIFIED:
        raise ValueError(f"status {value} is unknown; the peer is newer: upgrade this side")
    return cast(Status, pb.Visit.Status.Name(cast(pb.Visit.Status, value)).lower())


def to_worker_message(job: Job) -> pb.ToWorker:
    """Write a job for the worker."""
    if job.policy is None:
        return pb.ToWorker(resolve=resolve_message(job))
    return pb.ToWorker(measure=measure_message(job))


def to_worker_record(message: pb.ToWorker) -> Job:
    """Read a job in the worker."""
    if message.WhichOneof("what") == "measure":
        return measure_record(message.measure)
    return resolve_record(message.resolve)


def from_worker_message(event: FromWorker) -> pb.FromWorker:
    """Write what the worker has to say."""
    match event:
        case Ready():
            return pb.FromWorker(ready=True)
        case Visit():
            return pb.FromWorker(visit=visit_message(event))
        case Resolved():
            return pb.FromWorker(resolved=resolved_message(event))
        case Done():
            return pb.FromWorker(done=event.request_id)
        case errors.ChamNetError():
            return pb.FromWorker(failed=pb.Failure(error=type(event).__name__, message=str(event)))


def from_worker_record(message: pb.FromWorker) -> FromWorker:
    """Read what the worker has to say.

    Raises:
        ValueError: It says nothing that this version knows.
    """
    match message.WhichOneof("what"):
        case "ready":
            return Ready()
        case "visit":
            return visit_record(message.visit)
        case "resolved":
            return resolved_record(message.resolved)
        case "done":
            return Done(message.done)
        case "failed":
            return _error_class(message.failed.error)(message.failed.message)
        case unknown:
            raise ValueError(f"a worker's message holds {unknown}; server and worker differ in version")


def _error_class(name: str) -> type[errors.ChamNetError]:
    found = getattr(errors, name, None)
    known = isinstance(found, type) and issubclass(found, errors.ChamNetError)
    return cast(type[errors.ChamNetError], found) if known else errors.WorkerError
