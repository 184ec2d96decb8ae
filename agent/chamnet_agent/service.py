"""Message in, message out: what the agent answers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import grpc

from chamnet.clock import Clock, SystemClock
from chamnet.errors import ChamNetError, ConfigError
from chamnet.records import (
    EXTERNAL_METER,
    Conditions,
    DeviceInfo,
    EnergyPolicy,
    Item,
    Policy,
    Resolved,
    Visit,
)
from chamnet.units import Unit
from chamnet.wire import convert, status
from chamnet.wire import profiling_pb2 as pb
from chamnet.wire.jobs import Job
from chamnet.wire.profiling_pb2_grpc import ProfilingServicer
from chamnet_agent import registry
from chamnet_agent.lease import Lease
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings
from chamnet_agent.power.metering import Metering, check_external
from chamnet_agent.supervisor import Supervisor

__all__ = ["ProfilingService", "health_handler"]

_ABORT_CHARS = 3_000  # gRPC carries the message in a header of 8 KiB, escaped
_HOLDER_CHARS = 120
_MOST_ITEMS = 4_096
_MOST_LAPS = 100_000
_LONGEST_ITEM_S = 3_600.0
_LOOKED_NS = 1_000_000_000  # for so long, what was found of meters is believed

Request = TypeVar("Request")


class ProfilingService(ProfilingServicer):
    """Answers the three calls of `profiling.proto`.

    Args:
        info: What the device is.
        conditions: Reads what it is like now.
        supervisor: Runs the jobs.
        lease: Renewed by every call.
        meters: Settings of the meters.
        clock: The one that workers tell their times by.
    """

    def __init__(
        self,
        info: DeviceInfo,
        conditions: Callable[[], Conditions],
        supervisor: Supervisor,
        lease: Lease,
        *,
        meters: MeterSettings = DEFAULT_SETTINGS,
        clock: Clock | None = None,
    ) -> None:
        self._info, self._conditions = info, conditions
        self._meters, self._clock = meters, clock or SystemClock()
        self._supervisor = supervisor
        self._lease = lease
        self._looked_ns: int | None = None

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeReply:
        """Return what the device is, and what it is like now."""
        with self._lease.call():
            self._look_for_meters()
            now = replace(self._info, conditions=self._conditions())
            return convert.device_message(replace(now, monotonic_ns=self._clock.now_ns()))  # read last

    def _look_for_meters(self) -> None:
        """Look anew which meters work: a phone is unplugged, a right is given. Not for each of several calls in a row, which tell clocks."""
        now_ns = self._clock.now_ns()
        if self._looked_ns is None or now_ns - self._looked_ns > _LOOKED_NS:
            self._looked_ns = now_ns
            self._info = replace(self._info, meters=registry.meters(self._meters))

    def Measure(self, request: pb.MeasureRequest, context: grpc.ServicerContext) -> Iterator[pb.Visit]:
        """Stream a visit per item."""
        with self._lease.call(), _aborting(context):
            job = self._job(convert.measure_record, request)
            visits = self._energies(job, context) if _is_energy(job) else self._reports(job, context)
            for report in visits:
                if isinstance(report, Visit):
                    yield convert.visit_message(report)

    def Resolve(self, request: pb.ResolveRequest, context: grpc.ServicerContext) -> Iterator[pb.Resolved]:
        """Stream what each item resolves to."""
        with self._lease.call(), _aborting(context):
            for report in self._reports(self._job(convert.resolve_record, request), context):
                if isinstance(report, Resolved):
                    yield convert.resolved_message(report)

    def _energies(self, job: Job, context: grpc.ServicerContext) -> Iterator[Visit | Resolved]:
        """Yield visits with what a meter said meanwhile; it is read in this process, on the cores that do not measure.

        Where the host reads a meter of its own, visits keep their spans.
        """
        policy = job.policy
        assert policy is not None
        if policy.energy is not None and policy.energy.meter == EXTERNAL_METER:
            check_external(policy.energy)
            yield from self._reports(job, context)
            return
        metering = Metering(policy.energy or EnergyPolicy(), settings=self._meters, clock=self._clock)
        with metering:
            for report in self._reports(replace(job, policy=metering.policy(policy)), context):
                yield metering.completed(report) if isinstance(report, Visit) else report

    def _job(self, read: Callable[[Request], Job], request: Request) -> Job:
        try:
            job = read(request)
        except ValueError as error:
            raise ConfigError(f"request: {error}") from error
        _check_job(job)
        self._check_backend(job.backend)
        return job

    def _check_backend(self, name: str) -> None:
        backend = self._info.backend(name)
        if backend is None:
            known = ", ".join(each.name for each in self._info.backends)
            raise ConfigError(f"backend {name!r} is unknown to this device; known: {known}")
        if backend.why_not:
            raise ConfigError(f"backend {backend.name!r} is not usable on this device: {backend.why_not}")

    def _reports(self, job: Job, context: grpc.ServicerContext) -> Iterator[Visit | Resolved]:
        run = self._supervisor.submit(job, _holder(context))
        if not context.add_callback(lambda: run.cancel("its client went away")):
            run.cancel("its client went away")
        context.send_initial_metadata((("chamnet-agent", self._info.agent_version),))  # the request is taken
        yield from run


@contextmanager
def _aborting(context: grpc.ServicerContext) -> Iterator[None]:
    """End the call with the code of the error raised inside."""
    try:
        yield
    except ChamNetError as error:
        context.abort(status.code_of(error), str(error)[:_ABORT_CHARS])


def _is_energy(job: Job) -> bool:
    return job.policy is not None and job.policy.mode == "energy"


def _holder(context: grpc.ServicerContext) -> str:
    """Return who calls: the name it gives itself, and its address."""
    given = [value for key, value in context.invocation_metadata() if key == "chamnet-client"]
    name = str(given[0])[:_HOLDER_CHARS] if given else "a client"
    return f"{name} at {context.peer()}"


def _check_job(job: Job) -> None:
    if not job.request_id:
        raise ConfigError("request: no request_id; name it, so that asking twice is harmless")
    if not 0 < len(job.items) <= _MOST_ITEMS:
        raise ConfigError(f"request: {len(job.items)} items; send 1 to {_MOST_ITEMS}")
    ids = {item.visit_id for item in job.items}
    if len(ids) < len(job.items) or "" in ids:
        raise ConfigError("request: visit_ids are empty or repeated; every item needs its own")
    for item in job.items:
        _check_item(item)
    if job.policy:
        _check_policy(job.policy)


def _check_item(item: Item) -> None:
    if bool(item.blocks) == (item.model is not None):
        raise ConfigError(f"item {item.visit_id!r}: needs either blocks (unit keys) or a model file")
    for key in item.blocks:
        try:
            Unit.parse(key)
        except ValueError as error:
            raise ConfigError(f"item {item.visit_id!r}: unknown unit {key!r}: {error}") from error


def _check_policy(policy: Policy) -> None:
    if (
        (policy.mode != "energy" and not 0 < policy.laps <= _MOST_LAPS)
        or policy.warmup_laps > _MOST_LAPS
        or policy.noops > _MOST_ITEMS
    ):
        raise ConfigError(
            f"policy: {policy.laps} laps, {policy.warmup_laps} to warm up, {policy.noops} no-ops; send 1 to "
            f"{_MOST_LAPS} laps, at most as many to warm up, and at most {_MOST_ITEMS} no-ops"
        )
    if not 0 < policy.timeout_s <= _LONGEST_ITEM_S:
        raise ConfigError(
            f"policy: timeout_s {policy.timeout_s}; send more than 0, at most {_LONGEST_ITEM_S:.0f}"
        )


def health_handler(lease: Lease) -> "grpc.GenericRpcHandler[pb.HealthRequest, pb.HealthReply]":
    """Return the standard health service; of it, `Check` (clients take a missing `Watch` for what it is)."""

    def check(request: pb.HealthRequest, context: grpc.ServicerContext) -> pb.HealthReply:
        with lease.call():
            if request.service not in ("", "chamnet.wire.Profiling"):
                context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service!r}")
            return pb.HealthReply(status=pb.HealthReply.SERVING)

    method = grpc.unary_unary_rpc_method_handler(
        check,
        request_deserializer=pb.HealthRequest.FromString,
        response_serializer=pb.HealthReply.SerializeToString,
    )
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
