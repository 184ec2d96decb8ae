from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from chamnet.errors import DeviceLostError, DeviceUnreachableError
from chamnet_host.client import DeviceClient
from chamnet_host.devices.reach import KeptConnection


class Opener:
    """Opens connections, and counts those opened and closed."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.refuses = False

    @contextmanager
    def open_one(self) -> Iterator[DeviceClient]:
        if self.refuses:
            raise DeviceUnreachableError("nobody is there")
        self.opened += 1
        try:
            yield cast(DeviceClient, f"client {self.opened}")
        finally:
            self.closed += 1


def test_steps_share_one_connection_which_is_closed_once() -> None:
    opener = Opener()
    with KeptConnection(opener.open_one) as connect:
        for _ in range(3):
            with connect() as client:
                assert client == "client 1"
        assert (opener.opened, opener.closed) == (1, 0)
    connect.close()
    assert (opener.opened, opener.closed) == (1, 1)


def test_nothing_is_opened_before_it_is_needed() -> None:
    opener = Opener()
    with KeptConnection(opener.open_one):
        pass
    assert (opener.opened, opener.closed) == (0, 0)


@pytest.mark.parametrize("failure", [DeviceLostError, KeyboardInterrupt])
def test_after_a_step_that_failed_it_is_opened_anew(failure: type[BaseException]) -> None:
    opener = Opener()
    with KeptConnection(opener.open_one) as connect:
        with pytest.raises(failure), connect():
            raise failure
        assert (opener.opened, opener.closed) == (1, 1)
        with connect() as client:
            assert client == "client 2"
    assert (opener.opened, opener.closed) == (2, 2)


def test_a_device_that_could_not_be_reached_can_be_later() -> None:
    opener = Opener()
    opener.refuses = True
    with KeptConnection(opener.open_one) as connect:
        with pytest.raises(DeviceUnreachableError), connect():
            pass
        opener.refuses = False
        with connect() as client:
            assert client == "client 1"
    assert (opener.opened, opener.closed) == (1, 1)


def test_an_error_outside_a_step_closes_it_too() -> None:
    opener = Opener()

    def fail_between_steps() -> None:
        with KeptConnection(opener.open_one) as connect:
            with connect():
                pass
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_between_steps()
    assert opener.closed == 1
