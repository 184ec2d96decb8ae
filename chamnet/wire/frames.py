"""Messages over a pipe: four bytes of length, big-endian, then the message.

Both ends are ours; the limit only stops a corrupt stream from asking for the whole memory.
"""

import struct
from typing import IO, TypeVar

from google.protobuf.message import DecodeError, Message

from chamnet.wire import convert
from chamnet.wire import profiling_pb2 as pb
from chamnet.wire.jobs import FromWorker, Job

__all__ = [
    "MAX_FRAME_BYTES",
    "FrameError",
    "read_event",
    "read_frame",
    "read_job",
    "write_event",
    "write_frame",
    "write_job",
]

MAX_FRAME_BYTES = 96 * 2**20  # above the largest request the network side takes

_LENGTH = struct.Struct(">I")

M = TypeVar("M", bound=Message)


class FrameError(EOFError):
    """The stream ended inside a frame or holds something else: its writer died or never was ours."""


def write_frame(stream: IO[bytes], message: Message, *, limit: int = MAX_FRAME_BYTES) -> None:
    """Write one message and flush it.

    Raises:
        ValueError: The message is over the limit; nothing was written.
        OSError: The pipe is closed.
    """
    body = message.SerializeToString()
    if len(body) > limit:
        raise ValueError(f"a message of {len(body)} bytes is over the limit of {limit} bytes a frame")
    stream.write(_LENGTH.pack(len(body)))
    stream.write(body)
    stream.flush()


def read_frame(stream: IO[bytes], kind: type[M], *, limit: int = MAX_FRAME_BYTES) -> M | None:
    """Read one message; None where the stream ends between frames.

    Raises:
        FrameError: The stream ends inside a frame, or what it holds is no frame.
    """
    head = _read_exactly(stream, _LENGTH.size)
    if not head:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > limit:
        raise FrameError(f"a frame announces {length} bytes, the limit is {limit}")
    body = _read_exactly(stream, length)
    if len(body) < length:
        raise FrameError(f"the stream ended after {len(body)} of {length} bytes")
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise FrameError(f"a frame holds no {kind.__name__}: {error}") from error


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Return `size` bytes, or none where the stream ends at once.

    Raises:
        FrameError: It ends after some of a frame's head.
    """
    parts = bytearray()
    while len(parts) < size:
        part = stream.read(size - len(parts))
        if not part:
            break
        parts += part
    if size == _LENGTH.size and 0 < len(parts) < size:
        raise FrameError(f"the stream ended after {len(parts)} of {size} bytes of a frame's length")
    return bytes(parts)


def write_job(stream: IO[bytes], job: Job) -> None:
    """Send a job to the worker."""
    write_frame(stream, convert.to_worker_message(job))


def read_job(stream: IO[bytes]) -> Job | None:
    """Return the server's next job; None once it has closed the pipe."""
    message = read_frame(stream, pb.ToWorker)
    return None if message is None else convert.to_worker_record(message)


def write_event(stream: IO[bytes], event: FromWorker) -> None:
    """Send the server what happened."""
    write_frame(stream, convert.from_worker_message(event))


def read_event(stream: IO[bytes]) -> FromWorker | None:
    """Return what the worker says next; None once it has closed the pipe."""
    message = read_frame(stream, pb.FromWorker)
    return None if message is None else convert.from_worker_record(message)
