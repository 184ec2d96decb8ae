"""Reference work timed between laps: a fixed computation, and a fixed pass over memory.

A machine that is shared, hot or short of power runs at changing speeds, and the two do not change alike. Timed among
the laps of a visit, they say how fast the machine was at that very time; the host compares visits by them. So they must
not depend on what ran before them: each runs once untimed first, and each pass reads memory not read for long.
"""

from collections.abc import Callable, Sequence
from itertools import cycle

import numpy as np

from chamnet import stats
from chamnet.clock import Clock

__all__ = ["Probes", "reference_work"]

_TIMED = 2
_MATRIX = 96  # three of them lie in any second-level cache
_SLICE_FLOATS = 2**16  # 256 KiB a pass
_SLICES = 32  # passes until memory is read again: 8 MiB, more than second-level caches hold


def reference_work() -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the computation and the pass over memory, some tens of microseconds each."""
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((2, _MATRIX, _MATRIX), dtype=np.float32)
    out = np.empty_like(left)
    slices = cycle(generator.standard_normal((_SLICES, _SLICE_FLOATS), dtype=np.float32))
    return (lambda: np.matmul(left, right, out=out)), (lambda: next(slices).sum())


class Probes:
    """Times reference work and keeps the samples of one visit.

    Args:
        work: The computation and the pass over memory; nothing to time nothing.
        clock: Its thread CPU time is read.
    """

    def __init__(self, work: Sequence[Callable[[], object]], clock: Clock) -> None:
        self._work = work
        self._clock = clock
        self._samples_ns: list[list[int]] = [[] for _ in work]

    def take(self) -> None:
        """Time each, after a run that brings its code and operands back into the caches."""
        for run, samples_ns in zip(self._work, self._samples_ns, strict=True):
            run()
            for _ in range(_TIMED):
                start_ns = self._clock.cpu_ns()
                run()
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
