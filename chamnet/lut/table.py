"""The table in memory: stored visits summed up into one row per item.

Units that the runtime executes alike share their visits, and so their row. Visits made while the machine ran slower or
faster than usual are carried to its usual speed (`chamnet.lut.regimes`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from statistics import median
from types import MappingProxyType
from typing import Literal

from chamnet import stats
from chamnet.lut.regimes import Observed, Regimes
from chamnet.lut.store import ItemKind, Store, StoredVisit
from chamnet.quantities import ns_to_ms
from chamnet.records import Mode, Visit
from chamnet.units import Unit

__all__ = [
    "LatencyTable",
    "Row",
    "RowState",
    "family_of",
    "is_judged",
    "summarise",
    "units_alike",
    "visit_ms",
]


RowState = Literal["few visits", "unsettled", "settled", "unstable"]

_JUDGED = "/validate/"  # networks that predictions are judged on: nothing of them flows back
_SESSION = re.compile(r"/whole/(\d+)/")
_SETTLED = 0.03  # relative standard error between visits
_MOST_VISITS = 24  # above, more of them help little
_LEAST = 0.05  # of a visit's latency: what is left of it, however much the empty model took


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of one item's latency.

    Attributes:
        kind: `unit`, `network` or `model`.
        key: What was measured: unit key, or digest of a network or model.
        name: For people; empty for units.
        visits_ms: Latency of each visit at the machine's usual speed, of a unit without the empty model beside it.
        noop_ms: Median of the empty model over the visits; None if none ran.
        samples: Samples kept, of all visits.
        preempted: Samples rejected, of all visits.
        shared: Keys of the other units that the runtime executes alike.
    """

    kind: ItemKind
    key: str
    name: str
    visits_ms: tuple[float, ...]
    noop_ms: float | None
    samples: int
    preempted: int
    shared: tuple[str, ...] = ()

    @property
    def latency_ms(self) -> float:
        """Median over visits."""
        return median(self.visits_ms)

    @property
    def visits(self) -> int:
        """How many visits, spread in time."""
        return len(self.visits_ms)

    @property
    def spread(self) -> float | None:
        """Standard deviation between visits over their median; None with one visit."""
        return _deviation(self.visits_ms) / self.latency_ms if self.visits > 1 else None

    @property
    def error(self) -> float | None:
        """Relative standard error of the latency, from the spread between visits; None below three."""
        return stats.bootstrap_error(self.visits_ms)

    @property
    def state(self) -> RowState:
        """Whether the latency is settled."""
        error = self.error
        if error is None:
            return "few visits"
        if error <= _SETTLED:
            return "settled"
        return "unstable" if self.visits >= _MOST_VISITS else "unsettled"


@dataclass(frozen=True)
class LatencyTable:
    """Rows by item key, for one platform.

    Attributes:
        units: Unit key -> row.
        networks: `Network.digest` -> row.
        regimes: How visits made at other speeds were carried to the usual one.
    """

    units: Mapping[str, Row]
    networks: Mapping[str, Row]
    regimes: Regimes = field(default_factory=lambda: Regimes({}, {}))

    @classmethod
    def load(
        cls, store: Store, lut_id: int, kind: ItemKind | None = None, *, serial: str | None = None
    ) -> "LatencyTable":
        """Sum up every usable visit of a platform, or those of one kind of item or of one device alone."""
        usable = _of_last_session(
            stored
            for stored in store.visits(lut_id, kind, serial=serial)
            if stored.kind in ("unit", "network")
            and stored.mode != "energy"
            and stored.visit.status == "ok"
            and stored.visit.samples_ns
            and not is_judged(stored.visit)
        )
        alike = units_alike(store.executed(lut_id))
        regimes = Regimes.fit(
            Observed(
                family_of(each.kind, each.key),
                each.key,
                each.mode,
                _net_ms(each.kind, each.visit),
                each.visit.conditions,
            )
            for each in usable
        )
        visits: dict[tuple[ItemKind, str, str, Mode], list[Visit]] = {}
        for stored in usable:
            for key in alike.get(stored.key, (stored.key,)) if stored.kind == "unit" else (stored.key,):
                visits.setdefault((stored.kind, key, stored.name, stored.mode), []).append(stored.visit)
        rows = [
            summarise(
                kind,
                key,
                name,
                made,
                regimes,
                mode=mode,
                shared=tuple(other for other in alike.get(key, ()) if other != key),
            )
            for (kind, key, name, mode), made in visits.items()
        ]
        return cls(
            units=MappingProxyType({row.key: row for row in rows if row.kind == "unit"}),
            networks=MappingProxyType({row.key: row for row in rows if row.kind == "network"}),
            regimes=regimes,
        )

    @cached_property
    def noop_ms(self) -> float:
        """Median of the empty model over all units; 0 if none ran."""
        noops = [row.noop_ms for row in self.units.values() if row.noop_ms is not None]
        return median(noops) if noops else 0.0


