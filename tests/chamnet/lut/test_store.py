import subprocess
import sys
from dataclasses import replace
from pathlib import Path

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
