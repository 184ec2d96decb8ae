"""The client against agents that are absent, silent, dying or newer."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from held_port import held_port

from chamnet.errors import (
    ChamNetError,
    ConfigError,
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DeviceUnreachableError,
    TokenError,
    UnsupportedOpError,
    WorkerError,
)
from chamnet.lut import EnergyBatch, EnergyTimes
from chamnet.records import EnergyPolicy, Item, Policy
from chamnet.units import Unit
from chamnet.wire import profiling_pb2 as pb
from chamnet.wire import status
from chamnet.wire.profiling_pb2_grpc import ProfilingServicer, add_ProfilingServicer_to_server
from chamnet_host.client import DeviceClient

ITEM = Item(visit_id="a", blocks=("conv:f32:1x8x4x4:o8",))

PATIENCE_S = 60.0  # for what takes no time on an idle machine

Serve = Callable[[ProfilingServicer], DeviceClient]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that serves a strange agent and connects to it."""
    server = grpc.server(ThreadPoolExecutor(2))
    clients: list[DeviceClient] = []

    def start(servicer: ProfilingServicer) -> DeviceClient:
        add_ProfilingServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        clients.append(
            DeviceClient(
                f"127.0.0.1:{port}",
                "token",
                tls=None,
                timeout_s=PATIENCE_S,
                last_words=lambda: "out of battery",
            )
        )
        clients[0].server = server  # type: ignore[attr-defined]
        return clients[0]

    yield start
    for client in clients:
        client.close()
    server.stop(None)


class Strange(ProfilingServicer):
    """An agent that does what it is made with."""

    def __init__(self, answer: Callable[[Any, grpc.ServicerContext], Any]) -> None:
        self._answer = answer

    def Describe(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._answer(request, context)

    Measure = Resolve = Describe


def test_no_agent_is_unreachable() -> None:
    with held_port() as port:
        address = f"127.0.0.1:{port}"
        with DeviceClient(address, "token", tls=None, timeout_s=PATIENCE_S) as client:
            for ask in (client.health, client.describe, lambda: list(client.measure([ITEM], Policy()))):
                with pytest.raises(DeviceUnreachableError, match=f"{address}: no agent answers"):
                    ask()


def test_a_port_that_never_answers_is_unreachable_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            DeviceClient(address, "token", tls=None, timeout_s=0.3) as client,
            pytest.raises(DeviceUnreachableError, match=r"no end within 0 s|no agent answers"),
        ):
            client.describe()


@pytest.mark.parametrize(
    "kind", [ConfigError, DeviceBusyError, DeviceLostError, TokenError, UnsupportedOpError, WorkerError]
)
def test_what_the_agent_raises_is_raised_here(serve: Serve, kind: type[ChamNetError]) -> None:
    def fail(request: object, context: grpc.ServicerContext) -> None:
        context.abort(status.STATUS[kind], "the reason")

    client = serve(Strange(fail))
    for ask in (
        client.describe,
        lambda: list(client.measure([ITEM], Policy())),
        lambda: list(client.resolve([ITEM])),
    ):
        with pytest.raises(kind, match=r"127\.0\.0\.1:\d+: the reason"):
            ask()


def test_an_agent_that_goes_away_is_lost_with_its_last_words(serve: Serve) -> None:
    received = threading.Event()

    def one_then_none(request: object, context: grpc.ServicerContext) -> Iterator[pb.Visit]:
        yield pb.Visit(visit_id="a", status=pb.Visit.OK)
        received.wait(PATIENCE_S)
        client.server.stop(None)  # type: ignore[attr-defined]
        yield pb.Visit(visit_id="b", status=pb.Visit.OK)

    client = serve(Strange(one_then_none))
    stream = client.measure([ITEM], Policy())
    assert next(stream).visit_id == "a"
    received.set()
    with pytest.raises(
        DeviceLostError, match=r"went away while it worked .*run the same command again(.|\n)*out of battery"
    ):
        list(stream)


def test_a_stream_has_a_deadline(serve: Serve) -> None:
    def slow(request: object, context: grpc.ServicerContext) -> Iterator[pb.Visit]:
        ended = threading.Event()
        context.add_callback(ended.set)
        yield pb.Visit(visit_id="a", status=pb.Visit.OK)
        ended.wait(PATIENCE_S)

    # long enough for the first visit to come, however busy the machine
    stream = serve(Strange(slow)).measure([ITEM], Policy(), deadline_s=5)
    next(stream)
    with pytest.raises(DeviceLostError, match="no end within"):
        list(stream)


@pytest.mark.parametrize("period_s", [1.0, 30.0])  # a battery's current, and its counter of charge
@pytest.mark.parametrize("count", [1, 6])
def test_windows_of_a_slow_meter_end_before_their_deadline(serve: Serve, period_s: float, count: int) -> None:
    lefts_s: list[float] = []

    def note(request: pb.MeasureRequest, context: grpc.ServicerContext) -> Iterator[pb.Visit]:
        lefts_s.append(context.time_remaining())
        return iter(())

    units = tuple(Unit.parse(f"conv:f32:1x8x4x4:o{8 * (n + 1)}") for n in range(count))
    (request,) = EnergyBatch(policy=EnergyPolicy(meter="battery"), units=units).requests("digest", (), ())
    list(serve(Strange(note)).measure(request.items, request.policy))
    filled = EnergyPolicy().filled(period_s)
    times = EnergyTimes(window_s=filled.window_s, idle_s=filled.idle_s, guard_s=filled.guard_s)
    assert lefts_s[0] > 2 * times.seconds(count, requests=1)


def test_an_answer_of_a_newer_agent_is_named(serve: Serve) -> None:
    newer = Strange(lambda request, context: iter([pb.Visit(visit_id="a", status=99)]))  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="status 99 is unknown; the peer is newer"):
        list(serve(newer).measure([ITEM], Policy()))


def test_a_call_says_who_calls_and_carries_the_token(serve: Serve) -> None:
    seen: dict[str, str] = {}

    def note(request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeReply:
        seen.update((key, str(value)) for key, value in context.invocation_metadata())
        return pb.DescribeReply(cpu_model="strange")

    assert serve(Strange(note)).describe().cpu_model == "strange"
    assert seen["authorization"] == "Bearer token"
    assert "process" in seen["chamnet-client"]


def test_leaving_a_stream_cancels_it(serve: Serve) -> None:
    ended: list[bool] = []

    def endless(request: object, context: grpc.ServicerContext) -> Iterator[pb.Visit]:
        context.add_callback(lambda: ended.append(True))
        while context.is_active():
            yield pb.Visit(visit_id="a", status=pb.Visit.OK)

    client = serve(Strange(endless))
    for _ in client.measure([ITEM], Policy()):
        break
    client.server.stop(PATIENCE_S).wait(PATIENCE_S)  # type: ignore[attr-defined]  # waits for calls at work
    assert ended == [True]


def test_every_request_has_a_name_of_its_own_unless_given(serve: Serve) -> None:
    names: list[str] = []

    def note(request: pb.MeasureRequest, context: grpc.ServicerContext) -> Iterator[pb.Visit]:
        names.append(request.request_id)
        return iter(())

    client = serve(Strange(note))
    for name in (None, None, "mine"):
        list(client.measure([ITEM], Policy(), request_id=name))
    assert len(set(names)) == 3
    assert names[2] == "mine"
    assert names[0]
