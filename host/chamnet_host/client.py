"""An agent, as the host sees it: records in and out; raises our errors."""

import getpass
import math
import os
import platform
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from chamnet.errors import ChamNetError, DeviceError, DeviceLostError, DeviceUnreachableError
from chamnet.records import DeviceInfo, Item, Policy, Resolved, Visit
from chamnet.wire import convert, status
from chamnet.wire import profiling_pb2 as pb
from chamnet.wire.jobs import Job
from chamnet.wire.profiling_pb2_grpc import ProfilingStub
from chamnet.wire.tls import AGENT_NAME, channel_credentials

__all__ = ["DeviceClient"]

_STREAM_SPARE_S = 60.0  # for a worker to start and a backend to load, on top of what the items may take
_RESOLVE_ITEM_S = 60.0
_LONGEST_STREAM_S = 86_400.0
_OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.max_send_message_length", -1),  # the agent's limit is the one that counts
    ("grpc.max_metadata_size", 64 * 2**10),  # errors carry the last lines of a worker
    ("grpc.keepalive_time_ms", 20_000),  # notice a cable that was pulled
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.enable_http_proxy", 0),  # a proxy has no business on the way to a device
]

_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

Message = TypeVar("Message")
Record = TypeVar("Record")


class DeviceClient:
    """Calls one agent. Thread-safe; the agent itself takes one `measure` or `resolve` at a time.

    Every call raises `DeviceUnreachableError` where no agent answers, `TokenError` where it refuses the token,
    and `DeviceLostError` where it goes away while it works.

    Args:
        address: `HOST:PORT`.
        token: From the agent's token file.
        tls: Folder of the host's certificates (`chamnet.wire.tls`); None where calls stay on this machine.
        timeout_s: For calls that return at once.
        last_words: Returns the last lines of the agent's log, to quote when it is lost.
    """

    def __init__(
        self,
        address: str,
        token: str,
        *,
        tls: Path | None,
        timeout_s: float = 10.0,
        last_words: Callable[[], str] | None = None,
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._last_words = last_words
        self._token = token
        self._metadata = (("authorization", f"Bearer {token}"), ("chamnet-client", _who()))
        if tls is None:
            self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        else:
            options = [*_OPTIONS, ("grpc.ssl_target_name_override", AGENT_NAME)]
            self._channel = grpc.secure_channel(address, channel_credentials(tls), options=options)
        self._stub = ProfilingStub(self._channel)
        self._check = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=pb.HealthRequest.SerializeToString,
            response_deserializer=pb.HealthReply.FromString,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what runs and hang up."""
        self._channel.close()

    def is_same_agent(self, other: "DeviceClient") -> bool:
        """Return whether another client calls the same agent, by whatever address: each start makes a token of its own."""
        return self._token == other._token

    def health(self) -> bool:
        """Return whether the agent says that it serves."""
        reply: pb.HealthReply = self._call(self._check, pb.HealthRequest())
        return reply.status == pb.HealthReply.SERVING

    def describe(self) -> DeviceInfo:
        """Return what the device is and what runs on it."""
        request = pb.DescribeRequest(request_id=uuid.uuid4().hex)
        return self._read(convert.device_record, self._call(self._stub.Describe, request))

    def measure(
        self,
        items: Sequence[Item],
        policy: Policy,
        *,
        backend: str | None = None,
        request_id: str | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[Visit]:
        """Yield the visits of items as they finish; leaving the iterator cancels the rest.

        Args:
            items: What to measure.
            policy: How.
            backend: Its name; None for the agent's default.
            request_id: To replace one's own earlier request; None for a new one.
            deadline_s: For everything; None for what the policy allows every call, a day at most, and for that day where
                windows are as long as a meter needs, which only the agent sees. An item that hangs is noticed by the
                agent long before, and a lost cable by the missing pings.

        Raises:
            DeviceBusyError: Another request is at work.
            ConfigError: A unit, the policy or the backend is unknown to the agent.
            WorkerError: The measuring process does not start.
        """
        calls = len(items) * (2 * policy.laps + policy.warmup_laps + 2)
        allowed_s = math.inf if policy.mode == "energy" else calls * policy.timeout_s
        deadline_s = deadline_s or _STREAM_SPARE_S + min(allowed_s, _LONGEST_STREAM_S)
        job = Job(
            request_id=request_id or uuid.uuid4().hex,
            items=tuple(items),
            policy=policy,
            backend=backend or "",
        )
        return self._stream(
            self._stub.Measure, convert.measure_message(job), convert.visit_record, deadline_s
        )

    def resolve(
        self,
        items: Sequence[Item],
        *,
        backend: str | None = None,
        request_id: str | None = None,
        deadline_s: float | None = None,
    ) -> Iterator[Resolved]:
        """Yield what the runtime executes for items; arguments and errors as for `measure`."""
        deadline_s = deadline_s or _STREAM_SPARE_S + len(items) * _RESOLVE_ITEM_S
        job = Job(request_id=request_id or uuid.uuid4().hex, items=tuple(items), backend=backend or "")
        return self._stream(
            self._stub.Resolve, convert.resolve_message(job), convert.resolved_record, deadline_s
        )

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._ours(error, began=False, limit_s=self._timeout_s) from error

    def _stream(
        self, method: Any, request: Any, read: Callable[[Any], Record], deadline_s: float
    ) -> Iterator[Record]:
        call = method(request, timeout=deadline_s, metadata=self._metadata)
        began = False
        try:
            began = bool(call.initial_metadata())  # what the agent sends once it has taken the request
            for message in call:
                began = True
                yield self._read(read, message)
        except grpc.RpcError as error:
            raise self._ours(error, began=began, limit_s=deadline_s) from error
        finally:
            call.cancel()

    def _read(self, read: Callable[[Message], Record], message: Message) -> Record:
        try:
            return read(message)
        except ValueError as error:
            raise DeviceError(f"{self._address}: the agent's answer cannot be read: {error}") from error

    def _ours(self, error: grpc.RpcError, *, began: bool, limit_s: float) -> ChamNetError:
        """Return our error for gRPC's."""
        code: grpc.StatusCode = error.code()
        details: str = error.details() or ""
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            details = f"no end within {limit_s:.0f} s"
        if code in _UNREACHABLE and not began:
            return DeviceUnreachableError(
                f"{self._address}: no agent answers ({details}); start one with: chamnet-agent serve{self._quoted()}"
            )
        if code in (*_UNREACHABLE, grpc.StatusCode.CANCELLED):
            return DeviceLostError(
                f"{self._address}: the agent went away while it worked ({details}); what it had sent is kept, "
                f"run the same command again to go on{self._quoted()}"
            )
        return status.error_from(code, f"{self._address}: {details}")

    def _quoted(self) -> str:
        words = self._last_words().strip() if self._last_words else ""
        return f"; its last lines:\n{words}" if words else ""


def _who() -> str:
    """Return who holds the device, for the message that others get."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user, as in some containers
        user = f"user {os.getuid()}"
    text = f"{user}@{platform.node()} (process {os.getpid()})"
    return text.encode("ascii", "replace").decode()
