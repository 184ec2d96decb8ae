"""Many streams over one connection to adbd, as an adb server would carry them.

A message is 24 bytes, six little-endian words: command, two arguments, length and byte sum of what follows, and the
command with its bits flipped. `OPEN` asks for a stream, `OKAY` accepts it and every `WRTE` on it, `CLSE` ends it. One
`WRTE` a stream may be under way; that it is answered only once somebody has read it keeps memory small. The format is
described in the documentation of adb's source.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from itertools import count

import numpy as np

from chamnet_host.transport.adb.link import ServiceRefusedError

__all__ = ["Multiplexer", "MuxStream"]

_HEADER = struct.Struct("<4sIIIII")
_END_S = 5.0
_SEND_S = 30.0


class Multiplexer:
    """Carries streams over a connection that has been authorised. Thread-safe.

    A stream is for two threads at most: one reads, one writes.

    Args:
        connection: Its socket; closed with this.
        chunk_bytes: The longest message that the device takes.
    """

    def __init__(self, connection: socket.socket, *, chunk_bytes: int) -> None:
        self.chunk_bytes = chunk_bytes
        self._socket = connection
        self._socket.settimeout(None)
        # a device that takes nothing for so long is as good as gone; readers are woken by their own time-outs
        seconds = struct.pack("ll", int(_SEND_S), 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        self._numbers = count(1)
        self._streams: dict[int, MuxStream] = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._lost: str | None = None
        self._reader = threading.Thread(target=self._read, daemon=True, name="adb-reader")
        self._reader.start()

    def open(self, service: str, *, timeout_s: float) -> "MuxStream":
        """Open a service.

        Raises:
            ServiceRefusedError: The device does not offer it.
            OSError: The device is gone.
        """
        stream = MuxStream(self, next(self._numbers))
        with self._lock:
            if self._lost is not None:
                raise ConnectionError(self._lost)
            self._streams[stream.number] = stream
        try:
            self.send(b"OPEN", stream.number, 0, service.encode() + b"\0")
            stream.wait_open(timeout_s)
        except BaseException:
            stream.close()
            raise
        return stream

    def close(self) -> None:
        """End every stream and hang up."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if threading.current_thread() is not self._reader:
            self._reader.join(_END_S)
        self._socket.close()

    def send(self, command: bytes, first: int, second: int, content: bytes = b"") -> None:
        """Send one message."""
        total = int(np.frombuffer(content, np.uint8).sum(dtype=np.uint32))
        flipped = int.from_bytes(command, "little") ^ 0xFFFFFFFF
        header = _HEADER.pack(command, first, second, len(content), total, flipped)
        try:
            with self._sending:
                self._socket.sendall(header + content)
        except OSError as error:
            self._lose(f"connection lost: {error.strerror or error}")
            raise ConnectionError(str(self._lost)) from error

    def forget(self, number: int) -> None:
        """Drop a stream that was closed."""
        with self._lock:
            self._streams.pop(number, None)

    def _read(self) -> None:
        try:
            while True:
                command, theirs, ours, length, _sum, _flipped = _HEADER.unpack(self._exactly(_HEADER.size))
                self._dispatch(command, theirs, ours, self._exactly(length))
        except (OSError, EOFError, struct.error) as error:
            self._lose(f"connection lost: {error}")

    def _exactly(self, size: int) -> bytes:
        content = bytearray(size)
        rest = memoryview(content)
        while rest:
            got = self._socket.recv_into(rest)
            if not got:
                raise EOFError("the device hung up")
            rest = rest[got:]
        return bytes(content)

    def _dispatch(self, command: bytes, theirs: int, ours: int, content: bytes) -> None:
        with self._lock:
            stream = self._streams.get(ours)
        if stream is None:
            if command != b"CLSE":  # for a stream that was closed here meanwhile
                self.send(b"CLSE", ours, theirs)
        elif command == b"OKAY":
            stream.on_okay(theirs)
        elif command == b"WRTE":
            stream.on_content(content)
        elif command == b"CLSE":
            self.forget(ours)
            stream.on_end()

    def _lose(self, reason: str) -> None:
        with self._lock:
            self._lost = self._lost or reason
            streams = list(self._streams.values())
            self._streams.clear()
        for stream in streams:
            stream.on_end(self._lost)


