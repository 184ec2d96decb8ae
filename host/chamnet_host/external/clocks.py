"""By how much the clock of a device differs from that of the host."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chamnet.clock import Clock
from chamnet.errors import MeterError

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["ClockOffset", "offset_of"]

_EXCHANGES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockOffset:
    """The host's monotonic clock less the device's.

    Attributes:
        offset_ns: To be added to the device's times.
        uncertainty_ns: It is no further off than this.
    """

    offset_ns: int
    uncertainty_ns: int


def offset_of(client: "DeviceClient", clock: Clock) -> ClockOffset:
    """Ask a device for its time, and return the offset from the answer that came soonest.

    Half of the time that the answer took is what the offset may be off by: the device read its clock meanwhile [Mills1991].

    Raises:
        MeterError: Its agent does not tell its time.

    [Mills1991]: Internet time synchronization: the Network Time Protocol, IEEE Transactions on Communications 39(10).
    """
    answers: list[ClockOffset] = []
    for _ in range(_EXCHANGES):
        asked_ns = clock.now_ns()
        device_ns = client.describe().monotonic_ns
        answered_ns = clock.now_ns()
        if device_ns is None:
            raise MeterError(
                "the agent does not tell its time, which an external meter needs: put this version's agent on the device"
            )
        offset_ns = (asked_ns + answered_ns) // 2 - device_ns
        answers.append(ClockOffset(offset_ns=offset_ns, uncertainty_ns=(answered_ns - asked_ns + 1) // 2))
    return min(answers, key=lambda answer: answer.uncertainty_ns)
