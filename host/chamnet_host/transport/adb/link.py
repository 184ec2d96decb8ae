"""The seam between what adbd offers and the two ways to talk to it."""

from typing import Protocol

__all__ = ["Link", "ServiceRefusedError", "Stream", "WirelessDebuggingError"]


class ServiceRefusedError(OSError):
    """adbd, or the server before it, does not open a service; says why if it told."""


class WirelessDebuggingError(OSError):
    """adbd wants TLS, with the key that the adb server keeps of a pairing; adb-shell knows neither."""


class Stream(Protocol):
    """Bytes to and from one service of adbd.

    Methods raise `TimeoutError` if nothing moves for too long, and another `OSError` once the device is gone.
    """

    def read(self, count: int, *, timeout_s: float) -> bytes:
        """Return exactly `count` bytes.

        Raises:
            EOFError: The service ended before.
        """
        ...

    def write(self, content: bytes, *, timeout_s: float) -> None:
        """Send bytes, all of them."""
        ...

    def close(self) -> None:
        """End the service; harmless if it has ended."""
        ...


class Link(Protocol):
    """A device to which streams can be opened.

    Attributes:
        serial: Its serial number, or `HOST:PORT`.
    """

    @property
    def serial(self) -> str:
        """Its serial number, or `HOST:PORT`."""
        ...

    def open(self, service: str, *, timeout_s: float) -> Stream:
        """Open a service such as `sync:`.

        Raises:
            ServiceRefusedError: It is not offered.
            OSError: The device is gone.
        """
        ...

    def forward(self, port: int) -> int:
        """Return a port here that leads to one there, until `close`."""
        ...

    def close(self) -> None:
        """End forwards and streams; harmless if it was done."""
        ...
