"""Quasi-Monte-Carlo samples of a space, with as many small networks as large ones.

Points of a Sobol sequence [Sobol1967]_ spread evenly over the decisions, but most of their networks are large: the
product of many numbers crowds near the middle of their ranges. So the range of log MACs is cut into sub-spaces, each
with a quota, as the paper's *imbalanced* sampling is understood (its scheme is not published). A point of the sequence
gives each network's proportions and the MACs to meet within its sub-space; raising its coordinates to one power, found
by bisection, meets them. No network is drawn in vain, and none twice.

References:
    [Sobol1967] On the distribution of points in a cube and the approximate evaluation of integrals. 1967.
    [Dai2019] ChamNet: Towards Efficient Network Design through Platform-Aware Model Adaptation. CVPR 2019.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from chamnet.space.space import Levels

__all__ = ["SUBSPACES", "imbalanced_qmc", "sobol_levels"]

FloatArray = npt.NDArray[np.float64]

SUBSPACES = 8
_STEEPEST = 4.0  # log of the power
_BISECTIONS = 24
_TRIES, _PATIENCE = 48, 6


def imbalanced_qmc(
    sizes: npt.ArrayLike,
    macs: Callable[[Levels], FloatArray],
    count: int,
    *,
    low: float,
    high: float,
    edges: Sequence[float] | None = None,
    quotas: Sequence[float] | None = None,
    seed: int = 0,
) -> Levels:
    """Return different genomes as levels, shape `count x d`, fewer where there are no more.

    Any beginning of them is spread over the sub-spaces by their quotas, too.

    Args:
        sizes: Values of each decision, shape `d`.
        macs: MACs of genomes; must not fall when a level rises.
        count: How many.
        low: MACs of the smallest network wanted.
        high: MACs of the largest.
        edges: MACs at which the range is cut, ascending; `SUBSPACES` equal parts of log MACs by default.
        quotas: Share of each sub-space, in any unit; equal by default.
        seed: Scrambles the sequence.
    """
    axes = np.asarray(sizes, dtype=float)
    cuts = np.log(edges) if edges is not None else np.linspace(np.log(low), np.log(high), SUBSPACES + 1)[1:-1]
    bounds = np.concatenate([[np.log(low)], cuts, [np.log(high)]])
    shares = np.ones(len(bounds) - 1) if quotas is None else np.asarray(quotas, dtype=float)
    found: dict[bytes, npt.NDArray[np.int32]] = {}
    sequence = _sobol(len(axes) + 1, seed)
    wanted = _interleaved(shares / shares.sum(), count)
    for attempt in range(_TRIES):
        if not len(wanted):
            break
        if attempt >= _PATIENCE:  # the sub-space holds no more: its neighbour gets what is left of the quota
            wanted = (wanted + 1) % len(shares)
        points = sequence(len(wanted))
        target = bounds[wanted] + points[:, -1] * (bounds[wanted + 1] - bounds[wanted])
        levels = _meeting(points[:, :-1], axes, macs, target)
        reached = np.log(macs(levels))
        missed = []
        for part, row, at in zip(wanted, levels, reached, strict=True):
            inside = bounds[0] - 1e-9 <= at <= bounds[-1] + 1e-9
            if inside and (key := row.tobytes()) not in found:
                found[key] = row
            else:
                missed.append(part)
        wanted = np.array(missed, dtype=np.int64)
    return np.array(list(found.values()), dtype=np.int32).reshape(-1, len(axes))


def sobol_levels(sizes: npt.ArrayLike, count: int, *, seed: int = 0) -> Levels:
    """Return genomes as levels of a plain Sobol sequence, shape `count x d`; some may be equal."""
    axes = np.asarray(sizes, dtype=float)
    return _levels(_sobol(len(axes), seed)(count), axes)


def _sobol(dimensions: int, seed: int) -> Callable[[int], FloatArray]:
    from scipy.stats import qmc  # takes a second, so only where it is used

    engine = qmc.Sobol(dimensions, scramble=True, rng=seed)

    def draw(count: int) -> FloatArray:
        # Balanced are powers of two only; what is drawn beyond is simply not used.
        points: FloatArray = engine.random(1 << max(count - 1, 1).bit_length())[:count]
        return points

    return draw


def _interleaved(shares: FloatArray, count: int) -> npt.NDArray[np.int64]:
    """Return `count` sub-space numbers such that every beginning has its shares, to one network."""
    given, order = np.zeros(len(shares)), []
    for step in range(1, count + 1):
        due = shares * step - given
        part = int(due.argmax())
        given[part] += 1
        order.append(part)
    return np.array(order, dtype=np.int64)


def _meeting(
    points: FloatArray, sizes: FloatArray, macs: Callable[[Levels], FloatArray], target: FloatArray
) -> Levels:
    """Return for each point the levels of its proportions whose MACs come nearest to a target, both as logarithms."""
    low, high = (
        np.full(len(points), -_STEEPEST),
        np.full(len(points), _STEEPEST),
    )  # high powers make low levels
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = np.log(macs(_levels(points ** np.exp(middle)[:, None], sizes))) > target
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    sides = [_levels(points ** np.exp(power)[:, None], sizes) for power in (low, high)]
    apart = [np.abs(np.log(macs(levels)) - target) for levels in sides]
    return np.where((apart[0] < apart[1])[:, None], *sides)


def _levels(points: FloatArray, sizes: FloatArray) -> Levels:
    levels: Levels = np.minimum(np.floor(points * sizes), sizes - 1).astype(np.int32)
    return levels
