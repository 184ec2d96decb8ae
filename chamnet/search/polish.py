"""Local search: change one decision, then two together, as long as a network within budget gets better.

Two changes at a time let one decision give what another spends, which is how networks at the edge of a
budget improve. Pairs are tried in the order of what their single changes promise. Where that ends, a few decisions are
changed at random and it starts anew: iterated local search [Lourenco2003]_.

References:
    [Lourenco2003] Iterated Local Search. In: Handbook of Metaheuristics. Kluwer 2003.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chamnet.search.feasible import shrink
from chamnet.search.scorer import Scored, Scorer
from chamnet.space import Levels, SearchSpace

__all__ = ["kick_champions", "polish", "polish_best", "polish_champions"]

IntArray = npt.NDArray[np.intp]
Stop = Callable[[], bool]

_KICKED = 5  # decisions changed at random, at most
_CONTENDERS = 2  # resolutions whose best networks are worth polishing
_FEW_PAIRS, _ALL_PAIRS = 1_024, 65_536  # the latter: all of `chamnet-mobile`, which has some 20,000
_ABOUT = 0.02  # of a budget, by which the single costs of two changes may miss what they cost together
_CHUNK = 8_192  # pairs predicted at a time, at most
_PAIRED = 1_024  # single changes that are paired, the smallest first: bounds the memory in odd spaces


def polish_champions(scorer: Scorer, stop: Stop) -> None:
    """Polish the best networks of the best resolutions, quickly."""
    ranked = sorted(scorer.champions.values(), key=lambda champion: -champion[0])
    for _, levels in ranked[:_CONTENDERS]:
        polish(scorer, levels, pairs=_FEW_PAIRS, stop=stop)


def polish_best(scorer: Scorer, stop: Stop) -> None:
    """Polish the very best network, thoroughly."""
    if scorer.best:
        polish(scorer, scorer.best[1], pairs=_ALL_PAIRS, stop=stop)


def kick_champions(
    scorer: Scorer, footholds: Levels, *, kicks: int, rng: np.random.Generator, stop: Stop
) -> None:
    """Change a few decisions of the best resolutions' best networks at random and polish, again and again.

    Args:
        scorer: Predicts, and remembers the best.
        footholds: Networks within every budget, shape `m x d`; without any, nothing happens.
        kicks: How often in all; the resolutions take turns.
        rng: Draws the changes.
        stop: Asked before every step; ends the work.
    """
    sizes = scorer.problem.space.sizes
    contenders = sorted(scorer.champions.values(), key=lambda champion: -champion[0])[:_CONTENDERS]
    if not contenders or not len(footholds) or not len(sizes):
        return
    for turn in range(kicks):
        if stop():
            break
        at = turn % len(contenders)
        accuracy, levels = contenders[at]
        count = int(rng.integers(2, _KICKED + 1))
        position = rng.choice(len(sizes), min(count, len(sizes)), replace=False)
        kicked = levels.copy()
        kicked[0, position] = rng.integers(0, sizes[position])
        kicked = shrink(kicked, footholds, constraints=scorer.problem.constraints, rng=rng)
        polished = polish(scorer, kicked, pairs=_FEW_PAIRS, stop=stop)
        if polished.accuracy[0] >= accuracy:
            contenders[at] = float(polished.accuracy[0]), polished.levels


def polish(scorer: Scorer, levels: Levels, *, pairs: int, stop: Stop) -> Scored:
    """Improve a network within budget until nothing does, and return it; `scorer` remembers the best of all.

    Args:
        scorer: Predicts.
        levels: The network, shape `1 x d`.
        pairs: Pairs of changes to try before giving up.
        stop: Asked before every step; ends the work.
    """
    current = scorer.score(levels)
    while (better := _improved(scorer, current, pairs, stop)) is not None:
        current = better
    return current


def _improved(scorer: Scorer, current: Scored, pairs: int, stop: Stop) -> Scored | None:
    """Return a better network within budget; None if there is none, or no time for it."""
    changes = _single_changes(scorer.problem.space, current.levels)
    if stop() or not len(changes.position):
        return None
    singles = scorer.score(changes.apply(current.levels))
    if better := _better(singles, current):
        return better
    first, second = _promising_pairs(scorer, current, changes, singles, pairs)
    begin = 0
    while begin < min(len(first), pairs) and not stop():
        end = min(pairs, begin + min(_CHUNK, max(_FEW_PAIRS, begin)))
        scored = scorer.score(changes.apply_two(current.levels, first[begin:end], second[begin:end]))
        if better := _better(scored, current):
            return better
        begin = end
    return None


def _better(scored: Scored, current: Scored) -> Scored | None:
    best = scored.best_fitting()
    return best if best and best.accuracy[0] > current.accuracy[0] else None


@dataclass(frozen=True, eq=False, slots=True)
class _Changes:
    """Changes of one decision each.

    Attributes:
        position: Which decision, shape `m`.
        value: Its new level, shape `m`.
    """

    position: IntArray
    value: IntArray

    def apply(self, levels: Levels) -> Levels:
        """Return the changed networks, shape `m x d`."""
        return self.apply_two(levels, *[np.arange(len(self.position))] * 2)

    def apply_two(self, levels: Levels, first: IntArray, second: IntArray) -> Levels:
        """Return networks with two changes each, shape `len(first) x d`."""
        changed = np.repeat(levels, len(first), axis=0)
        rows = np.arange(len(first))
        changed[rows, self.position[first]] = self.value[first]
        changed[rows, self.position[second]] = self.value[second]
        return changed


def _single_changes(space: SearchSpace, levels: Levels) -> _Changes:
    position = np.repeat(np.arange(len(space.sizes)), space.sizes)
    value = np.concatenate([np.arange(size) for size in (*space.sizes, 0)])
    step = np.abs(value - levels[0, position])
    kept = np.flatnonzero(step)
    if len(kept) > _PAIRED:
        kept = kept[np.argsort(step[kept], kind="stable")[:_PAIRED]]
    return _Changes(position[kept], value[kept])


def _promising_pairs(
    scorer: Scorer, current: Scored, changes: _Changes, singles: Scored, pairs: int
) -> tuple[IntArray, IntArray]:
    """Return pairs of changes that keep every budget, the largest sum of their single gains first.

    Of those that about do so by their single costs, the best `4 * pairs` are looked at.
    """
    first, second = np.triu_indices(len(changes.position), k=1)
    apart = changes.position[first] != changes.position[second]
    first, second = first[apart], second[apart]
    gain, limits = singles.accuracy - current.accuracy, scorer.problem.limits
    cost = singles.costs - current.costs
    near = cost[:, first] + cost[:, second] + current.costs <= limits + _ABOUT * np.abs(limits)
    rows = np.flatnonzero(near.all(axis=0))
    promise = gain[first[rows]] + gain[second[rows]]
    rows = rows[np.argsort(-promise, kind="stable")[: 4 * pairs]]
    first, second = first[rows], second[rows]
    costs = scorer.problem.costs(changes.apply_two(current.levels, first, second))
    fits = (costs <= limits).all(axis=0)
    return first[fits], second[fits]