def visit_ms(visit: Visit) -> float:
    """Return the mean latency of a visit in ms.

    A mean, since the latencies of units are to add up to that of a network: where the machine's speed changes within
    milliseconds, medians of short calls leave out what a long call contains. Over visits, the median is taken.

    Thread CPU time where one thread works: on a shared machine its spread is a fraction of the wall
    clock's. Wall clock otherwise.
    """
    samples_ns = visit.cpu_samples_ns or visit.samples_ns
    # whole numbers: exact, and far faster than `mean`
    return ns_to_ms(sum(samples_ns) / len(samples_ns))


def family_of(kind: ItemKind, key: str) -> str:
    """Return the kind of item that follows the machine's speed alike: a unit's signature, else the kind itself."""
    return _signature(key) if kind == "unit" else kind


@cache
def _signature(key: str) -> str:
    return Unit.parse(key).signature


def summarise(
    kind: ItemKind,
    key: str,
    name: str,
    visits: Sequence[Visit],
    regimes: Regimes,
    *,
    mode: Mode,
    shared: tuple[str, ...] = (),
) -> Row:
    """Return the row of an item from its usable visits.

    Args:
        kind: Of the item.
        key: Of the item.
        name: Of the item.
        visits: At least one.
        regimes: Carries visits to the machine's usual speed.
        mode: How the item was visited.
        shared: Keys of units that are executed alike.
    """
    noops_ms = [ns_to_ms(visit.noop_ns) for visit in visits if visit.noop_ns is not None]
    family = family_of(kind, key)
    return Row(
        kind=kind,
        key=key,
        name=name,
        visits_ms=tuple(_net_ms(kind, v) * regimes.factor(family, key, mode, v.conditions) for v in visits),
        noop_ms=median(noops_ms) if noops_ms else None,
        samples=sum(len(visit.samples_ns) for visit in visits),
        preempted=sum(visit.preempted for visit in visits),
        shared=shared,
    )


def _net_ms(kind: ItemKind, visit: Visit) -> float:
    """Return a visit's latency; of a unit without what the empty model took at the same time."""
    gross_ms = visit_ms(visit)
    return max(gross_ms - ns_to_ms(visit.noop_ns or 0), _LEAST * gross_ms) if kind == "unit" else gross_ms


def _of_last_session(visits: Iterable[StoredVisit]) -> list[StoredVisit]:
    """Leave out what calibrations said of a network before it was calibrated on anew.

    Network by network, for spaces and element types share a table and count their sessions apart.
    """
    found = [(stored, _SESSION.search(stored.visit.visit_id)) for stored in visits]
    last: dict[str, int] = {}
    for stored, match in found:
        if match:
            last[stored.key] = max(int(match[1]), last.get(stored.key, 0))
    return [stored for stored, match in found if not match or int(match[1]) == last[stored.key]]


def is_judged(visit: Visit) -> bool:
    """Return whether a visit is one that predictions are judged on, so that nothing of it flows back."""
    return _JUDGED in visit.visit_id


def units_alike(executed: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return unit key -> keys of all units with the same executed keys, where there is more than one."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for key, keys in executed.items():
        groups.setdefault(keys, []).append(key)
    return {key: tuple(group) for group in groups.values() if len(group) > 1 for key in group}


def _deviation(values: Sequence[float]) -> float:
    middle = sum(values) / len(values)
    return float((sum((value - middle) ** 2 for value in values) / (len(values) - 1)) ** 0.5)
