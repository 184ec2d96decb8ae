"""Energy in memory: stored visits with a meter's reading summed up into one row per item.

A row says what an item adds to the power of the idling device while it runs. What the device takes for being on is no
part of any row: it is one number of the platform, counted once per network.

Readings of different meters, of different rails of one meter, or of two devices, are of different things and never meet in a
table. Units that the runtime executes alike share their visits, as in `LatencyTable`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median, stdev
from types import MappingProxyType

from chamnet.errors import ConfigError, NotProfiledError
from chamnet.lut.store import ItemKind, Store, StoredVisit
from chamnet.lut.table import is_judged, units_alike
from chamnet.records import EnergyReading

__all__ = ["EnergyRow", "EnergyTable", "MeteredBy", "metered_by"]


@dataclass(frozen=True, slots=True, order=True)
class MeteredBy:
    """What readings were taken with, and of which device.

    Attributes:
        meter: Name of the meter.
        rails: Names of the rails that were added up.
        serial: Of the device; empty where nothing told it from others.
    """

    meter: str
    rails: tuple[str, ...]
    serial: str = ""

    @classmethod
    def of(cls, reading: EnergyReading, serial: str = "") -> "MeteredBy":
        """Return what a reading of a device was taken with; the order of rails makes no difference."""
        return cls(reading.meter, tuple(sorted(reading.rails)), serial)

    @classmethod
    def parse(cls, text: str, known: Sequence["MeteredBy"]) -> "MeteredBy":
        """Return the one of those known that a text means: `METER:RAIL+RAIL@SERIAL`, or as much of it as says which.

        Raises:
            ConfigError: None, or several; they are named.
        """
        whole = [each for each in known if text == str(each)]
        named = whole or [each for each in known if text in (each.meter, each.name)]
        if len(named) != 1:
            what = "means several" if named else "measured nothing here"
            shown = ", ".join(map(str, named or known)) or "none did"
            raise ConfigError(f"meter {text!r} {what}; choose of {shown}")
        return named[0]

    def __str__(self) -> str:
        """Return it as `parse` reads it."""
        return self.name + (f"@{self.serial}" if self.serial else "")

    @property
    def name(self) -> str:
        """Meter and rails, of whatever device."""
        return f"{self.meter}:{'+'.join(self.rails)}"


@dataclass(frozen=True, kw_only=True)
class EnergyRow:
    """What is known of one item's energy.

    Attributes:
        kind: `unit` or `network`.
        key: Unit key, or digest of a network.
        name: For people; empty for units.
        readings: Of each visit, at least one.
        shared: Keys of the other units that the runtime executes alike.
    """

    kind: ItemKind
    key: str
    name: str
    readings: tuple[EnergyReading, ...]
    shared: tuple[str, ...] = ()

    @property
    def visits(self) -> int:
        """How many visits, spread in time."""
        return len(self.readings)

    @cached_property
    def net_w(self) -> float:
        """Power added to that of the idling device: median over visits."""
        return median(reading.net_w for reading in self.readings)

    @cached_property
    def net_mj(self) -> float:
        """Energy of one run above that of the idling device: median over visits."""
        return median(reading.net_mj for reading in self.readings)

    @cached_property
    def gross_mj(self) -> float:
        """Energy that the device took for the time of one run, as it idled at that time: median over visits."""
        return median(reading.gross_mj for reading in self.readings)

    @cached_property
    def idle_w(self) -> float:
        """Power of the idling device around the windows: median over visits."""
        return median(reading.idle_w for reading in self.readings)

    @cached_property
    def latency_ms(self) -> float:
        """Time of one run in the windows: median over visits. Beside the table's latency, never instead of it."""
        return median(reading.latency_ms for reading in self.readings)

    @property
    def spread_w(self) -> float | None:
        """Standard deviation of net power between visits; None with one visit."""
        return stdev(reading.net_w for reading in self.readings) if self.visits > 1 else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of net power between visits over its median; None with one visit, or without power."""
        spread_w = self.spread_w
        return None if spread_w is None or self.net_w <= 0 else spread_w / self.net_w

    @property
    def is_below_noise(self) -> bool:
        """Whether most visits cannot tell the item from the idling device: then no figure of it is shown."""
        return 2 * sum(reading.is_below_noise for reading in self.readings) > self.visits or self.net_w <= 0

    @property
    def noise_w(self) -> float:
        """Standard deviation of the net power of one visit, by what the idling device changes by."""
        return median(reading.noise_w for reading in self.readings)


@dataclass(frozen=True, kw_only=True)
class EnergyTable:
    """Rows by item key, for one platform, one meter and one set of its rails, of one device.

    Attributes:
        metered_by: The meter, its rails, and the device.
        units: Unit key -> row.
        networks: `Network.digest` -> row.
        idle_w: Power of the idling device: median over all visits.
        idle_spread: Its standard deviation between visits over its median; None with one visit.
    """

    metered_by: MeteredBy
    units: Mapping[str, EnergyRow]
    networks: Mapping[str, EnergyRow]
    idle_w: float
    idle_spread: float | None

    @classmethod
    def load(
        cls,
        store: Store,
        lut_id: int,
        metered: MeteredBy | None = None,
        *,
        serial: str | None = None,
    ) -> "EnergyTable":
        """Sum up every usable visit of a platform that was made with one meter.

        Args:
            store: Holds the visits.
            lut_id: Of the platform.
            metered: With what; None for what most rows were measured with.
            serial: Only what this device measured.

        Raises:
            NotProfiledError: Nothing was measured with it.
        """
        usable = list(_usable(store, lut_id, serial))
        counts = _rows_of(usable)
        chosen = metered or next(iter(counts), None)
        if chosen is None or chosen not in counts:
            raise NotProfiledError(
                f"no energy was measured{f' with {metered}' if metered else ''}; run `chamnet-host profile --energy`"
            )
        alike = units_alike(store.executed(lut_id))
        readings: dict[tuple[ItemKind, str, str], list[EnergyReading]] = {}
        for stored, reading in usable:
            if MeteredBy.of(reading, stored.serial) == chosen:
                for key in alike.get(stored.key, (stored.key,)) if stored.kind == "unit" else (stored.key,):
                    readings.setdefault((stored.kind, key, stored.name), []).append(reading)
        rows = [
            EnergyRow(
                kind=kind,
                key=key,
                name=name,
                readings=tuple(made),
                shared=tuple(other for other in alike.get(key, ()) if other != key),
            )
            for (kind, key, name), made in readings.items()
        ]
        idle = [
            reading.idle_w for stored, reading in usable if MeteredBy.of(reading, stored.serial) == chosen
        ]
        middle, mean = median(idle), sum(idle) / len(idle)
        spread = (
            (sum((w - mean) ** 2 for w in idle) / (len(idle) - 1)) ** 0.5 / middle
            if len(idle) > 1 and middle > 0
            else None
        )
        return cls(
            metered_by=chosen,
            units=MappingProxyType({row.key: row for row in rows if row.kind == "unit"}),
            networks=MappingProxyType({row.key: row for row in rows if row.kind == "network"}),
            idle_w=middle,
            idle_spread=spread,
        )

    def network_mj(self, digest: str) -> float:
        """Return the energy of one run of a measured network, being on included: idle power is the platform's.

        Raises:
            KeyError: It was not measured.
        """
        row = self.networks[digest]
        return row.net_mj + self.idle_w * row.latency_ms

    @property
    def below_noise(self) -> int:
        """How many rows of units tell nothing of their energy."""
        return sum(row.is_below_noise for row in self.units.values())


def metered_by(store: Store, lut_id: int, *, serial: str | None = None) -> dict[MeteredBy, int]:
    """Return what the energy of a platform was measured with and how many items with each, most first."""
    return _rows_of(_usable(store, lut_id, serial))


def _usable(store: Store, lut_id: int, serial: str | None) -> "list[tuple[StoredVisit, EnergyReading]]":
    return [
        (stored, stored.visit.energy)
        for stored in store.visits(lut_id, mode="energy", serial=serial)
        if stored.kind in ("unit", "network")
        and stored.visit.status == "ok"
        and stored.visit.energy is not None
        and not is_judged(stored.visit)
    ]


def _rows_of(usable: "Sequence[tuple[StoredVisit, EnergyReading]]") -> dict[MeteredBy, int]:
    items = {(stored.kind, stored.key, MeteredBy.of(reading, stored.serial)) for stored, reading in usable}
    counts = Counter(metered for *_, metered in items)
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))
