"""The file below a store: its schema, how it is opened, and what an error of SQLite's means to a person."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chamnet.errors import StoreError

__all__ = ["SCHEMA_VERSION", "connected", "translated"]

SCHEMA_VERSION = 3
_BUSY_S = 30.0  # waited for another process's lock

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE lut (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, platform TEXT NOT NULL);
CREATE TABLE item (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL DEFAULT '',
    UNIQUE (kind, key));
CREATE TABLE visit (
    id INTEGER PRIMARY KEY, visit_id TEXT NOT NULL UNIQUE,
    lut_id INTEGER NOT NULL REFERENCES lut, item_id INTEGER NOT NULL REFERENCES item,
    mode TEXT NOT NULL, status TEXT NOT NULL, samples_ns BLOB NOT NULL, cpu_samples_ns BLOB NOT NULL,
    preempted INTEGER NOT NULL, noop_ns INTEGER, started_unix_ms INTEGER NOT NULL,
    conditions TEXT NOT NULL, message TEXT NOT NULL, serial TEXT NOT NULL DEFAULT '', energy TEXT);
CREATE INDEX visit_of_item ON visit (lut_id, item_id);
CREATE TABLE executed (
    lut_id INTEGER NOT NULL REFERENCES lut, item_id INTEGER NOT NULL REFERENCES item, keys TEXT NOT NULL,
    PRIMARY KEY (lut_id, item_id)) WITHOUT ROWID;
CREATE TABLE derived (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
# What makes the schema of each version that of the next one.
_MIGRATIONS = {
    1: "ALTER TABLE visit ADD COLUMN serial TEXT NOT NULL DEFAULT ''",
    2: "ALTER TABLE visit ADD COLUMN energy TEXT",
}
_NETWORK_FILESYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "fuse.sshfs",
    "afs",
    "ceph",
    "glusterfs",
}


def connected(path: Path) -> sqlite3.Connection:
    """Open a file in which each statement is its own transaction, making it or bringing it to our schema.

    Raises:
        StoreError: It cannot be opened, is not ours, is from a newer version, or lies on a network
            filesystem (SQLite's locks do not hold there).
    """
    _refuse_network_filesystem(path)
    with translated(path):
        connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what SQLite raises as a `StoreError` that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {_advice(error)} ({error})") from error


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("BEGIN IMMEDIATE")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        if db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError(f"{path}: an SQLite file, but not a ChamNet store; choose another with --db")
        for statement in _SCHEMA.split(";\n"):
            db.execute(statement)
    elif version < SCHEMA_VERSION:
        for older in range(version, SCHEMA_VERSION):
            db.execute(_MIGRATIONS[older])
    if version < SCHEMA_VERSION:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    db.execute("COMMIT")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: written by a newer ChamNet (schema {version}, this one reads up to {SCHEMA_VERSION});"
            " upgrade ChamNet or choose another store with --db"
        )


def _advice(error: sqlite3.Error) -> str:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # low byte: the primary code
    return {
        sqlite3.SQLITE_FULL: "the disk is full; free some space and run the same command again, nothing stored is lost",
        sqlite3.SQLITE_IOERR: "the disk does not take or give data; mend it and run the same command again",
        sqlite3.SQLITE_BUSY: "another process holds the store; wait for it, then run the same command again",
        sqlite3.SQLITE_READONLY: "the store cannot be written; check its permissions",
        sqlite3.SQLITE_CANTOPEN: "the store cannot be opened; check that its folder exists and may be written",
        sqlite3.SQLITE_NOTADB: "not a ChamNet store; choose another with --db",
        sqlite3.SQLITE_CORRUPT: "the store is damaged; `sqlite3 FILE .recover` saves what can be, or start anew with --db",
    }.get(code, "the store failed")


def _refuse_network_filesystem(path: Path) -> None:
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # not Linux
    folder = path.resolve().parent
    kinds = {mount.split()[1]: mount.split()[2] for mount in mounts}
    holding = next((kinds[str(up)] for up in (folder, *folder.parents) if str(up) in kinds), "")
    if holding in _NETWORK_FILESYSTEMS:
        raise StoreError(
            f"{path}: lies on a network filesystem ({holding}), where SQLite's locks fail; use a local --db"
        )
