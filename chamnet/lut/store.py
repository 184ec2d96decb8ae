"""The table on disk: SQLite, append-only, one row per visit.

Every visit is committed when it arrives, so that killing either side at any moment loses at most the
visits in flight. A visit's id is unique: appending one twice stores it once. Two hosts can share a store
on one machine (write-ahead log, short immediate transactions, busy time-out).
"""

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from chamnet.errors import StoreError
from chamnet.lut.database import connected, translated
from chamnet.lut.platform import Platform
from chamnet.records import Conditions, EnergyReading, Mode, Status, Visit

__all__ = ["ATTEMPTS", "PASSING", "ItemKind", "Store", "StoredVisit"]

ItemKind = Literal["unit", "network", "model", "isolated"]
PASSING: tuple[Status, ...] = ("crashed", "timeout", "cancelled")  # may be the moment's fault: tried again
ATTEMPTS = 3  # crashes or stalls of an item, or spoiled windows of energy, before it is given up


@dataclass(frozen=True, slots=True)
class StoredVisit:
    """A visit with what it measured.

    Attributes:
        kind: `unit`, `network`, `model`, or `isolated` for a unit as a file of its own.
        key: Unit key, or digest of a network or model file.
        name: For people; empty for units.
        mode: `ring`, `loop`, or `energy`, whose times are no latencies.
        visit: The samples.
        serial: Which device of the platform's kind made it; empty where nothing told one from another.
    """

    kind: ItemKind
    key: str
    name: str
    mode: Mode
    visit: Visit
    serial: str = ""


