import grpc
import pytest

from chamnet.errors import ChamNetError, ConfigError, DeviceError, MeterError, UnsupportedOpError
from chamnet.wire.status import HOST_ONLY, STATUS, code_of, error_from


def leaves(kind: type[ChamNetError]) -> set[type[ChamNetError]]:
    children = kind.__subclasses__()
    return {kind} if not children else set().union(*map(leaves, children))


def test_every_error_has_a_code_or_stays_on_the_host() -> None:
    ours = {leaf for leaf in leaves(ChamNetError) if leaf.__module__ == "chamnet.errors"}
    assert set(STATUS) | HOST_ONLY == ours | {
        UnsupportedOpError,
        MeterError,
    }  # leaves or not, they are raised themselves
    assert not set(STATUS) & HOST_ONLY


@pytest.mark.parametrize("kind", STATUS)
def test_an_error_comes_back_as_what_it_was(kind: type[ChamNetError]) -> None:
    back = error_from(code_of(kind("why")), "why")
    assert type(back) is kind
    assert str(back) == "why"


def test_every_code_makes_an_error_of_ours() -> None:
    for code in grpc.StatusCode:
        assert isinstance(error_from(code, "why"), ChamNetError)
    assert type(error_from(grpc.StatusCode.UNKNOWN, "why")) is DeviceError


def test_an_error_without_a_code_travels_as_its_ancestor_or_as_unknown() -> None:
    class NarrowError(ConfigError):
        """Of a plug-in."""

    assert code_of(NarrowError("why")) is grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(DeviceError("why")) is grpc.StatusCode.UNKNOWN
