"""Networks of all sizes: random genomes crowd in the middle, devices are asked about both ends."""

import numpy as np

from chamnet.space.costs import CostTables
from chamnet.space.space import Levels, SearchSpace

__all__ = ["draw_tilted", "spread_sizes"]

_TILT = 1.8  # of the log of the power that levels are raised to
_DRAWS_PER_GENOME = 96
_FEWEST_DRAWS = 8_192


def draw_tilted(space: SearchSpace, count: int, rng: np.random.Generator) -> Levels:
    """Draw genomes as levels, shape `count x d`, each leaning towards low or high values by a random tilt."""
    tilt = np.exp(rng.uniform(-_TILT, _TILT, size=(count, 1)))
    levels = np.floor(space.sizes * rng.random((count, len(space.decisions))) ** tilt).astype(np.int32)
    return np.asarray(np.minimum(levels, space.sizes - 1))


def spread_sizes(
    space: SearchSpace,
    macs: CostTables,
    count: int,
    rng: np.random.Generator,
    *,
    low: float | None = None,
    high: float | None = None,
) -> Levels:
    """Return different genomes whose log MACs are evenly and randomly spread, smallest first, shape `count x d`.

    Where the draws hold fewer in that range, as in a small space, they are all returned.

    Args:
        space: Where to draw from.
        macs: MACs of its networks.
        count: How many, at most.
        rng: Draws them.
        low: Fewest MACs; None for the space's own.
        high: Most MACs; None for the space's own.
    """
    lowest, highest = macs.bounds()
    low, high = max(low or 0.0, float(lowest.min())), min(high or np.inf, float(highest.max()))
    pool = np.unique(draw_tilted(space, max(_FEWEST_DRAWS, _DRAWS_PER_GENOME * count), rng), axis=0)
    total = macs.total(pool)
    inside = np.flatnonzero((total >= low) & (total <= high))
    order = inside[np.argsort(total[inside], kind="stable")]
    if len(order) <= count:
        return np.asarray(pool[order])
    log_macs = np.log(total[order])
    strata = (np.arange(count) + rng.random(count)) / count
    targets = np.log(low) + strata * (np.log(high) - np.log(low))
    free = np.ones(len(order), dtype=bool)
    for target in targets:  # the nearest that is not taken yet
        free[np.flatnonzero(free)[np.abs(log_macs[free] - target).argmin()]] = False
    return np.asarray(pool[order[~free]])
