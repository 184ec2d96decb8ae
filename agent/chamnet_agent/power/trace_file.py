"""A recorded series of power on the device: what an external recorder, a bench supply or an earlier run wrote into a file."""

from chamnet.clock import SystemClock
from chamnet.energy.trace import TraceFile
from chamnet.errors import MeterError
from chamnet.records import Component
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings
from chamnet_agent.power.sysfs import why_not

__all__ = ["TraceMeter"]


class TraceMeter(TraceFile):
    """The rows of the CSV file that the settings name."""

    def __init__(self, settings: MeterSettings = DEFAULT_SETTINGS) -> None:
        if settings.trace is None:
            raise MeterError("it replays a recorded file: name one, a CSV file with time_s,power_w")
        super().__init__(settings.trace, offset_s=settings.trace_offset_s)
        self.check_clock(SystemClock().now_ns())

    @staticmethod
    def describe(settings: MeterSettings = DEFAULT_SETTINGS) -> Component:
        """Return whether there is a file to replay."""
        return Component(
            name="trace", provider="recorded file", why_not=why_not(lambda: TraceMeter(settings))
        )
