import random
import sqlite3
from pathlib import Path

import pytest

from chamnet.errors import StoreError
from chamnet.lut import Platform, Store
from chamnet.testing import make_visit

UNIT = "conv:f32:1x8x16x16:o16:k3:relu"


def test_a_store_of_the_first_version_is_carried_over(
    store: Store, platform: Platform, tmp_path: Path
) -> None:
    lut_id = store.add_platform(platform)
    store.append(lut_id, "unit", "u", "ring", make_visit("old"))
    store.close()
    path = tmp_path / "chamnet.db"
    db = sqlite3.connect(path)
    for column in ("serial", "energy"):  # all that came with versions 2 and 3
        db.execute(f"ALTER TABLE visit DROP COLUMN {column}")
    db.execute("PRAGMA user_version = 1")
    db.close()
    for _ in range(2):
        with Store.open(path) as carried:
            assert [(s.visit, s.serial) for s in carried.visits(lut_id)] == [(make_visit("old"), "")]
    with Store.open(path) as carried:
        carried.append(lut_id, "unit", "u", "ring", make_visit("new"), serial="A")
        assert carried.serials(lut_id) == {"": 1, "A": 1}


def test_missing_store_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="chamnet-host profile"):
        Store.open(tmp_path / "no.db", create=False)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"this is not a database, whatever its name says" * 30)
    with pytest.raises(StoreError, match=r"not a ChamNet store; choose another with --db"):
        Store.open(path)
    assert path.read_bytes().startswith(b"this is not")


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(StoreError, match="not a ChamNet store"):
        Store.open(path)


def test_a_newer_store_is_refused(store: Store, tmp_path: Path) -> None:
    store.close()
    db = sqlite3.connect(tmp_path / "chamnet.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match=r"newer ChamNet \(schema 99"):
        Store.open(tmp_path / "chamnet.db")


def test_a_damaged_store_says_so(store: Store, platform: Platform, tmp_path: Path) -> None:
    lut_id = store.add_platform(platform)
    for i in range(200):
        store.append(lut_id, "unit", f"u{i}", "ring", make_visit(str(i), count=50))
    store.close()
    path = tmp_path / "chamnet.db"
    data = bytearray(path.read_bytes())
    data[8192:40960] = random.Random(0).randbytes(32768)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged|failed"), Store.open(path) as damaged:
        list(damaged.visits(lut_id))


def fill(store: Store, lut_id: int) -> None:
    for i in range(1000):
        store.append(lut_id, "unit", f"u{i}", "ring", make_visit(str(i), count=200))


def test_a_full_disk_keeps_what_is_stored(store: Store, platform: Platform) -> None:
    lut_id = store.add_platform(platform)
    store.append(lut_id, "unit", "u", "ring", make_visit("kept"))
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own way to run out of room
    with pytest.raises(StoreError, match="disk is full; free some space and run the same command again"):
        fill(store, lut_id)
    store._db.execute("PRAGMA max_page_count = 1000000")
    assert "kept" in store.visit_ids(lut_id)
    assert store.append(lut_id, "unit", "u", "ring", make_visit("after"))
