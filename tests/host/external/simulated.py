"""The power of a device that is not there: what an idling one draws, what the runs of a fake backend spend, and some more while
the worker of this process's agent computes hard, as it does for the marker."""

import os
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from chamnet.clock import Clock
from chamnet_agent.testing import Spent
from tests.processes import workers

CONV = "conv:f32:1x8x4x4:o8:k3"
POINT = "conv:f32:1x8x4x4:o8"
IDLE_W, SPIN_W = 2.0, 1.2
SPENDS_UJ = {CONV: 6_000.0, POINT: 1_500.0}  # 3 and 1.5 W
TAKES_NS = {CONV: (2_000_000,), POINT: (1_000_000,)}

_STEP_NS = 5_000_000
_AROUND_NS = 100_000_000  # in which hard work shows, and no run; shorter than a guard, so that idling is none
_LEAST_SHARE = 0.02  # of a core, of work that is hard and has many competitors


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of the worker: when, whether it ran or waited for a core, and the CPU time that workers had used."""

    t_ns: int
    computes: bool
    cpu_ns: int


class SimulatedPower:
    """Tells the mean power of every short step of time, as it was then, however late it is asked; a little later than it is asked.

    Args:
        spent: File of what runs of the fake backend spend.
        clock: By which it is told.
        spin_w: What hard work adds.
    """

    def __init__(self, spent: Path, clock: Clock, *, spin_w: float = SPIN_W) -> None:
        self._clock, self._spin_w = clock, spin_w
        self._ahead_ns = clock.now_ns() - time.monotonic_ns()  # of this machine's clock, by which runs spend
        self._spent = Spent(spent)
        self._worker: Path | None = None
        self._used_ns = self._worker_used_ns = 0
        self._looks = [self._look()]
        self._told = 0  # looks until which power was told
        self._told_uj = self._spent_uj(self._looks[0].t_ns)

    def since_last(self) -> list[tuple[int, float]]:
        """Return the middle of each step of time that was not told yet, and the power in it in W."""
        self._looks.append(self._look())
        points: list[tuple[int, float]] = []
        while self._looks[self._told + 1].t_ns < self._looks[-1].t_ns - _AROUND_NS:
            points += self._between(self._told)
            self._told += 1
        return points

    def _between(self, index: int) -> list[tuple[int, float]]:
        """Return the power between a look and the next."""
        last, now = self._looks[index : index + 2]
        passed_ns = now.t_ns - last.t_ns
        steps = max(passed_ns // _STEP_NS, 1)
        edges_ns = [last.t_ns + passed_ns * i // steps for i in range(steps + 1)]
        spins_ns = _computed(last, now) if self._computes_around(last.t_ns, now.t_ns) else (0, 0)
        return [self._point(edges, spins_ns) for edges in pairwise(edges_ns)]

    def _point(self, edges_ns: tuple[int, int], spins_ns: tuple[int, int]) -> tuple[int, float]:
        start_ns, end_ns = edges_ns
        before_uj, self._told_uj = self._told_uj, self._spent_uj(end_ns)
        spun_ns = max(min(end_ns, spins_ns[1]) - max(start_ns, spins_ns[0]), 0)
        added_uj = self._told_uj - before_uj + self._spin_w * spun_ns / 1e3
        return (start_ns + end_ns) // 2, IDLE_W + added_uj / ((end_ns - start_ns) / 1e3)

    def _computes_around(self, start_ns: int, end_ns: int) -> bool:
        """Return whether the worker uses a core before then and after, and not for runs, which sleep, or to wake up while it idles."""
        first_ns, last_ns = start_ns - _AROUND_NS, end_ns + _AROUND_NS
        if self._spent_uj(last_ns) > self._spent_uj(first_ns):
            return False
        return self._share(first_ns, end_ns) > _LEAST_SHARE and self._share(start_ns, last_ns) > _LEAST_SHARE

    def _share(self, start_ns: int, end_ns: int) -> float:
        """Return how much of a core the worker uses."""
        looks = [look for look in self._looks if start_ns <= look.t_ns <= end_ns]
        return (looks[-1].cpu_ns - looks[0].cpu_ns) / (looks[-1].t_ns - looks[0].t_ns)

    def _spent_uj(self, t_ns: int) -> float:
        return self._spent.until_uj(t_ns - self._ahead_ns)

    def _look(self) -> _Look:
        if self._worker is None or not self._worker.exists():
            worker = next(workers(os.getpid()), None)
            self._worker, self._worker_used_ns = worker and Path(f"/proc/{worker}"), 0
        computes = False
        if self._worker:
            try:
                state = (self._worker / "stat").read_text().rpartition(")")[2].split()[0]
                used_ns = int((self._worker / "schedstat").read_text().split()[0])
                computes = state == "R"
                self._used_ns += used_ns - self._worker_used_ns
                self._worker_used_ns = used_ns
            except (OSError, IndexError):  # it has ended
                pass
        return _Look(self._clock.now_ns(), computes, self._used_ns)


def _computed(last: _Look, now: _Look) -> tuple[int, int]:
    """Return from when to when the worker computed between two looks.

    Where it did at one of them only, for as long as it used a core, beside that one. Where at neither, it has begun and ended
    meanwhile, if it used a core for long: about in the middle.
    """
    passed_ns = now.t_ns - last.t_ns
    used_ns = min(now.cpu_ns - last.cpu_ns, passed_ns)
    if last.computes and now.computes:
        return last.t_ns, now.t_ns
    if last.computes:
        return last.t_ns, last.t_ns + used_ns
    if now.computes:
        return now.t_ns - used_ns, now.t_ns
    if used_ns < passed_ns // 2:
        return now.t_ns, now.t_ns
    return last.t_ns + (passed_ns - used_ns) // 2, now.t_ns - (passed_ns - used_ns) // 2
