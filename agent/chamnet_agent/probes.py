"""Reference work timed between laps: a fixed computation, and a fixed pass over memory.

A machine that is shared, hot or short of power runs at changing speeds, and the two do not change alike. Timed among
the laps of a visit, they say how fast the machine was at that very time; the host compares visits by them.

The computation runs once untimed first, so that it does not depend on what ran before. The pass over memory is timed at
once: it reads what was last read a lap ago, as a layer reads its weights. So it tells how much of the last shared cache
others have left to this machine, which changes what a layer of many weights takes threefold, and a pass that was just
made does not notice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chamnet import stats
from chamnet.clock import Clock

__all__ = ["Probes", "Work", "reference_work"]

_TIMED = 2  # of work that is warmed up
_MATRIX = 96  # three of them lie in any second-level cache
_ROWS, _COLUMNS = 512, 1_024  # of the matrix read in a pass: 2 MiB, more than second-level caches hold


@dataclass(frozen=True, slots=True)
class Work:
    """Something to time.

    Attributes:
        run: Does it.
        warmed: Whether it runs once untimed first.
    """

    run: Callable[[], object]
    warmed: bool


def reference_work() -> tuple[Work, Work]:
    """Return the computation and the pass over memory, some tens of microseconds each."""
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((2, _MATRIX, _MATRIX), dtype=np.float32)
    product = np.empty_like(left)
    weights = generator.standard_normal((_ROWS, _COLUMNS), dtype=np.float32)
    vector, result = weights[0].copy(), np.empty(_ROWS, np.float32)
    return (
        Work(lambda: np.matmul(left, right, out=product), warmed=True),
        Work(lambda: np.dot(weights, vector, out=result), warmed=False),
    )


class Probes:
    """Times reference work and keeps the samples of one visit.

    Args:
        work: The computation and the pass over memory; nothing to time nothing.
        clock: Its thread CPU time is read.
    """

    def __init__(self, work: Sequence[Work], clock: Clock) -> None:
        self._work = work
        self._clock = clock
        self._samples_ns: list[list[int]] = [[] for _ in work]

    def take(self) -> None:
        """Time each."""
        for work, samples_ns in zip(self._work, self._samples_ns, strict=True):
            if work.warmed:
                work.run()
            for _ in range(_TIMED if work.warmed else 1):
                start_ns = self._clock.cpu_ns()
                work.run()
                samples_ns.append(self._clock.cpu_ns() - start_ns)

    def clear(self) -> None:
        """Forget the samples."""
        for samples_ns in self._samples_ns:
            samples_ns.clear()

    def medians_ns(self) -> tuple[int | None, int | None]:
        """Return the medians of the computation and of the pass over memory; None where there are no samples."""
        medians = [round(stats.median(samples_ns)) if samples_ns else None for samples_ns in self._samples_ns]
        compute, memory, *_ = (*medians, None, None)
        return compute, memory
