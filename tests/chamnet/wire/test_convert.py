from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    Policy,
    Resolved,
    Status,
    Visit,
)
from chamnet.wire import convert
from chamnet.wire import profiling_pb2 as pb
from chamnet.wire.jobs import Done, FromWorker, Job, Ready

UINT32 = st.integers(0, 2**32 - 1)
UINT64 = st.integers(0, 2**64 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(allow_nan=False)
STATUS: st.SearchStrategy[Status] = st.sampled_from(
    ["ok", "unsupported", "fallback", "crashed", "timeout", "cancelled"]
)


def tuples(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=4).map(tuple)


COMPONENT = st.builds(
    Component,
    name=st.text(),
    version=st.text(),
    provider=st.text(),
    dtypes=tuples(st.text()),
    why_not=st.none() | st.text(),
    period_s=st.none() | FLOAT,
)
CONDITIONS = st.builds(
    Conditions,
    cpu_khz=st.none() | UINT64,
    temperature_c=st.none() | FLOAT,
    probe_ns=st.none() | INT64,
    memory_probe_ns=st.none() | INT64,
    load_1min=st.none() | FLOAT,
    cap_khz=st.none() | UINT64,
    governor=st.text(),
    online_cores=st.none() | UINT32,
    battery_percent=st.none() | UINT32,
    charging=st.none() | st.booleans(),
)
DEVICE = st.builds(
    DeviceInfo,
    agent_version=st.text(),
    protocol_version=UINT32,
    cpu_model=st.text(),
    arch=st.text(),
    cpu_flags=tuples(st.text()),
    clusters=tuples(st.builds(CoreCluster, cores=tuples(UINT32), max_khz=st.none() | UINT64)),
    memory_bytes=UINT64,
    os=st.text(),
    python=st.text(),
    backends=tuples(COMPONENT),
    meters=tuples(COMPONENT),
    default_backend=st.text(),
    cores=tuples(UINT32),
    threads=UINT32,
    conditions=CONDITIONS,
    monotonic_ns=st.none() | INT64,
)
ITEM = st.builds(
    Item, visit_id=st.text(), name=st.text(), blocks=tuples(st.text()), model=st.none() | st.binary()
)
ENERGY_POLICY = st.builds(
    EnergyPolicy, meter=st.text(), rails=st.text(), window_s=FLOAT, idle_s=FLOAT, guard_s=FLOAT
)
SPAN = st.tuples(INT64, INT64)
SPANS = st.builds(
    EnergySpans, window_ns=SPAN, before_ns=SPAN, after_ns=SPAN, calls=UINT64, spin_ns=st.none() | SPAN
)
ENERGY = st.builds(
    EnergyReading,
    meter=st.text(),
    rails=tuples(st.text()),
    period_s=FLOAT,
    updates=UINT64,
    window_ns=INT64,
    calls=UINT64,
    gross_uj=FLOAT,
    idle_before_w=FLOAT,
    idle_after_w=FLOAT,
    idle_std_w=FLOAT,
    power_std_w=st.none() | FLOAT,
    spin_w=st.none() | FLOAT,
)
POLICY = st.builds(
    Policy,
    mode=st.sampled_from(["ring", "loop", "energy"]),
    laps=UINT32,
    warmup_laps=UINT32,
    noops=UINT32,
    seed=UINT64,
    timeout_s=FLOAT,
    isolated=st.booleans(),
    energy=st.none() | ENERGY_POLICY,
)
VISIT = st.builds(
    Visit,
    visit_id=st.text(),
    status=STATUS,
    samples_ns=tuples(INT64),
    cpu_samples_ns=tuples(INT64),
    preempted=UINT32,
    noop_ns=st.none() | INT64,
    started_unix_ms=UINT64,
    conditions=CONDITIONS,
    message=st.text(),
    energy=st.none() | ENERGY,
    spans=st.none() | SPANS,
)
RESOLVED = st.builds(
    Resolved, visit_id=st.text(), status=STATUS, executed=tuples(st.text()), message=st.text()
)
JOB = st.builds(Job, request_id=st.text(), items=tuples(ITEM), policy=st.none() | POLICY, backend=st.text())


def test_an_unknown_reading_is_not_zero() -> None:
    absent = convert.visit_record(convert.visit_message(Visit(visit_id="a", status="ok")))
    frozen = Visit(
        visit_id="a",
        status="ok",
        noop_ns=0,
        conditions=Conditions(cpu_khz=0, temperature_c=0.0, probe_ns=0, memory_probe_ns=0, load_1min=0.0),
    )
    assert absent.conditions.temperature_c is None
    assert absent.conditions.memory_probe_ns is None
    assert absent.noop_ns is None
    assert convert.visit_record(convert.visit_message(frozen)) == frozen


@given(DEVICE)
def test_devices_survive(info: DeviceInfo) -> None:
    sent = convert.device_message(info).SerializeToString()
    assert convert.device_record(pb.DescribeReply.FromString(sent)) == info


@given(VISIT)
def test_visits_survive(visit: Visit) -> None:
    sent = convert.visit_message(visit).SerializeToString()
    assert convert.visit_record(pb.Visit.FromString(sent)) == visit


@given(RESOLVED)
def test_resolved_items_survive(resolved: Resolved) -> None:
    sent = convert.resolved_message(resolved).SerializeToString()
    assert convert.resolved_record(pb.Resolved.FromString(sent)) == resolved


@given(JOB)
def test_jobs_survive(job: Job) -> None:
    sent = convert.to_worker_message(job).SerializeToString()
    assert convert.to_worker_record(pb.ToWorker.FromString(sent)) == job


@given(st.builds(Ready) | st.builds(Done, st.text()) | VISIT | RESOLVED)
def test_events_survive(event: FromWorker) -> None:
    sent = convert.from_worker_message(event).SerializeToString()
    assert convert.from_worker_record(pb.FromWorker.FromString(sent)) == event


@pytest.mark.parametrize("error", [errors.ConfigError("no such backend"), errors.WorkerError("it fell over")])
def test_errors_survive_with_their_class(error: errors.ChamNetError) -> None:
    back = convert.from_worker_record(convert.from_worker_message(error))
    assert type(back) is type(error)
    assert str(back) == str(error)


@pytest.mark.parametrize("name", ["SystemExit", "os", "annotations", ""])
def test_a_name_that_is_no_error_of_ours_makes_a_worker_error(name: str) -> None:
    message = pb.FromWorker(failed=pb.Failure(error=name, message="why"))
    assert type(convert.from_worker_record(message)) is errors.WorkerError


def test_a_job_that_resolves_has_no_policy_to_send() -> None:
    with pytest.raises(ValueError, match="no policy"):
        convert.measure_message(Job(request_id="a", items=()))


@pytest.mark.parametrize(
    ("read", "message", "says"),
    [
        (convert.visit_record, pb.Visit(visit_id="a"), "status 0"),
        (convert.resolved_record, pb.Resolved(visit_id="a"), "status 0"),
        (convert.visit_record, pb.Visit.FromString(b"\x10\x63"), "status 99"),
        (convert.measure_record, pb.MeasureRequest(request_id="a"), "mode 0"),
        (convert.from_worker_record, pb.FromWorker(), "holds None"),
    ],
)
def test_what_no_record_can_hold_is_refused(read: Any, message: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(message)


def test_a_policy_of_an_older_host_does_not_isolate() -> None:
    older = pb.MeasureRequest(request_id="a", policy=pb.Policy(mode=pb.Policy.RING, laps=3))
    assert convert.measure_record(older).policy == Policy(
        laps=3, warmup_laps=0, noops=0, timeout_s=0.0, isolated=False
    )
