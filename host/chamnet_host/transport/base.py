"""The seam between a host and the ways to reach a device."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

__all__ = ["Connection", "Transport"]


@dataclass(frozen=True, slots=True)
class Connection:
    """Where an agent answers.

    Attributes:
        address: `HOST:PORT`, reachable from this machine.
        token: That calls must carry; kept out of logs.
        tls: Folder of the host's certificates; None where calls stay on this machine.
    """

    address: str
    token: str = field(repr=False)
    tls: Path | None = None


class Transport(Protocol):
    """Makes the agent of one device reachable. Used from one thread at a time.

    What `open` starts (an agent, a tunnel), `close` ends; what ran before, it leaves alone. Should the host die
    without `close`, nothing is left behind for longer than the agent's lease, but for a port of the adb server's that leads
    to nobody.
    """

    def open(self) -> Connection:
        """Return where the agent answers; it answers now. Calling twice returns the same.

        Raises:
            DeviceUnreachableError: It does not within the time allowed; quotes the agent's last lines.
            TokenError: There is no token to present.
            ConfigError: The device cannot be reached this way at all.
        """
        ...

    def close(self) -> None:
        """End what `open` started; harmless if nothing is open."""
        ...

    def last_words(self) -> str:
        """Return the last lines of the agent's log; empty if there is none to read."""
        ...