class Store:
    """An open table. Not thread-safe: one per thread.

    Raises:
        StoreError: From every method, where the file is corrupt, from a newer version, locked or full.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Self:
        """Open a store, making it where there is none.

        Raises:
            StoreError: It cannot be opened, is not ours, is from a newer version, or lies on a network
                filesystem (SQLite's locks do not hold there).
        """
        if not create and not path.exists():
            raise StoreError(
                f"{path}: no such store; `chamnet-host profile`, `accuracy build` or `accuracy import` makes it, or choose one with --db"
            )
        return cls(path, connected(path))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def add_platform(self, platform: Platform) -> int:
        """Return the id of a platform's table, adding it where it is new."""
        text = json.dumps(asdict(platform))
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO lut (digest, platform) VALUES (?, ?)", (platform.digest, text))
            row = db.execute("SELECT id FROM lut WHERE digest = ?", (platform.digest,)).fetchone()
        return int(row[0])

    def platforms(self) -> dict[int, Platform]:
        """Return the platforms measured, by id."""
        rows = self.query("SELECT id, platform FROM lut ORDER BY id")
        return {row[0]: Platform(**json.loads(row[1])) for row in rows}

    def append(
        self,
        lut_id: int,
        kind: ItemKind,
        key: str,
        mode: Mode,
        visit: Visit,
        *,
        name: str = "",
        serial: str = "",
    ) -> bool:
        """Commit one visit; returns False where its id was stored before."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO item (kind, key, name) VALUES (?, ?, ?)", (kind, key, name))
            cursor = db.execute(
                "INSERT OR IGNORE INTO visit (visit_id, lut_id, item_id, mode, status, samples_ns, cpu_samples_ns,"
                " preempted, noop_ns, started_unix_ms, conditions, message, energy, serial)"
                " SELECT ?, ?, id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM item WHERE kind = ? AND key = ?",
                (visit.visit_id, lut_id, mode, *_pack(visit), serial, kind, key),
            )
        return cursor.rowcount == 1

    def visits(
        self,
        lut_id: int,
        kind: ItemKind | None = None,
        *,
        mode: Mode | None = None,
        serial: str | None = None,
    ) -> Iterator[StoredVisit]:
        """Yield the visits of a table in the order they were stored.

        Args:
            lut_id: Id of the table.
            kind: Only those of items of this kind.
            mode: Only those made so.
            serial: Only those that this device made.
        """
        query = (
            "SELECT kind, key, name, mode, serial, visit_id, status, samples_ns, cpu_samples_ns, preempted, noop_ns,"
            " started_unix_ms, conditions, message, energy FROM visit JOIN item ON item.id = item_id"
            " WHERE lut_id = ? AND (? IS NULL OR kind = ?) AND (? IS NULL OR mode = ?) AND (? IS NULL OR serial = ?)"
            " ORDER BY visit.id"
        )
        for row in self.query(query, (lut_id, kind, kind, mode, mode, serial, serial)):
            yield StoredVisit(row[0], row[1], row[2], row[3], _unpack(row[5:]), row[4])

    def serials(self, lut_id: int) -> dict[str, int]:
        """Return how many visits of a table each device made; under the empty name those of devices without one."""
        rows = self.query(
            "SELECT serial, COUNT(*) FROM visit WHERE lut_id = ? GROUP BY serial ORDER BY serial", (lut_id,)
        )
        return {row[0]: row[1] for row in rows}

    def unit_keys(self, lut_id: int) -> list[str]:
        """Return the keys of the units visited, each once."""
        rows = self.query(
            "SELECT key FROM item WHERE kind = 'unit' AND id IN (SELECT item_id FROM visit WHERE lut_id = ?)",
            (lut_id,),
        )
        return [row[0] for row in rows]

    def visit_ids(self, lut_id: int) -> set[str]:
        """Return the ids of all stored visits of a table."""
        return {row[0] for row in self.query("SELECT visit_id FROM visit WHERE lut_id = ?", (lut_id,))}

    def failed_items(self, lut_id: int, *, energy: bool = False) -> dict[tuple[ItemKind, str], str]:
        """Return the items that need not be asked for again, with the reason.

        Those the device cannot run, and those that broke or stalled it three times.

        Args:
            lut_id: Id of the table.
            energy: Whether for windows of energy, else for latencies. An item refused for latencies has no windows either; one
                refused for windows alone has a latency. A window that was spoiled says nothing of its item.
        """
        rows = self.query(
            "SELECT kind, key, status, message, COUNT(*) FROM visit JOIN item ON item.id = item_id"
            " WHERE lut_id = ? AND ((mode = 'energy') = ? AND status IN ('crashed', 'timeout')"
            " OR (mode = 'energy') <= ? AND status IN ('unsupported', 'fallback'))"
            " GROUP BY kind, key, status IN ('unsupported', 'fallback')",
            (lut_id, energy, energy),
        )
        return {
            (kind, key): f"{status}: {message}"
            for kind, key, status, message, count in rows
            if status not in PASSING or count >= ATTEMPTS
        }

    def failures(self, lut_id: int, kind: ItemKind, key: str) -> int:
        """Return how often an item broke or stalled the device, or its window of energy was spoiled."""
        rows = self.query(
            "SELECT COUNT(*) FROM visit JOIN item ON item.id = item_id"
            " WHERE lut_id = ? AND kind = ? AND key = ?"
            " AND (status IN ('crashed', 'timeout') OR mode = 'energy' AND status = 'cancelled')",
            (lut_id, kind, key),
        )
        return int(rows[0][0])

    def set_executed(self, lut_id: int, key: str, executed: tuple[str, ...]) -> None:
        """Keep what the runtime executes for a unit."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO item (kind, key) VALUES ('unit', ?)", (key,))
            db.execute(
                "INSERT OR REPLACE INTO executed SELECT ?, id, ? FROM item WHERE kind = 'unit' AND key = ?",
                (lut_id, json.dumps(executed), key),
            )

    def executed(self, lut_id: int) -> dict[str, tuple[str, ...]]:
        """Return unit key -> executed keys."""
        query = "SELECT key, keys FROM executed JOIN item ON item.id = item_id WHERE lut_id = ?"
        return {row[0]: tuple(json.loads(row[1])) for row in self.query(query, (lut_id,))}

    def get(self, key: str) -> str | None:
        """Return a setting of the workspace, such as the last target; None if unset."""
        rows = self.query("SELECT value FROM meta WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def put(self, key: str, value: str) -> None:
        """Keep a setting of the workspace."""
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def cached(self, key: str) -> bytes | None:
        """Return derived data kept under a key that names all it was derived from; None if absent."""
        rows = self.query("SELECT value FROM derived WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    def cached_keys(self, beginning: str) -> list[str]:
        """Return the keys of derived data that begin so, sorted."""
        rows = self.query(
            "SELECT key FROM derived WHERE substr(key, 1, ?) = ? ORDER BY key", (len(beginning), beginning)
        )
        return [row[0] for row in rows]

    def cache(self, key: str, value: bytes, *, replaces: str | None = None) -> None:
        """Keep derived data, dropping what was kept under the key, and under keys that start with `replaces`."""
        with self.transaction() as db:
            if replaces is not None:
                db.execute("DELETE FROM derived WHERE substr(key, 1, ?) = ?", (len(replaces), replaces))
            db.execute("INSERT OR REPLACE INTO derived VALUES (?, ?)", (key, value))

    def state(self, lut_id: int, networks: Collection[str] = ()) -> str:
        """Return a text that changes when something that predictions stand on is stored in a table.

        That is a visit of a unit or of one of these networks, and what is executed for a unit.

        Args:
            lut_id: Id of the table.
            networks: Digests.
        """
        rows = self.query(
            "SELECT COALESCE(MAX(visit.id), 0), (SELECT COUNT(*) FROM executed WHERE lut_id = ?)"
            " FROM visit JOIN item ON item.id = item_id WHERE lut_id = ?"
            " AND mode != 'energy' AND (kind = 'unit' OR key IN (SELECT value FROM json_each(?)))",
            (lut_id, lut_id, json.dumps(list(networks))),
        )
        return "-".join(map(str, rows[0]))

    def energy_state(self, lut_id: int) -> str:
        """Return a text that changes when energy is stored in a table; empty where none was measured."""
        ((count, last),) = self.query(
            "SELECT COUNT(*), MAX(id) FROM visit WHERE lut_id = ? AND mode = 'energy' AND energy IS NOT NULL",
            (lut_id,),
        )
        return f"{count}-{last}" if count else ""

    def query(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        """Return the rows of a query in SQL: for those who keep a table of their own beside ours."""
        with translated(self.path):
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit what is written inside, or nothing of it."""
        with translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _pack(visit: Visit) -> tuple[object, ...]:
    samples = [np.array(s, dtype="<i8").tobytes() for s in (visit.samples_ns, visit.cpu_samples_ns)]
    conditions = json.dumps(asdict(visit.conditions))
    facts = (visit.preempted, visit.noop_ns, visit.started_unix_ms, conditions, visit.message)
    energy = None if visit.energy is None else json.dumps(asdict(visit.energy))
    return (visit.status, *samples, *facts, energy)


def _unpack(row: tuple[Any, ...]) -> Visit:
    visit_id, status, samples, cpu_samples, preempted, noop_ns, started, conditions, message, energy = row
    return Visit(
        visit_id=visit_id,
        status=status,
        samples_ns=tuple(np.frombuffer(samples, dtype="<i8").tolist()),
        cpu_samples_ns=tuple(np.frombuffer(cpu_samples, dtype="<i8").tolist()),
        preempted=preempted,
        noop_ns=noop_ns,
        started_unix_ms=started,
        conditions=Conditions(**json.loads(conditions)),
        message=message,
        energy=None if energy is None else _energy(json.loads(energy)),
    )


def _energy(facts: dict[str, Any]) -> EnergyReading:
    return EnergyReading(**{**facts, "rails": tuple(facts["rails"])})
