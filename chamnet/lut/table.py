"""The table in memory: stored visits summed up into one row per item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType

from chamnet.lut.store import ItemKind, Store
from chamnet.quantities import ns_to_ms
from chamnet.records import Visit

__all__ = ["LatencyTable", "Row", "summarise", "visit_ms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is known of one item's latency.

    Attributes:
        kind: `unit`, `network` or `model`.
        key: What was measured: unit key, or digest of a network or model.
        name: For people; empty for units.
        latency_ms: Median over visits of each visit's median.
        noop_ms: The same of the empty model beside it; None if none ran.
        visits: How many visits, spread in time.
        spread: Standard deviation between visit medians over their median; None with one visit.
        samples: Samples kept, of all visits.
        preempted: Samples rejected, of all visits.
    """

    kind: ItemKind
    key: str
    name: str
    latency_ms: float
    noop_ms: float | None
    visits: int
    spread: float | None
    samples: int
    preempted: int


@dataclass(frozen=True)
class LatencyTable:
    """Rows by item key, for one platform.

    Attributes:
        units: Unit key -> row.
        networks: `Network.digest` -> row.
    """

    units: Mapping[str, Row]
    networks: Mapping[str, Row]

    @classmethod
    def load(cls, store: Store, lut_id: int) -> "LatencyTable":
        """Sum up every usable visit of a platform."""
        grouped: dict[tuple[ItemKind, str, str], list[Visit]] = {}
        for stored in store.visits(lut_id):
            if stored.visit.status == "ok" and stored.visit.samples_ns:
                grouped.setdefault((stored.kind, stored.key, stored.name), []).append(stored.visit)
        rows = [summarise(*item, visits) for item, visits in grouped.items()]
        return cls(
            units=MappingProxyType({row.key: row for row in rows if row.kind == "unit"}),
            networks=MappingProxyType({row.key: row for row in rows if row.kind == "network"}),
        )

    @property
    def noop_ms(self) -> float:
        """Median of the empty model over all units; 0 if none ran."""
        noops = [row.noop_ms for row in self.units.values() if row.noop_ms is not None]
        return median(noops) if noops else 0.0


def visit_ms(visit: Visit) -> float:
    """Return the median latency of a visit in ms.

    Thread CPU time where one thread works: on a shared machine its spread is a fraction of the wall
    clock's. Wall clock otherwise.
    """
    return ns_to_ms(median(visit.cpu_samples_ns or visit.samples_ns))


def summarise(kind: ItemKind, key: str, name: str, visits: Sequence[Visit]) -> Row:
    """Return the row of an item from its usable visits."""
    medians_ms = [visit_ms(visit) for visit in visits]
    latency_ms = median(medians_ms)
    noops_ms = [ns_to_ms(visit.noop_ns) for visit in visits if visit.noop_ns is not None]
    return Row(
        kind=kind,
        key=key,
        name=name,
        latency_ms=latency_ms,
        noop_ms=median(noops_ms) if noops_ms else None,
        visits=len(visits),
        spread=_deviation(medians_ms) / latency_ms if len(medians_ms) > 1 and latency_ms else None,
        samples=sum(len(visit.samples_ns) for visit in visits),
        preempted=sum(visit.preempted for visit in visits),
    )


def _deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return float((sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5)
