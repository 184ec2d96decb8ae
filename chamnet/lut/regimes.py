"""Comparing visits made while a machine ran at different speeds.

On a shared or throttled machine the same work takes twice as long at one time as at another, for seconds or for hours.
Beside each visit the agent times a fixed computation and a fixed pass over memory. How strongly an item's latency
follows them is learned from items visited more than once:

    log latency = item + a * log(computation) + b * log(memory) + noise

and every visit is carried to the speed at which the two take what they took at most times. `a` and `b` are fitted for
each kind of item, drawn towards what holds for all, and for each item visited often, drawn towards those of its kind;
eq. 3.43 of [Hastie2009]_ with a mean. What the two usually take is
told apart by the mode of a visit, for a ring leaves them other caches than a loop: rings and loops take turns, so both
medians stand for the same speed.

References:
    [Hastie2009] The Elements of Statistical Learning. Springer 2009.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from chamnet.records import Conditions, Mode
from chamnet.stats import median

__all__ = ["Observed", "Regimes"]

FloatArray = npt.NDArray[np.float64]
LogProbes = tuple[float, float]  # of the computation, of the pass over memory

_USUAL = (0.5, 0.35)  # before anything was visited twice
_PRIOR_STRENGTH = 0.5  # what the usual slopes count: as much spread of log probes as this, squared and summed
_KIND_STRENGTH = (
    0.1  # what those of its kind count for an item: noise of 3 % squared over slopes' spread of 0.1
)
_LARGEST = 1.3
_OFTEN = 12  # visits from which an item has slopes of its own
_OUTLIER = 3.0  # robust deviations beyond which a visit teaches nothing


@dataclass(frozen=True, slots=True)
class Observed:
    """One visit, as far as regimes go.

    Attributes:
        family: Kind of item.
        item: The item.
        mode: How it was visited.
        latency_ms: Of the visit.
        conditions: With the probes.
    """

    family: str
    item: str
    mode: Mode
    latency_ms: float
    conditions: Conditions


@dataclass(frozen=True)
class Regimes:
    """How latencies follow the machine's speed.

    Attributes:
        reference: Mode -> log of the two probes in ns at the speed that latencies are given for.
        slopes: Family -> what its latency takes of each probe.
        own: Item visited often -> the same.
    """

    reference: Mapping[str, LogProbes]
    slopes: Mapping[str, tuple[float, float]]
    own: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def fit(cls, visits: Iterable[Observed], reference: Mapping[str, LogProbes] | None = None) -> "Regimes":
        """Fit to visits.

        Args:
            visits: Those of one platform.
            reference: Mode -> log of the two probes; modes that it lacks take the medians over the visits.
        """
        families: dict[str, dict[str, list[tuple[float, ...]]]] = {}
        probes: dict[str, list[LogProbes]] = {}
        for visit in visits:
            if (log_probes := _log_probes(visit.conditions)) is not None and visit.latency_ms > 0:
                probes.setdefault(visit.mode, []).append(log_probes)
                item = families.setdefault(visit.family, {}).setdefault(visit.item, [])
                item.append((math.log(visit.latency_ms), *log_probes))
        medians = {mode: _medians(made) for mode, made in probes.items()}
        known = {**medians, **(reference or {})}
        if not families:
            return cls(known, {})
        spread = {family: _within(items.values()) for family, items in families.items()}
        common = _solve(np.concatenate(list(spread.values())), _USUAL)
        slopes = {family: _solve(rows, common) for family, rows in spread.items()}
        own = {
            item: _solve(_within([made]), slopes[family], _KIND_STRENGTH)
            for family, items in families.items()
            for item, made in items.items()
            if len(made) >= _OFTEN
        }
        return cls(known, slopes, own)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Regimes":
        """Read its fields from plain data."""
        return cls(*({k: (v[0], v[1]) for k, v in data[each.name].items()} for each in fields(cls)))

    def factor(self, family: str, item: str, mode: Mode, conditions: Conditions) -> float:
        """Return what a latency measured under these conditions is multiplied by, to hold at the reference speed."""
        log_probes, reference = _log_probes(conditions), self.reference.get(mode)
        if reference is None or log_probes is None:
            return 1.0
        slopes = self.own.get(item) or self.slopes.get(family, _USUAL)
        return math.exp(sum(s * (at - now) for s, at, now in zip(slopes, reference, log_probes, strict=True)))


def _medians(probes: Sequence[LogProbes]) -> LogProbes:
    return median([compute for compute, _ in probes]), median([memory for _, memory in probes])


def _log_probes(conditions: Conditions) -> LogProbes | None:
    if not conditions.probe_ns or not conditions.memory_probe_ns:
        return None
    return math.log(conditions.probe_ns), math.log(conditions.memory_probe_ns)


def _within(items: Iterable[list[tuple[float, ...]]]) -> FloatArray:
    """Return log latency and log probes, each less its median over the item's visits, shape `n x 3`."""
    rows = [np.array(made) - np.median(made, axis=0) for made in items if len(made) > 1]
    return np.concatenate(rows) if rows else np.empty((0, 3))


def _solve(
    rows: FloatArray, prior: tuple[float, float], strength: float = _PRIOR_STRENGTH
) -> tuple[float, float]:
    """Return slopes by least squares drawn towards the prior, without the visits that fit worst."""
    slopes = np.array(prior)
    if len(rows) < 4:
        return prior
    for _ in range(3):
        residual = rows[:, 0] - rows[:, 1:] @ slopes
        scale = 1.4826 * float(np.median(np.abs(residual))) + 1e-9
        kept = rows[np.abs(residual) < _OUTLIER * scale]
        x, y = kept[:, 1:], kept[:, 0]
        gram = x.T @ x + strength * np.eye(2)
        slopes = np.clip(np.linalg.solve(gram, x.T @ y + strength * np.array(prior)), 0.0, _LARGEST)
    return float(slopes[0]), float(slopes[1])
