"""The seam between a host and a device that can be told what to do, over adb or whatever else."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["DeviceShell", "Finished", "Upload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A command that has ended.

    Attributes:
        code: Its exit code.
        stdout: What it wrote; undecodable bytes are replaced.
        stderr: Apart from stdout.
    """

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file to put on a device.

    Attributes:
        source: On this machine.
        target: Absolute path there.
        mode: Permission bits of its owner, such as `0o755`; those of others are the device's choice.
    """

    source: Path
    target: str
    mode: int = 0o644


class DeviceShell(Protocol):
    """Runs commands on one device and carries files there and back. Used from one thread at a time.

    Every method raises `DeviceLostError` where the device goes away meanwhile, and `DeviceUnreachableError` where it
    is silent for too long. After either, a new shell has to be made.

    Attributes:
        name: Of the device, for messages; such as its serial number.
    """

    @property
    def name(self) -> str:
        """Name of the device."""
        ...

    def run(self, command: str, *, timeout_s: float = 30.0) -> Finished:
        """Run a command line in the device's `sh`, with nothing on stdin, and return how it ended.

        What it leaves in the background goes on, if it holds neither stdout nor stderr.
        """
        ...

    def push(self, files: Iterable[Upload]) -> int:
        """Write files, in order, folders as needed; a file is replaced, never changed in place. Return bytes sent.

        Raises:
            DeviceError: A file cannot be written; says which, and why. Files before it may be there.
        """
        ...

    def read(self, path: str) -> bytes | None:
        """Return what a file holds; None where there is none.

        Raises:
            DeviceError: It is there, and cannot be read.
        """
        ...

    def forward(self, port: int) -> str:
        """Return `127.0.0.1:PORT` here that leads to a port on the device's loopback, until `close`.

        Whether anybody listens there shows when a connection is made: it is closed at once if not.
        """
        ...

    def close(self) -> None:
        """End forwards and hang up; harmless if it was done, or if the device is gone. Its processes go on."""
        ...
