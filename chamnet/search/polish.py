"""Local search: change one decision, then two together, as long as a network within budget gets better.

Two changes at a time let one decision give what another spends, which is how networks at the edge of a
budget improve. Pairs are tried in the order of what their single changes promise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chamnet.search.scorer import Scored, Scorer
from chamnet.space import Levels, SearchSpace

__all__ = ["polish", "polish_best", "polish_champions"]

IntArray = npt.NDArray[np.intp]
Stop = Callable[[], bool]

_CONTENDERS = 2  # resolutions whose best networks are worth polishing
_FEW_PAIRS, _ALL_PAIRS = 1_024, 65_536  # the latter: all of `chamnet-mobile`, which has some 20,000
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


def polish(scorer: Scorer, levels: Levels, *, pairs: int, stop: Stop) -> None:
    """Improve a network within budget until nothing does; `scorer` remembers the best.

    Args:
        scorer: Predicts.
        levels: The network, shape `1 x d`.
        pairs: Pairs of changes to try before giving up.
        stop: Asked before every step; ends the work.
    """
    current: Scored | None = scorer.score(levels)
    while current is not None:
        current = _improved(scorer, current, pairs, stop)


def _improved(scorer: Scorer, current: Scored, pairs: int, stop: Stop) -> Scored | None:
    """Return a better network within budget; None if there is none, or no time for it."""
    changes = _single_changes(scorer.problem.space, current.levels)
    if stop() or not len(changes.position):
        return None
    singles = scorer.score(changes.apply(current.levels))
    if better := _better(singles, current):
        return better
    first, second = _promising_pairs(scorer, current, changes, singles)
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
    scorer: Scorer, current: Scored, changes: _Changes, singles: Scored
) -> tuple[IntArray, IntArray]:
    """Return pairs of changes that keep every budget, the largest sum of their single gains first."""
    first, second = np.triu_indices(len(changes.position), k=1)
    apart = changes.position[first] != changes.position[second]
    first, second = first[apart], second[apart]
    gain = singles.accuracy - current.accuracy
    order = np.argsort(-(gain[first] + gain[second]), kind="stable")[: 4 * _ALL_PAIRS]
    first, second = first[order], second[order]
    costs = scorer.problem.costs(changes.apply_two(current.levels, first, second))
    fits = (costs <= scorer.problem.limits).all(axis=0)
    return first[fits], second[fits]
