"""Reaching the agent of a device profile."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from chamnet_host.profiles import DeviceProfile

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["Connect", "KeptConnection", "connect"]

Connect = Callable[[], AbstractContextManager["DeviceClient"]]


@contextmanager
def connect(device: DeviceProfile) -> Iterator["DeviceClient"]:
    """Open a connection to a device's agent, starting one on this machine if need be, and end both.

    Raises:
        DeviceUnreachableError: No agent answers, or none can be started.
        TokenError: There is no token, or the agent refuses it.
        ConfigError: The device cannot be reached that way at all.
    """
    # gRPC takes a fifth of a second to load, and not every command connects
    from chamnet_host.client import DeviceClient
    from chamnet_host.transport.choice import transport_of

    transport = transport_of(device)
    try:
        connection = transport.open()
        with DeviceClient(
            connection.address, connection.token, tls=connection.tls, last_words=transport.last_words
        ) as client:
            yield client
    finally:
        transport.close()


class KeptConnection:
    """A connection that several steps use one after the other; it is opened anew after a step that failed.

    What the agent's worker has built stays built between the steps.

    Args:
        open_one: Opens a connection.
    """

    def __init__(self, open_one: Connect) -> None:
        self._open_one = open_one
        self._held: ExitStack | None = None
        self._client: DeviceClient | None = None

    @contextmanager
    def __call__(self) -> Iterator["DeviceClient"]:
        """Lend the connection to a step."""
        if self._client is None:
            self._held = ExitStack()
            self._client = self._held.enter_context(self._open_one())
        try:
            yield self._client
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it; harmless if there is none."""
        held, self._held, self._client = self._held, None, None
        if held is not None:
            held.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End it."""
        self.close()
