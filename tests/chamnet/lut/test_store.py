import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from chamnet.errors import StoreError
from chamnet.lut import LatencyTable, Platform, Store
from chamnet.records import Conditions, Visit
from chamnet.testing import make_energy, make_platform, make_visit

UNIT = "conv:f32:1x8x16x16:o16:k3:relu"
FULL = Visit(
    visit_id="v",
    status="ok",
    samples_ns=(1, 2**62, 3),
    cpu_samples_ns=(4, 5, 6),
    preempted=7,
    noop_ns=8,
    started_unix_ms=9,
    conditions=Conditions(cpu_khz=1, temperature_c=2.5, probe_ns=3, memory_probe_ns=4, load_1min=0.25),
    message="words",
)


def test_a_visit_comes_back_as_it_was(store: Store, platform: Platform) -> None:
    lut_id = store.add_platform(platform)
    assert store.append(lut_id, "network", "key", "loop", FULL, name="net")
    (stored,) = store.visits(lut_id)
    assert (stored.kind, stored.key, stored.name, stored.mode, stored.visit) == (
        "network",
        "key",
        "net",
        "loop",
        FULL,
    )


def test_storing_a_visit_twice_stores_it_once(store: Store, platform: Platform) -> None:
    lut_id = store.add_platform(platform)
    assert store.append(lut_id, "unit", "u", "ring", make_visit("a", 1.0))
    assert not store.append(lut_id, "unit", "u", "ring", make_visit("a", 2.0))
    assert [s.visit.samples_ns[0] for s in store.visits(lut_id)] == [1_000_000]


def test_platforms_never_mix(store: Store) -> None:
    first, second = (store.add_platform(make_platform(version=v)) for v in ("1", "2"))
    store.append(first, "unit", "u", "ring", make_visit("a"))
    assert first != second
    assert not list(store.visits(second))
    assert store.add_platform(make_platform(version="1")) == first


def test_which_device_made_a_visit_is_kept(store: Store, platform: Platform) -> None:
    lut_id = store.add_platform(platform)
    for name, serial in (("a", "A"), ("b", "B"), ("c", "A"), ("d", "")):
        store.append(lut_id, "network", "n", "loop", make_visit(name), serial=serial)
    assert store.serials(lut_id) == {"": 1, "A": 2, "B": 1}
    assert [(s.visit.visit_id, s.serial) for s in store.visits(lut_id, serial="A")] == [
        ("a", "A"),
        ("c", "A"),
    ]
    assert len(LatencyTable.load(store, lut_id, serial="A").networks["n"].visits_ms) == 2


def test_a_store_of_the_first_version_is_carried_over(
    store: Store, platform: Platform, tmp_path: Path
) -> None:
    lut_id = store.add_platform(platform)
    store.append(lut_id, "unit", "u", "ring", FULL)
    store.close()
    path = tmp_path / "chamnet.db"
    db = sqlite3.connect(path)
    for column in ("serial", "energy"):  # all that came with versions 2 and 3
        db.execute(f"ALTER TABLE visit DROP COLUMN {column}")
    db.execute("PRAGMA user_version = 1")
    db.close()
    for _ in range(2):
        with Store.open(path) as carried:
            assert [(s.visit, s.serial) for s in carried.visits(lut_id)] == [(FULL, "")]
    with Store.open(path) as carried:
        carried.append(lut_id, "unit", "u", "ring", make_visit("new"), serial="A")
        assert carried.serials(lut_id) == {"": 1, "A": 1}


def test_energies_are_kept_beside_latencies_and_never_as_these(store: Store, platform: Platform) -> None:
    lut_id = store.add_platform(platform)
    measured = replace(make_visit("e"), energy=make_energy())
    store.append(lut_id, "unit", UNIT, "ring", make_visit("latency"))
    before = store.state(lut_id), LatencyTable.load(store, lut_id).units
    store.append(lut_id, "unit", UNIT, "energy", measured)
    assert [stored.visit for stored in store.visits(lut_id) if stored.mode == "energy"] == [measured]
    assert (store.state(lut_id), LatencyTable.load(store, lut_id).units) == before


def test_state_changes_with_visits_that_matter(store: Store, platform: Platform) -> None:
    lut_id = store.add_platform(platform)
    states = [store.state(lut_id, ["calibrates"])]
    for kind, key, matters in (
        ("unit", "u", True),
        ("network", "other", False),
        ("network", "calibrates", True),
    ):
        store.append(lut_id, kind, key, "loop", make_visit(key))  # type: ignore[arg-type]
        states.append(store.state(lut_id, ["calibrates"]))
        assert (states[-1] != states[-2]) == matters
    store.set_executed(lut_id, "u", ("node",))
    assert store.state(lut_id, ["calibrates"]) != states[-1]


def test_an_item_is_given_up_when_unsupported_or_after_three_crashes(
    store: Store, platform: Platform
) -> None:
    lut_id = store.add_platform(platform)
    store.append(lut_id, "unit", "never", "ring", make_visit("a", status="unsupported"))
    for i in range(3):
        assert ("unit", "flaky") not in store.failed_items(lut_id)
        store.append(lut_id, "unit", "flaky", "ring", make_visit(f"b{i}", status="crashed"))
    assert set(store.failed_items(lut_id)) == {("unit", "never"), ("unit", "flaky")}
    assert store.failures(lut_id, "unit", "flaky") == 3


def test_what_is_refused_for_energy_alone_is_still_measured_for_latency(
    store: Store, platform: Platform
) -> None:
    lut_id = store.add_platform(platform)
    store.append(lut_id, "unit", "u", "ring", make_visit("a"))
    store.append(lut_id, "unit", "u", "energy", make_visit("b", status="unsupported"))
    store.append(lut_id, "unit", "never", "ring", make_visit("c", status="unsupported"))
    assert set(store.failed_items(lut_id)) == {("unit", "never")}
    assert set(store.failed_items(lut_id, energy=True)) == {("unit", "u"), ("unit", "never")}


def test_derived_data_is_replaced_not_gathered(store: Store) -> None:
    store.cache("kind:1", b"old", replaces="kind:")
    store.cache("kind:2", b"new", replaces="kind:")
    assert (store.cached("kind:1"), store.cached("kind:2")) == (None, b"new")


def test_executed_keys_come_back(store: Store, platform: Platform) -> None:
    lut_id = store.add_platform(platform)
    store.set_executed(lut_id, "u", ("a", "b"))
    assert store.executed(lut_id) == {"u": ("a", "b")}


def test_two_processes_share_a_store(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from chamnet.lut import Store; from chamnet.testing import *\n"
        "with Store.open(Path(sys.argv[1])) as s:\n"
        "    i = s.add_platform(make_platform())\n"
        "    for n in range(50): s.append(i, 'unit', 'u', 'ring', make_visit(f'{sys.argv[2]}{n}'))\n"
    )
    path = tmp_path / "s.db"
    both = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "ab"]
    assert [process.wait() for process in both] == [0, 0]
    with Store.open(path) as store:
        assert len(store.visit_ids(store.add_platform(make_platform()))) == 100


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
    data[8192:40960] = os.urandom(32768)
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
