"""Networks that keep every budget, by construction.

For one budget the cheapest network at each resolution settles it. For several together, dynamic programming
on weighted sums of the metrics does: weights under which even the cheapest network exceeds the weighted
budgets prove that none keeps them all (weak Lagrangian duality), and the cheapest networks themselves are
candidates. The weights follow the overruns (multiplicative weights, [Arora2012]_).

References:
    [Arora2012] The Multiplicative Weights Update Method. Theory of Computing 8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from chamnet.errors import InfeasibleBudgetError
from chamnet.search.constraints import Constraint, check_feasible, format_amount
from chamnet.space import CostTables, Levels, SearchSpace

__all__ = ["Footholds", "find_footholds", "refusal", "shrink", "within"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

_ROUNDS = 60  # of weights; one costs some ms in chamnet-mobile, and most budgets settle in the first
_STEP = 0.5  # learning rate of the weights
_BISECTIONS = 12  # place the way toward a foothold to 1/4096
_PROOF_MARGIN = 1e-9  # relative; above the rounding of sums


@dataclass(frozen=True, eq=False)
class Footholds:
    """Where a search may start.

    Attributes:
        levels: Networks that keep every budget, at most one per resolution, shape `m x d`.
        nearest: The network met with the smallest worst overrun, shape `1 x d`.
    """

    levels: Levels
    nearest: Levels


def find_footholds(
    space: SearchSpace, constraints: tuple[Constraint, ...], starts: Levels | None = None
) -> Footholds:
    """Return a network within every budget for each resolution that has one.

    There may be none where several budgets contradict each other by too little for a proof.

    Args:
        space: The space.
        constraints: The budgets.
        starts: Networks that may keep them, shape `n x d`: taken where none is found by sums, as of a metric that does not
            add up.

    Raises:
        InfeasibleBudgetError: No network keeps one of the budgets, or all together; proven for metrics that add up.
    """
    known = np.empty((0, len(space.sizes)), dtype=np.int32)
    if starts is not None:
        known = starts[within(starts, constraints)]
    if not len(known):
        check_feasible(constraints)
    if not constraints:
        smallest = space.levels([space.extreme(largest=False)])
        return Footholds(smallest, smallest)
    footholds, impossible = _weigh(constraints)
    if len(known) and not len(footholds.levels):
        return Footholds(known, known[:1])
    if impossible:
        raise InfeasibleBudgetError(refusal(constraints, footholds.nearest, proven=True))
    return footholds


def shrink(
    levels: Levels, footholds: Levels, *, constraints: tuple[Constraint, ...], rng: np.random.Generator
) -> Levels:
    """Move networks toward footholds until they keep every budget.

    Each decision goes at its own random pace; bisection finds how little is enough. A foothold of the same
    resolution is preferred.

    Args:
        levels: Networks, shape `n x d`.
        footholds: Networks within every budget, shape `m x d` with `m > 0`.
        constraints: The budgets.
        rng: Draws the paces.

    Returns:
        Networks within every budget, shape `n x d`; those that were already stay as they are.
    """
    same = (levels[:, None, :1] == footholds[:, :1]).all(axis=-1)  # n x m; a space may have no decision
    drawn = rng.integers(0, len(footholds), size=len(levels))
    base = footholds[np.where(same.any(axis=1), same.argmax(axis=1), drawn)]
    pace = np.exp(rng.normal(size=levels.shape))
    fits = within(levels, constraints)
    kept = np.where(fits[:, None], levels, base)
    low, high = fits.astype(np.float64), np.ones(len(levels))  # share of the way from foothold to network
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        trial = base + np.rint((levels - base) * middle[:, None] ** pace).astype(np.int32)
        fits = within(trial, constraints)
        kept[fits] = trial[fits]
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    return kept


def within(levels: Levels, constraints: Sequence[Constraint]) -> BoolArray:
    """Return whether each network (`n x d`) keeps every budget, shape `n`."""
    fits = np.ones(len(levels), dtype=np.bool_)
    for constraint in constraints:
        fits &= constraint.metric.total(levels) <= constraint.limit
    return fits


def refusal(constraints: tuple[Constraint, ...], nearest: Levels, *, proven: bool) -> str:
    """Say that budgets, each reachable, were not met together: by which network nearly, and which conflict."""
    space = constraints[0].metric.tables.space
    resolution = space.architecture(space.genomes(nearest)[0]).resolution
    amounts = [
        format_amount(c.metric.name, float(c.metric.total(nearest)[0]), round_up=True) for c in constraints
    ]
    found = "no network of" if proven else "no network was found, though one may exist, in"
    pair = next((p for p in combinations(constraints, 2) if len(constraints) > 2 and _weigh(p)[1]), ())
    conflict = f"; {_listed(pair)} alone exclude each other" if pair else ""
    return (
        f"{found} {space.name} keeps {_listed(constraints)} together, though each can be kept alone{conflict}; "
        f"the nearest has {', '.join(amounts)}, at resolution {resolution}; raise one budget or another"
    )


def _listed(constraints: tuple[Constraint, ...]) -> str:
    *most, last = (constraint.budget.text for constraint in constraints)
    return f"{', '.join(most)} and {last}"


def _weigh(constraints: tuple[Constraint, ...]) -> tuple[Footholds, bool]:
    """Return footholds, and whether it is proven that no network keeps every budget."""
    limits = np.array([constraint.limit for constraint in constraints])[:, None]
    shape = (len(constraints), len(constraints[0].metric.tables.space.resolution.values))
    weights = np.full(shape, 1.0 / len(constraints))
    dead, found = np.zeros(shape[1], dtype=np.bool_), np.zeros(shape[1], dtype=np.bool_)
    footholds = nearest = _cheapest(constraints, weights / limits)
    least = np.inf
    for turn in range(_ROUNDS):
        levels = _cheapest(constraints, weights / limits)
        ratios = np.array([constraint.metric.total(levels) for constraint in constraints]) / limits
        new = within(levels, constraints) & ~found
        footholds, found = np.where(new[:, None], levels, footholds), found | new
        dead |= (weights * ratios).sum(axis=0) > 1 + _PROOF_MARGIN
        if (worst := ratios.max(axis=0)).min() < least:
            least, nearest = float(worst.min()), levels[[int(worst.argmin())]]
        if (found | dead).all():
            break
        weights *= np.exp(_STEP / np.sqrt(1 + turn) * np.clip(ratios - 1, -1, 1))
        weights /= weights.sum(axis=0)
    return Footholds(footholds[found], nearest), bool(dead.all() and not found.any())


def _cheapest(constraints: tuple[Constraint, ...], weights: FloatArray) -> Levels:
    """Return the network of the lowest weighted sum of metrics at each resolution.

    Args:
        constraints: Their metrics, `k` of them.
        weights: By metric and resolution, shape `k x resolutions`.
    """
    first = constraints[0].metric.tables
    mixed = []
    for parts in zip(*(constraint.metric.tables.tables for constraint in constraints), strict=True):
        shares = [
            share.reshape(-1, *[1] * (part.ndim - 1)) for share, part in zip(weights, parts, strict=True)
        ]
        mixed.append(sum((share * part for share, part in zip(shares, parts, strict=True)), np.zeros(1)))
    return CostTables(first.space, first.axes, tuple(mixed)).lowest_each()
