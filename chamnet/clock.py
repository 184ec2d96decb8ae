"""Time, passed in: nothing else in ChamNet reads a clock for a duration."""

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock; never goes back, unrelated to the time of day."""

    def now_ns(self) -> int:
        """Return monotonic time in nanoseconds."""
        ...

    def cpu_ns(self) -> int:
        """Return the CPU time of the calling thread in nanoseconds."""
        ...

    def sleep_s(self, seconds: float) -> None:
        """Block the calling thread for `seconds`."""
        ...


class SystemClock:
    """The clock of this machine."""

    now_ns = staticmethod(time.monotonic_ns)
    cpu_ns = staticmethod(time.thread_time_ns)
    sleep_s = staticmethod(time.sleep)
