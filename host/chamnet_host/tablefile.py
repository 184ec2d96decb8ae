"""Tables as files that other tools read: Parquet and CSV, one row per visit, raw samples included."""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

from chamnet.errors import ConfigError, StoreError
from chamnet.lut import Platform, Store
from chamnet.records import Conditions, EnergyReading, Visit

__all__ = ["COLUMNS", "export_visits", "import_visits"]

_PLATFORM = tuple(field.name for field in fields(Platform))
_TEXT = (
    "device",
    "version",
    "noop_ns",
    "samples_ns",
    "cpu_samples_ns",
    "message",
    "serial",
    "energy",
)  # CSV must not read as numbers
COLUMNS = (
    *_PLATFORM,
    "kind",
    "key",
    "name",
    "mode",
    "visit_id",
    "status",
    "samples_ns",
    "cpu_samples_ns",
    "preempted",
    "noop_ns",
    "started_unix_ms",
    "conditions",
    "message",
    "serial",
    "energy",
)
_LATER = {"serial": "", "energy": ""}  # columns that files of earlier versions lack


def export_visits(store: Store, lut_ids: Collection[int], path: Path, *, serial: str | None = None) -> int:
    """Write the visits of tables to a `.parquet` or `.csv` file; return how many.

    Samples are lists in Parquet and numbers joined by spaces in CSV.

    Args:
        store: Holds the tables.
        lut_ids: Of the tables.
        path: The file.
        serial: Only what this device measured.

    Raises:
        ConfigError: Another ending.
        StoreError: The file cannot be written.
    """
    import pandas as pd  # takes a second, so only where it is used

    ending = _ending(path)
    platforms = store.platforms()
    rows = [row for lut_id in lut_ids for row in _rows(store, lut_id, platforms[lut_id], serial)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["noop_ns"] = frame["noop_ns"].astype("Int64")
    try:
        if ending == "parquet":
            frame.to_parquet(path, index=False)
        else:
            for column in ("samples_ns", "cpu_samples_ns"):
                frame[column] = frame[column].map(lambda samples: " ".join(map(str, samples)))
            frame.to_csv(path, index=False)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error}); choose another file") from error
    return len(rows)


def import_visits(store: Store, path: Path, target: str | None) -> tuple[int, int, list[Platform]]:
    """Read visits from a file; return how many were added, how many were there, and their platforms.

    Args:
        store: Where they go; visits already stored are left alone.
        path: A file that `export_visits` wrote.
        target: Make the file's table that of this target; None leaves targets alone.

    Raises:
        ConfigError: The file cannot be read, lacks columns, or holds several platforms for one target.
    """
    frame = _read(path)
    added = 0
    lut_ids: dict[Platform, int] = {}
    try:
        for row in frame:
            platform = Platform(**{name: row[name] for name in _PLATFORM})
            lut_id = lut_ids.get(platform) or lut_ids.setdefault(platform, store.add_platform(platform))
            visit = _visit(row)
            named = {"name": row["name"], "serial": row["serial"]}
            added += store.append(lut_id, row["kind"], row["key"], row["mode"], visit, **named)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: a row cannot be read ({error}); rows before it are stored") from error
    if target is not None:
        if len(lut_ids) != 1:
            raise ConfigError(
                f"{path}: holds {len(lut_ids)} platforms, --as takes one; export them one by one"
            )
        store.put(f"table:{target}", next(iter(lut_ids)).digest)
        if store.get("last_target") is None:
            store.put("last_target", target)
    return added, len(frame) - added, list(lut_ids)


def _rows(store: Store, lut_id: int, platform: Platform, serial: str | None) -> Iterator[tuple[Any, ...]]:
    facts = tuple(asdict(platform).values())
    for stored in store.visits(lut_id, serial=serial):
        visit = stored.visit
        yield (
            *facts,
            stored.kind,
            stored.key,
            stored.name,
            stored.mode,
            visit.visit_id,
            visit.status,
            visit.samples_ns,
            visit.cpu_samples_ns,
            visit.preempted,
            visit.noop_ns,
            visit.started_unix_ms,
            json.dumps(asdict(visit.conditions)),
            visit.message,
            stored.serial,
            "" if visit.energy is None else json.dumps(asdict(visit.energy)),
        )


def _read(path: Path) -> list[dict[str, Any]]:
    import pandas as pd

    ending = _ending(path)
    try:
        if ending == "parquet":
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys(_TEXT, "string"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as {ending} ({error})") from error
    for column, usual in _LATER.items():
        if column not in frame.columns:
            frame[column] = usual
    if missing := set(COLUMNS) - set(frame.columns):
        raise ConfigError(f"{path}: lacks columns {sorted(missing)}; `chamnet-host lut export` writes them")
    return cast(list[dict[str, Any]], frame.astype(object).to_dict("records"))


def _visit(row: dict[str, Any]) -> Visit:
    noop = row["noop_ns"]
    return Visit(
        visit_id=row["visit_id"],
        status=row["status"],
        samples_ns=_samples(row["samples_ns"]),
        cpu_samples_ns=_samples(row["cpu_samples_ns"]),
        preempted=int(row["preempted"]),
        noop_ns=int(noop) if str(noop).isdecimal() else None,
        started_unix_ms=int(row["started_unix_ms"]),
        conditions=Conditions(**json.loads(row["conditions"])),
        message=row["message"],
        energy=_energy(row["energy"]),
    )


def _energy(text: str) -> EnergyReading | None:
    if not text:
        return None
    facts = json.loads(text)
    return EnergyReading(**{**facts, "rails": tuple(facts["rails"])})


def _samples(held: Any) -> tuple[int, ...]:
    """Read samples: numbers joined by spaces (CSV), or a list (Parquet)."""
    return tuple(int(ns) for ns in (held.split() if isinstance(held, str) else held))


def _ending(path: Path) -> str:
    ending = path.suffix.lower().removeprefix(".")
    if ending not in ("parquet", "csv"):
        raise ConfigError(f"{path}: the ending decides the format; use .parquet or .csv")
    return ending
