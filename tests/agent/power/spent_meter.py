"""A meter that counts what the runs of a fake backend spend by when they spent it: however busy this machine is, no window is spoiled."""

import math
from collections.abc import Sequence
from pathlib import Path

from chamnet.clock import SystemClock
from chamnet.energy import Rail, Reading
from chamnet.records import Component
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings
from chamnet_agent.testing import Spent

IDLE_W, RIPPLE_W, RIPPLE = 2.0, 0.02, 2 * math.pi * 1.3  # idling devices are never quite steady
WRAPS_UJ = 262_143_328_850.0  # of a server's package
_FIRST_UJ = WRAPS_UJ - 6_500_000.0  # it wraps around while the first item runs
_RESET_UJ = 1e8
_PERIOD_NS = 2_000_000


class SpentMeter:
    """Keeps the `PowerMeter` contract; the file `spent` below the root of its settings is a `Spent`.

    Where there is a file `reset_uj`, it is reset once runs have spent as much as that says.
    """

    rails = (
        Rail(
            name="package-0",
            nature="counter",
            domain="package",
            totals=frozenset({"compute"}),
            wraps_uj=WRAPS_UJ,
        ),
    )
    period_s = _PERIOD_NS / 1e9
    shortest_poll_s = 0.01
    on_read = True
    settle_s = 60.0

    def __init__(self, settings: MeterSettings = DEFAULT_SETTINGS) -> None:
        self._clock = SystemClock()
        self._spent = Spent(settings.root / "spent")
        self._reset_uj = _number(settings.root / "reset_uj")
        self._began_ns = self._told_ns = self._clock.now_ns()

    @staticmethod
    def describe(settings: MeterSettings = DEFAULT_SETTINGS) -> Component:
        """Return that it is always there."""
        return Component(name="spent", provider="none")

    def read(self) -> Sequence[Reading]:
        """Return what was counted at each update since the last call, with its time."""
        times_ns = range(self._told_ns, self._clock.now_ns(), _PERIOD_NS)
        self._told_ns += len(times_ns) * _PERIOD_NS
        return [Reading((self._counted_uj(t_ns),), t_ns=t_ns) for t_ns in times_ns]

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _counted_uj(self, t_ns: int) -> float:
        spent_uj, seconds = self._spent.until_uj(t_ns), (t_ns - self._began_ns) / 1e9
        rippled_j = RIPPLE_W * (1 - math.cos(RIPPLE * seconds)) / RIPPLE
        counted_uj = _FIRST_UJ + 1e6 * (IDLE_W * seconds + rippled_j) + spent_uj
        return (counted_uj - _RESET_UJ * (spent_uj >= self._reset_uj)) % WRAPS_UJ


def _number(file: Path) -> float:
    return float(file.read_text()) if file.exists() else math.inf
