"""The two services of adbd that are used, as they go over a stream.

`shell,v2,raw:COMMAND` sends packets: one byte that says what it is, four for the length, little-endian. `sync:` sends
requests: four letters and four bytes of length or time. Both are described in the documentation of adb's source.
"""

import contextlib
import struct
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from chamnet_host.transport.adb.link import Stream
from chamnet_host.transport.shell import Finished, Upload

__all__ = ["SyncError", "read_file", "read_to_end", "run_command", "send_files"]

_STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = 1, 2, 3, 4
_CHUNK_BYTES = 64 << 10  # adbd takes no more at once
_UNANSWERED = 64  # files sent ahead of the device's answers, each of 8 bytes
_IDLE_S = 30.0
_REGULAR = 0o100000


class SyncError(Exception):
    """The device refuses a file; says why."""


def run_command(stream: Stream, *, timeout_s: float) -> Finished:
    """Follow a command to its end.

    Raises:
        TimeoutError: It has not ended in time.
    """
    deadline_s = time.monotonic() + timeout_s
    written: dict[int, list[bytes]] = {_STDOUT: [], _STDERR: []}
    with contextlib.suppress(EOFError, ConnectionError):  # it may have ended already
        stream.write(struct.pack("<BI", _CLOSE_STDIN, 0), timeout_s=timeout_s)
    while (left_s := deadline_s - time.monotonic()) > 0:
        kind, length = struct.unpack("<BI", stream.read(5, timeout_s=left_s))
        content = stream.read(length, timeout_s=_IDLE_S)
        if kind == _EXIT:
            out, err = (b"".join(written[each]).decode(errors="replace") for each in (_STDOUT, _STDERR))
            return Finished(code=content[0], stdout=out, stderr=err)
        written.setdefault(kind, []).append(content)
    raise TimeoutError(f"no end within {timeout_s:g} s")


def read_to_end(stream: Stream) -> str:
    """Return what a service says until it ends."""
    said = bytearray()
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            said += stream.read(1, timeout_s=_IDLE_S)
    return said.decode(errors="replace")


def send_files(stream: Stream, files: Iterable[Upload]) -> int:
    """Write files on the device and return the bytes sent.

    Raises:
        SyncError: One cannot be written.
    """
    unanswered: deque[Upload] = deque()
    sent = 0
    for file in files:
        sent += _send(stream, file)
        unanswered.append(file)
        if len(unanswered) > _UNANSWERED:
            _check(stream, unanswered.popleft())
    for file in unanswered:
        _check(stream, file)
    return sent


def read_file(stream: Stream, path: str) -> bytes:
    """Return what a file holds.

    Raises:
        SyncError: It cannot be read.
    """
    stream.write(_request(b"RECV", path.encode()), timeout_s=_IDLE_S)
    chunks: list[bytes] = []
    while True:
        answer, length = _answer(stream)
        if answer == b"DONE":
            return b"".join(chunks)
        content = stream.read(length, timeout_s=_IDLE_S)
        if answer != b"DATA":
            raise SyncError(content.decode(errors="replace"))
        chunks.append(content)


def _send(stream: Stream, file: Upload) -> int:
    """Send one file, small ones in one go."""
    pending = _request(b"SEND", f"{file.target},{_REGULAR | file.mode}".encode())
    size = 0
    with file.source.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            pending += _request(b"DATA", chunk)
            size += len(chunk)
            if len(chunk) == _CHUNK_BYTES:
                stream.write(pending, timeout_s=_IDLE_S)
                pending = b""
    stream.write(pending + struct.pack("<4sI", b"DONE", _mtime_s(file.source)), timeout_s=_IDLE_S)
    return size


def _mtime_s(path: Path) -> int:
    return int(path.stat().st_mtime) & 0xFFFFFFFF


def _check(stream: Stream, file: Upload) -> None:
    answer, length = _answer(stream)
    if answer != b"OKAY":
        raise SyncError(f"{file.target}: {stream.read(length, timeout_s=_IDLE_S).decode(errors='replace')}")


def _request(name: bytes, content: bytes) -> bytes:
    return struct.pack("<4sI", name, len(content)) + content


def _answer(stream: Stream) -> tuple[bytes, int]:
    name, length = struct.unpack("<4sI", stream.read(8, timeout_s=_IDLE_S))
    return name, length
