"""Finds the marker: a stretch of hard work between two of idling, whose times are known by one clock and whose power by another.

Power that rises and falls as the work does is slid along what was recorded, and lies where the work stands out most from the
idling on both sides. That also proves that what is recorded feeds the device which works: nothing else would rise and fall then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Protocol

__all__ = ["Curves", "Marker", "find_marker"]

_US_PER_NS = 1e-3  # W x ns = nJ
_STEP_NS = 1_000_000
_MOST_STEPS = 20_000
_FLANK_BLOCKS = 8  # of idling, on either side; those of the work are as long
_CLEAR = 3.0  # times what blocks differ by within the work and within the idling; what noise makes of itself stays near 1
_LEAST_W = 1e-3


class Curves(Protocol):
    """What was recorded of a meter: an `EnergySeries`, or who keeps one."""

    def energies_uj(self, rail: str, edges_ns: Sequence[int]) -> list[float]:
        """Return the energy that went through a rail from the first of many times up to each, in µJ."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """Where the marker was found.

    Attributes:
        shift_ns: What is to be added to the times given, to have those of the recording.
        step_w: By how much power rose.
        noise_w: Standard deviation of the power of blocks, within the work and within the idling.
        most_ns: How far it was looked for.
        is_at_end: Whether it lies there, so that the true place may be further off.
    """

    shift_ns: int
    step_w: float
    noise_w: float
    most_ns: int
    is_at_end: bool

    @property
    def doubt(self) -> str:
        """Why this is no marker; empty where it is one."""
        if self.step_w < max(_CLEAR * self.noise_w, _LEAST_W):
            return (
                f"the marker is not seen: while the device computes, power is at most {self.step_w:.3g} W higher than"
                f" around it, where it changes by {self.noise_w:.3g} W by itself"
            )
        if self.is_at_end:
            return f"the marker is not seen within {self.most_ns / 1e9:.2g} s of where it should be: the clock is off"
        return ""


def find_marker(
    recorded: Curves, rails: Sequence[str], work_ns: tuple[int, int], *, flank_ns: int, most_ns: int
) -> Marker:
    """Return by how much the recording's clock is off, from where work shows most in it; `Marker.doubt` says if it does.

    Args:
        recorded: Covers the work and its flanks, and as much more at either end as they may be off.
        rails: Names of the rails to add up.
        work_ns: Start and end of all of the work, by the clock that may be off.
        flank_ns: For so long the device idles before and after.
        most_ns: By so much, either way, the clock may be off.

    Raises:
        MeterInterruptedError: What was recorded has gaps there.
        MeterError: The meter could not be read meanwhile.
    """
    start_ns, end_ns = work_ns
    first_ns = start_ns - flank_ns - most_ns
    total_ns = end_ns + flank_ns + most_ns - first_ns
    step_ns = max(_STEP_NS, math.ceil(total_ns / _MOST_STEPS))
    edges = range(first_ns, first_ns + total_ns + 1, step_ns)
    energy_uj = _running(recorded, rails, edges)
    flank, work = flank_ns // step_ns, (end_ns - start_ns) // step_ns
    shifts = len(energy_uj) - 2 * flank - work

    def step_w(at: int) -> float:
        edge_uj = [energy_uj[at + i] for i in (0, flank, flank + work, 2 * flank + work)]
        before, during, after = (right - left for left, right in pairwise(edge_uj))
        return (during / work - (before + after) / (2 * flank)) / (step_ns * _US_PER_NS)

    best = max(range(shifts), key=step_w)
    return Marker(
        shift_ns=edges[best] + flank_ns - start_ns,
        step_w=step_w(best),
        noise_w=_noise_w(energy_uj, (best, best + flank, best + flank + work), flank, step_ns),
        most_ns=most_ns,
        is_at_end=best in (0, shifts - 1),
    )


def _running(recorded: Curves, rails: Sequence[str], edges: Sequence[int]) -> list[float]:
    """Return the energy of all rails since the first edge, at every edge."""
    return [sum(each) for each in zip(*(recorded.energies_uj(rail, edges) for rail in rails), strict=True)]


def _noise_w(energy_uj: Sequence[float], starts: tuple[int, int, int], flank: int, step_ns: int) -> float:
    """Return by how much blocks differ from the mean of their stretch: idling, work, idling."""
    block = max(flank // _FLANK_BLOCKS, 1)
    before, during, after = starts
    squares: list[float] = []
    for start, length in ((before, flank), (during, after - during), (after, flank)):
        sums = [energy_uj[i + block] - energy_uj[i] for i in range(start, start + length - block + 1, block)]
        powers = [each / (block * step_ns * _US_PER_NS) for each in sums]
        squares += [(power - fmean(powers)) ** 2 for power in powers]
    return math.sqrt(fmean(squares))
