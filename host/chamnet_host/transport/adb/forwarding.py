"""A port of this machine that leads to one of a device, through streams."""

import contextlib
import logging
import socket
import threading

from chamnet_host.transport.adb.multiplexer import Multiplexer, MuxStream

__all__ = ["Forward"]

log = logging.getLogger(__name__)

_CHUNK_BYTES = 64 << 10
_OPEN_S = 10.0


class Forward:
    """Listens on loopback and carries each connection, until closed.

    Attributes:
        port: Here.

    Args:
        multiplexer: To the device.
        port: There.
    """

    def __init__(self, multiplexer: Multiplexer, port: int) -> None:
        self._multiplexer = multiplexer
        self._service = f"tcp:{port}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name=f"adb-forward-{port}").start()

    def close(self) -> None:
        """Take no more connections; those that stand end with the multiplexer."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or accept would not notice
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True, name="adb-out").start()

    def _carry(self, near: socket.socket) -> None:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            far = self._multiplexer.open(self._service, timeout_s=_OPEN_S)
        except OSError as error:
            log.info("%s of the device: %s", self._service, error)
            near.close()
            return
        threading.Thread(target=_bring, args=(far, near), daemon=True, name="adb-in").start()
        with contextlib.suppress(OSError):
            while chunk := near.recv(_CHUNK_BYTES):
                far.write(chunk, timeout_s=None)
        far.close()


def _bring(far: MuxStream, near: socket.socket) -> None:
    """Carry what the device sends, until either end closes."""
    with contextlib.suppress(OSError):
        while chunk := far.read_some(_CHUNK_BYTES, timeout_s=None):
            near.sendall(chunk)
    with contextlib.suppress(OSError):
        near.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
    near.close()
