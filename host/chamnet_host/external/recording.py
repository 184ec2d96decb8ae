"""What any recorder writes on this machine: CSV with `time_s,power_w`, on this machine's monotonic clock, growing while it is read."""

from pathlib import Path

from chamnet.clock import Clock, SystemClock
from chamnet.energy.trace import TraceFile
from chamnet.errors import ConfigError, MeterError
from chamnet.records import Component

__all__ = ["RecordingMeter"]


class RecordingMeter(TraceFile):
    """The rows of a file that a recorder keeps writing."""

    def __init__(self, argument: str, *, clock: Clock) -> None:
        super().__init__(_path(argument))
        self.check_clock(clock.now_ns())

    @staticmethod
    def describe(argument: str) -> Component:
        """Return whether there is such a file, and how often it is added to."""
        path = _path(argument)
        try:
            file = RecordingMeter(argument, clock=SystemClock())
        except MeterError as error:
            return Component(name="recording", provider=str(path), why_not=str(error))
        return Component(name="recording", provider=str(path), period_s=file.period_s)


def _path(argument: str) -> Path:
    if not argument:
        raise ConfigError("meter recording: name its file, as in --meter recording:power.csv")
    return Path(argument).expanduser()