class MuxStream:
    """A stream of a multiplexer.

    Args:
        multiplexer: That carries it.
        number: Its name on this side.
    """

    def __init__(self, multiplexer: Multiplexer, number: int) -> None:
        self.number = number
        self._multiplexer = multiplexer
        self._theirs = 0  # its name on the device; 0 until it is open
        self._changed = threading.Condition()
        self._received = bytearray()
        self._owed = False  # an OKAY, for what was received
        self._may_send = False
        self._ended = False
        self._lost: str | None = None

    def wait_open(self, timeout_s: float) -> None:
        """Return once the device has accepted.

        Raises:
            ServiceRefusedError: It has not.
        """
        with self._changed:
            self._wait(lambda: self._theirs or self._ended, timeout_s)
            if not self._theirs:
                raise ServiceRefusedError("no such service")

    def read(self, count: int, *, timeout_s: float) -> bytes:
        """Return exactly `count` bytes."""
        content = bytearray()
        while len(content) < count:
            part = self.read_some(count - len(content), timeout_s=timeout_s)
            if not part:
                raise EOFError("the stream ended")
            content += part
        return bytes(content)

    def read_some(self, most: int, *, timeout_s: float | None) -> bytes:
        """Return what has come, `most` bytes at most; nothing if the stream has ended."""
        with self._changed:
            self._wait(lambda: self._received or self._ended, timeout_s)
            part = bytes(self._received[:most])
            del self._received[:most]
            owed = self._owed and not self._received and not self._ended
            self._owed = self._owed and not owed
        if owed:
            self._multiplexer.send(b"OKAY", self.number, self._theirs)
        return part

    def write(self, content: bytes, *, timeout_s: float | None) -> None:
        """Send bytes, each message once the device has taken the one before."""
        step = self._multiplexer.chunk_bytes
        for start in range(0, len(content), step):
            with self._changed:
                self._wait(lambda: self._may_send or self._ended, timeout_s)
                if self._ended:
                    raise ConnectionError("the device closed the stream")
                self._may_send = False
            self._multiplexer.send(b"WRTE", self.number, self._theirs, content[start : start + step])

    def close(self) -> None:
        """End it; harmless if it has ended."""
        with self._changed:
            if self._ended:
                return
            self._ended = True
            self._changed.notify_all()
        self._multiplexer.forget(self.number)
        with contextlib.suppress(
            ConnectionError
        ):  # a stream that is not open yet has no name there: see _dispatch
            self._multiplexer.send(b"CLSE", self.number, self._theirs)

    def on_okay(self, theirs: int) -> None:
        """Take note that the device accepts: the stream, or what was last sent."""
        with self._changed:
            self._theirs = theirs
            self._may_send = True
            self._changed.notify_all()

    def on_content(self, content: bytes) -> None:
        """Take in what the device sent."""
        with self._changed:
            self._received += content
            self._owed = True
            self._changed.notify_all()

    def on_end(self, lost: str | None = None) -> None:
        """Take note that nothing more comes; `lost` says why if the device went away."""
        with self._changed:
            self._ended = True
            self._lost = lost
            self._changed.notify_all()

    def _wait(self, ready: Callable[[], object], timeout_s: float | None) -> None:
        """Wait, holding the condition.

        Raises:
            TimeoutError: It has not come true in time.
            ConnectionError: The device is gone.
        """
        if not self._changed.wait_for(ready, timeout_s):
            raise TimeoutError(f"silent for {timeout_s:g} s")
        if self._lost is not None and not self._received:
            raise ConnectionError(self._lost)
