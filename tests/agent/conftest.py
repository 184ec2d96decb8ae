"""What the agent's tests share: time that passes only when a test wants it to."""

from collections.abc import Callable
from pathlib import Path

import pytest

from chamnet.clock import Clock
from chamnet.testing import FakeClock

TICK_NS = 100_000_000


class HangClock(FakeClock):
    """Stands still until something hangs, then moves on a few times by a tenth of a second, whenever somebody looks.

    So what hangs has a timeout of a third of a second, and nothing else has one, however long it is kept waiting.

    Args:
        hanging: There once something hangs.
    """

    def __init__(self, hanging: Path) -> None:
        super().__init__()
        self._hanging = hanging
        self._left = 5  # looks: the first may only find out that something else is run now

    def now_ns(self) -> int:
        """Return the time."""
        if self._left and self._hanging.exists():
            self._left -= 1
            self.time_ns += TICK_NS
        return self.time_ns


@pytest.fixture
def hang_clock() -> Callable[[Path], Clock]:
    """Return a function that makes the clock of an agent whose item hangs once a file is there."""
    return HangClock
