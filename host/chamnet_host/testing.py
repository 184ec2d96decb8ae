"""The contract that every transport keeps; shipped for plug-ins' tests."""

import pytest

from chamnet.errors import DeviceError
from chamnet_host.client import DeviceClient
from chamnet_host.transport.base import Transport

__all__ = ["TransportContract"]


class TransportContract:
    """What every transport keeps. Subclass it as `Test...` and give a `transport` fixture.

    Attributes:
        ends_agent: Whether `close` ends the agent, for `open` started it.
    """

    ends_agent = True

    @pytest.fixture
    def transport(self) -> Transport:
        """Return a transport whose device can be reached, not open yet."""
        raise NotImplementedError("give a transport fixture")

    def test_the_agent_answers_at_once(self, transport: Transport) -> None:
        """What `open` returns can be called at once."""
        connection = transport.open()
        try:
            with DeviceClient(connection.address, connection.token) as client:
                assert client.health()
                assert client.describe().backends
        finally:
            transport.close()

    def test_opening_twice_is_opening_once(self, transport: Transport) -> None:
        """A second `open` returns the same connection."""
        try:
            assert transport.open() == transport.open()
        finally:
            transport.close()

    def test_closing_is_always_harmless(self, transport: Transport) -> None:
        """`close` may come before `open`, and twice."""
        transport.close()
        transport.open()
        transport.close()
        transport.close()

    def test_closing_ends_what_opening_started(self, transport: Transport) -> None:
        """After `close` an agent that `open` started is gone, and one that ran before is not."""
        connection = transport.open()
        transport.close()
        with DeviceClient(connection.address, connection.token, timeout_s=2) as client:
            if self.ends_agent:
                with pytest.raises(DeviceError):
                    client.health()
            else:
                assert client.health()

    def test_the_token_stays_out_of_logs(self, transport: Transport) -> None:
        """Printing a connection does not print the token."""
        try:
            connection = transport.open()
            assert connection.token
            assert connection.token not in repr(connection)
        finally:
            transport.close()

    def test_there_are_last_words(self, transport: Transport) -> None:
        """The agent's last lines are text, even before it was opened."""
        assert isinstance(transport.last_words(), str)
