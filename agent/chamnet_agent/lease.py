"""How long an agent stays without a host: processes started over adb outlive the cable."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from chamnet.clock import Clock

__all__ = ["Lease"]


class Lease:
    """Runs out a while after the last call ended. Thread-safe.

    Args:
        seconds: How long; 0 for never.
        clock: Tells how long ago a call ended.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._calls = 0
        self._renewed_ns = clock.now_ns()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Hold the lease while a call runs, and renew it at the end."""
        with self._lock:
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                self._renewed_ns = self._clock.now_ns()

    def left_s(self) -> float | None:
        """Return the seconds left, negative once it has run out; None while it cannot."""
        with self._lock:
            if not self.seconds or self._calls:
                return None
            return self.seconds - (self._clock.now_ns() - self._renewed_ns) / 1e9
