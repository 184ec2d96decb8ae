"""The power of a device that is not there: what an idling one draws, what the runs of a fake backend spend, and some more while
the worker of this process's agent computes hard, as it does for the marker."""

import os
from pathlib import Path

from chamnet.clock import Clock
from chamnet_agent.testing import shared_float

CONV = "conv:f32:1x8x4x4:o8:k3"
POINT = "conv:f32:1x8x4x4:o8"
IDLE_W, SPIN_W = 2.0, 1.2
SPENDS_UJ = {CONV: 6_000.0, POINT: 1_500.0}  # 3 and 1.5 W
TAKES_NS = {CONV: (2_000_000,), POINT: (1_000_000,)}


class SimulatedPower:
    """Tells the mean power since it was asked last, and when that was.

    Args:
        spent: File of what runs of the fake backend spend.
        clock: By which it is told.
        spin_w: What hard work adds.
    """

    def __init__(self, spent: Path, clock: Clock, *, spin_w: float = SPIN_W) -> None:
        self._clock, self._spin_w = clock, spin_w
        self._spent = shared_float(spent)
        self._last_ns, self._last_uj = clock.now_ns(), self._spent[0]
        self._worker: Path | None = None

    def since_last(self) -> tuple[int, float]:
        """Return the middle of the time since the last call, and the power in it in W."""
        now_ns, now_uj = self._clock.now_ns(), self._spent[0]
        passed_ns, spent_uj = now_ns - self._last_ns, now_uj - self._last_uj
        spins = not spent_uj and self._computes()
        middle_ns = (now_ns + self._last_ns) // 2
        self._last_ns, self._last_uj = now_ns, now_uj
        return middle_ns, IDLE_W + spent_uj / (passed_ns / 1e3) + self._spin_w * spins

    def _computes(self) -> bool:
        """Return whether the worker runs, or waits for a core to run on, as on a busy machine."""
        if self._worker is None or not self._worker.exists():
            self._worker = _worker()
        try:
            stat = (self._worker / "stat").read_text() if self._worker else ""
        except OSError:  # it has ended
            return False
        return stat.rpartition(")")[2].split()[:1] == ["R"]


def _worker() -> Path | None:
    """Return the folder in /proc of the worker, a child of this process."""
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        try:
            for pid in (task / "children").read_text().split():
                if "chamnet_agent.worker" in Path(f"/proc/{pid}/cmdline").read_text():
                    return Path(f"/proc/{pid}")
        except OSError:  # a thread or a process that has ended
            continue
    return None
