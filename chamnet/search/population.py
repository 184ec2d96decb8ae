"""The operators of the evolutionary search, each on a whole population at once."""

import numpy as np
import numpy.typing as npt

from chamnet.search.feasible import Footholds, shrink
from chamnet.search.problem import Problem, SearchSettings
from chamnet.space import Levels

__all__ = ["breed", "first_population", "survivors"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.intp]

_LONGEST_STEP = 3  # levels that a small mutation moves a decision by, at most


def first_population(
    problem: Problem, footholds: Footholds, *, starts: Levels, count: int, rng: np.random.Generator
) -> Levels:
    """Return footholds, starts as given and shrunk into the budgets, and random networks within them.

    Where no foothold is known, random networks are taken as they fall.

    Returns:
        At least `count` networks, shape `n x d`.
    """
    space = problem.space
    random = space.sample(max(1, count - len(starts) - len(footholds.levels)), rng)
    if not len(footholds.levels):
        return np.concatenate([footholds.nearest, starts, random])
    drawn = np.concatenate([starts, random])
    fitted = shrink(drawn, footholds.levels, constraints=problem.constraints, rng=rng)
    return np.concatenate([footholds.levels, starts, fitted])


def breed(
    levels: Levels,
    sizes: npt.NDArray[np.int32],
    *,
    rate: float,
    settings: SearchSettings,
    rng: np.random.Generator,
) -> Levels:
    """Return children of a population, shape `settings.population x d`.

    Half of the mutations take a few steps up or down, the other half go anywhere.

    Args:
        levels: Parents, best first, shape `n x d`.
        sizes: Number of values of each decision, shape `d`.
        rate: Decisions that mutate in a child, on average.
        settings: Gives population, tournament and crossover.
        rng: Random numbers.
    """
    shape = settings.population, len(sizes)
    entrants = rng.integers(0, len(levels), size=(2, shape[0], settings.tournament))
    mother, father = levels[entrants.min(axis=-1)]  # best first: the lowest row wins
    crossed = rng.random((shape[0], 1)) < settings.crossover
    children = np.where(crossed & (rng.random(shape) < 0.5), father, mother)
    step = rng.integers(1, _LONGEST_STEP + 1, size=shape) * rng.choice((-1, 1), size=shape)
    near = np.clip(children + step, 0, sizes - 1)
    changed = np.where(rng.random(shape) < 0.5, near, rng.integers(0, sizes, size=shape))
    mutated = rng.random(shape) < rate / max(1, len(sizes))
    return np.where(mutated, changed, children).astype(np.int32)


def survivors(
    levels: Levels, rewards: FloatArray, *, niches: npt.NDArray[np.int32] | None, settings: SearchSettings
) -> IntArray:
    """Return the rows that live on, best first, without duplicates.

    The elite lives on whatever its age; the rest are the best children.

    Args:
        levels: Children, then parents, shape `n x d`.
        rewards: Of each, shape `n`.
        niches: Group of each, shape `n`: networks are then ranked by their place within their group.
        settings: Gives population and elite.
    """
    first: dict[bytes, int] = {}
    for row, network in enumerate(levels):
        first.setdefault(network.tobytes(), row)
    unique = np.fromiter(first.values(), dtype=np.intp)
    order = unique[np.argsort(-rewards[unique], kind="stable")]
    if niches is not None:
        order = order[np.argsort(_places(niches[order]), kind="stable")]
    elite, rest = np.split(order, [round(settings.elite * settings.population)])
    children = rest < settings.population
    kept = np.concatenate([elite, rest[children], rest[~children]])[: settings.population]
    return order[np.isin(order, kept)]


def _places(groups: npt.NDArray[np.int32]) -> IntArray:
    """Return how many earlier rows share each row's group, shape `n`."""
    places = np.zeros(len(groups), dtype=np.intp)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        places[rows] = np.arange(len(rows))
    return places
