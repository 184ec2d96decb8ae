"""Reaching the agent of a device profile."""

from collections.abc import Iterator
from contextlib import contextmanager

from chamnet_host.client import DeviceClient
from chamnet_host.profiles import DeviceProfile
from chamnet_host.transport.choice import transport_of

__all__ = ["connect"]


@contextmanager
def connect(device: DeviceProfile) -> Iterator[DeviceClient]:
    """Open a connection to a device's agent, starting one on this machine if need be, and end both.

    Raises:
        DeviceUnreachableError: No agent answers, or none can be started.
        TokenError: There is no token, or the agent refuses it.
        ConfigError: The device cannot be reached that way at all.
    """
    transport = transport_of(device)
    try:
        connection = transport.open()
        with DeviceClient(connection.address, connection.token, last_words=transport.last_words) as client:
            yield client
    finally:
        transport.close()
