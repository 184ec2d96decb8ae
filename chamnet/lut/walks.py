"""Walks: networks whose units are measured one by one, in the network's own order.

What a unit costs depends on what ran before it: whose output lies in which cache. In a ring of random units that
state is nobody's; in a ring that walks through a network it is that network's. So units are visited on walks through
networks of the space, and a unit's visits come from several.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from chamnet.space import CostTables, Levels, UnitGrid, draw_tilted, spread_sizes

__all__ = ["choose_covering", "choose_doubtful", "choose_first"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_SMALLEST = 1 / 100  # of the largest network's MACs; smaller networks are few and seldom asked about
_ALTERNATIVES = 4  # networks of one size to choose a first walk from
_CANDIDATES = 12  # networks of one size to choose a doubtful walk from
_NEAR = 0.25  # log latency around a budget that counts as near
_NEAR_SHARE = 2 / 3  # of the walks, where budgets are named
_VISIT_NOISE = 0.06  # relative deviation between visits, to foresee what one more is worth


def choose_first(grid: UnitGrid, macs: CostTables, count: int, rng: np.random.Generator) -> Levels:
    """Return walks of all sizes that fill the space: of networks of one size, the one with most units not yet seen.

    Fewer than `count` where the space has fewer networks.
    """
    candidates = _of_all_sizes(grid, macs, _ALTERNATIVES * count, rng)
    units = grid.unit_indices(candidates)
    seen = np.zeros(len(grid.units) + 1, dtype=bool)
    seen[-1] = True  # the empty slot
    picked = []
    groups = np.array_split(np.arange(len(candidates)), min(count, len(candidates)))
    for group in rng.permutation(len(groups)):
        at = groups[group]
        fresh = [len(set(units[i][~seen[units[i]]].tolist())) for i in at]
        best = at[int(np.argmax(fresh))]
        picked.append(int(best))
        seen[units[best]] = True
    return np.asarray(candidates[picked])


def choose_doubtful(
    grid: UnitGrid,
    macs: CostTables,
    count: int,
    rng: np.random.Generator,
    *,
    cost_ms: FloatArray,
    deviation: FloatArray,
    budgets_ms: Sequence[float] = (),
) -> Levels:
    """Return walks of all sizes, each through the network most in doubt after what the walks before will settle.

    Args:
        grid: The units.
        macs: MACs of the space's networks.
        count: How many walks; fewer where the space has fewer networks.
        rng: Draws the networks to choose from.
        cost_ms: Expected latency of each unit, shape `len(grid.units)`.
        deviation: Its relative standard deviation, shape `len(grid.units)`.
        budgets_ms: Latencies that matter: most walks then go through networks near one of them.
    """
    candidates = _of_all_sizes(grid, macs, _CANDIDATES * count, rng)
    groups = np.array_split(np.arange(len(candidates)), min(count, len(candidates)))
    units = grid.unit_indices(candidates)
    cost = np.append(cost_ms, 0.0)
    variance = np.append((cost_ms * deviation) ** 2, 0.0)
    noise = (_VISIT_NOISE * cost) ** 2
    latency_ms = cost[units].sum(axis=1)
    near = np.array([_is_near(each_ms, budgets_ms) for each_ms in latency_ms], dtype=bool)
    left = np.ones(len(units), dtype=bool)
    picked: list[int] = []
    for group in rng.permutation(len(groups)):
        close, at = np.flatnonzero(near & left), groups[group][left[groups[group]]]
        if len(close) and len(picked) < _NEAR_SHARE * len(groups):
            at = rng.choice(close, size=min(_CANDIDATES, len(close)), replace=False)
        elif not len(at):  # its networks are near a budget, and were picked for that
            at = np.flatnonzero(left)
        doubt = variance[units[at]].sum(axis=1) / latency_ms[at] ** 2
        chosen = int(at[doubt.argmax()])
        picked.append(chosen)
        left[chosen] = False
        visited = np.unique(units[chosen])
        both = variance[visited] + noise[visited]
        variance[visited] *= np.where(both > 0, noise[visited] / np.where(both > 0, both, 1.0), 0.0)
    return np.asarray(candidates[picked])


def _is_near(latency_ms: float, budgets_ms: Sequence[float]) -> bool:
    return any(abs(np.log(latency_ms / budget_ms)) < _NEAR for budget_ms in budgets_ms)


def _of_all_sizes(grid: UnitGrid, macs: CostTables, count: int, rng: np.random.Generator) -> Levels:
    """Return networks spread in log MACs, smallest first; fewer where the space has fewer."""
    return spread_sizes(grid.space, macs, count, rng, low=float(macs.bounds()[1].max()) * _SMALLEST)


def choose_covering(grid: UnitGrid, visits: IntArray, count: int, rng: np.random.Generator) -> Levels:
    """Return walks that each hold a unit nobody visited yet; fewer where fewer are left, none at the end.

    Args:
        grid: The units.
        visits: How often each was visited, shape `len(grid.units)`.
        count: At most so many walks.
        rng: Chooses the units, and the rest of each network.
    """
    missing = np.append(visits == 0, False)
    axes = grid.space.axes
    free = [i for i, axis in enumerate(axes) if len(axis.values) > 1]
    places = _places(grid)
    found: list[npt.NDArray[np.int32]] = []
    for unit in rng.permutation(np.flatnonzero(missing)):
        if len(found) == count:
            break
        if not missing[unit]:  # on an earlier walk
            continue
        link, entry = places[unit]
        full = np.zeros(len(axes), dtype=np.int32)
        full[free] = draw_tilted(grid.space, 1, rng)[0]
        full[list(grid.links[link].axes)] = np.unravel_index(entry, grid.links[link].units.shape[:-1])
        levels = full[free]
        missing[grid.unit_indices(levels[None])[0]] = False
        found.append(levels)
    return np.array(found, dtype=np.int32).reshape(len(found), len(free))


def _places(grid: UnitGrid) -> dict[int, tuple[int, int]]:
    """Return a link and an entry of it that hold each unit."""
    places: dict[int, tuple[int, int]] = {}
    for number, link in enumerate(grid.links):
        flat = link.units.reshape(-1, link.units.shape[-1])
        for slot in range(flat.shape[1]):
            units, entries = np.unique(flat[:, slot], return_index=True)
            places |= {int(u): (number, int(e)) for u, e in zip(units, entries, strict=True) if u >= 0}
    return places
