"""Ways to reach an agent."""

from chamnet_host.transport.base import Connection, Transport
from chamnet_host.transport.direct import DirectTransport
from chamnet_host.transport.local import LocalTransport

__all__ = ["Connection", "DirectTransport", "LocalTransport", "Transport"]
