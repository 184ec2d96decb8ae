import numpy as np
import pytest

from chamnet.lut import LatencyTable, Platform, Row, Store
from chamnet.lut.store import ItemKind
from chamnet.records import Mode, Visit
from chamnet.testing import make_visit

UNIT = "conv:f32:1x16x8x8:o28:relu"
TWIN = "conv:f32:1x16x8x8:o32:relu"  # padded to the same channels
OTHER = "conv:f32:1x16x8x8:o40:relu"
NOOP_MS = 0.008


@pytest.fixture
def lut_id(store: Store, platform: Platform) -> int:
    return store.add_platform(platform)


def add(
    store: Store,
    *visits: Visit,
    key: str = UNIT,
    kind: ItemKind = "unit",
    mode: Mode = "ring",
    name: str = "",
) -> None:
    lut_id = next(iter(store.platforms()))
    for visit in visits:
        store.append(lut_id, kind, key, mode, visit, name=name)


def test_a_row_is_the_median_over_visits(store: Store, lut_id: int) -> None:
    add(store, *(make_visit(str(i), latency_ms, noop_ns=0) for i, latency_ms in enumerate((1.0, 3.0, 2.0))))
    row = LatencyTable.load(store, lut_id).units[UNIT]
    assert (row.latency_ms, row.visits, row.samples, row.noop_ms) == (2.0, 3, 15, 0.0)
    assert row.spread == 0.5


def test_a_visit_is_the_mean_of_its_samples(store: Store, lut_id: int) -> None:
    add(store, Visit(visit_id="v", status="ok", samples_ns=(1_000_000, 1_000_000, 4_000_000)))
    assert LatencyTable.load(store, lut_id).units[UNIT].latency_ms == 2.0


def test_thread_cpu_time_is_preferred(store: Store, lut_id: int) -> None:
    add(store, Visit(visit_id="v", status="ok", samples_ns=(9_000_000,), cpu_samples_ns=(1_000_000,)))
    assert LatencyTable.load(store, lut_id).units[UNIT].latency_ms == 1.0


def test_the_empty_model_is_taken_off_each_visit_of_a_unit(store: Store, lut_id: int) -> None:
    add(
        store,
        *(make_visit(str(n), 1.0 + n * 1e-6, noop_ns=n) for n in (5_000, 9_000, 200_000)),  # all 1 ms net
        make_visit("bare", 1.0, noop_ns=None),
    )
    add(store, make_visit("n", 1.0, noop_ns=9_000), key="digest", kind="network", mode="loop")
    table = LatencyTable.load(store, lut_id)
    assert table.units[UNIT].visits_ms == pytest.approx((1.0,) * 4)
    assert table.units[UNIT].noop_ms == table.noop_ms == 0.009
    assert table.networks["digest"].latency_ms == 1.0


@pytest.mark.parametrize("noop_ns", [1_000_000, 5_000_000])
def test_the_empty_model_never_leaves_zero_or_less(store: Store, lut_id: int, noop_ns: int) -> None:
    add(store, make_visit("v", 1.0, noop_ns=noop_ns))
    assert 0 < LatencyTable.load(store, lut_id).units[UNIT].latency_ms < 0.2


def test_failed_and_empty_visits_make_no_row(store: Store, lut_id: int) -> None:
    add(store, make_visit("v", status="crashed"), make_visit("w", count=0))
    table = LatencyTable.load(store, lut_id)
    assert not table.units
    assert table.noop_ms == 0.0


def test_networks_and_units_are_apart(store: Store, lut_id: int) -> None:
    add(store, make_visit("v"), key="digest", kind="network", mode="loop", name="net")
    add(store, make_visit("w"), kind="isolated")
    add(store, make_visit("x"), key="file", kind="model", mode="loop")
    table = LatencyTable.load(store, lut_id)
    assert table.networks["digest"].name == "net"
    assert not table.units


def test_one_kind_can_be_loaded_alone(store: Store, lut_id: int) -> None:
    add(store, make_visit("v"), key="digest", kind="network", mode="loop")
    add(store, make_visit("w"))
    table = LatencyTable.load(store, lut_id, "network")
    assert set(table.networks) == {"digest"}
    assert not table.units


def test_units_that_are_executed_alike_share_their_visits(store: Store, lut_id: int) -> None:
    add(store, make_visit("a", 1.0, noop_ns=0), make_visit("b", 2.0, noop_ns=0))
    add(store, make_visit("c", 6.0, noop_ns=0), key=TWIN)
    add(store, make_visit("d", 9.0, noop_ns=0), key=OTHER)
    for key, executed in ((UNIT, ("conv32",)), (TWIN, ("conv32",)), (OTHER, ("conv48",))):
        store.set_executed(lut_id, key, executed)
    units = LatencyTable.load(store, lut_id).units
    assert units[UNIT].visits_ms == units[TWIN].visits_ms == pytest.approx((1.0, 2.0, 6.0))
    assert (units[UNIT].shared, units[TWIN].shared, units[OTHER].shared) == ((TWIN,), (UNIT,), ())
    assert units[OTHER].visits_ms == pytest.approx((9.0,))


def test_a_unit_never_visited_has_the_row_of_its_twin(store: Store, lut_id: int) -> None:
    add(store, make_visit("a", 1.0))
    assert set(LatencyTable.load(store, lut_id).units) == {UNIT}
    for key in (UNIT, TWIN):
        store.set_executed(lut_id, key, ("conv32",))
    assert set(LatencyTable.load(store, lut_id).units) == {UNIT, TWIN}


def test_of_networks_only_the_last_calibration_counts(store: Store, lut_id: int) -> None:
    def whole(session: int, latency_ms: float) -> Visit:
        return make_visit(f"platform/whole/{session}/0/digest", latency_ms)

    facts = {"key": "digest", "kind": "network", "mode": "loop"}
    add(store, whole(2, 5.0), whole(10, 1.0), make_visit("platform/verify/digest", 1.1), **facts)  # type: ignore[arg-type]
    assert LatencyTable.load(store, lut_id).networks["digest"].visits_ms == pytest.approx((1.0, 1.1))


def test_calibrating_one_space_anew_leaves_those_of_others(store: Store, lut_id: int) -> None:
    # sessions are counted for each space and element type; a platform's table holds them all
    for session, key in ((0, "a"), (1, "a"), (0, "b")):
        visit = make_visit(f"platform/whole/{session}/0/{key}", 1.0 + session)
        add(store, visit, key=key, kind="network", mode="loop")
    networks = LatencyTable.load(store, lut_id).networks
    assert {key: row.visits_ms for key, row in networks.items()} == {"a": (2.0,), "b": (1.0,)}


def test_visits_at_another_speed_are_carried_to_the_usual_one(store: Store, lut_id: int) -> None:
    rng = np.random.default_rng(0)
    for number, slow in enumerate(np.exp(rng.normal(0, 0.4, 60))):
        probes_ns = (round(40_000 * slow), round(60_000 * slow))
        add(store, make_visit(str(number), 2.0 * slow, noop_ns=0, probes_ns=probes_ns))
    row = LatencyTable.load(store, lut_id).units[UNIT]
    assert row.spread is not None
    assert row.spread < 0.05
    assert row.latency_ms == pytest.approx(2.0, rel=0.1)


def row_of(*visits_ms: float) -> Row:
    return Row(kind="unit", key=UNIT, name="", visits_ms=visits_ms, noop_ms=None, samples=9, preempted=0)


def test_a_row_says_whether_it_is_settled() -> None:
    rng = np.random.default_rng(0)
    wild = np.exp(rng.normal(0, 0.5, 40)).tolist()
    assert row_of(1.0, 1.0).state == "few visits"
    assert row_of(1.0, 1.01, 0.99).state == "settled"
    assert row_of(*wild[:10]).state == "unsettled"
    assert row_of(*wild).state == "unstable"
    assert row_of(1.0).spread is None
    assert row_of(1.0, 1.01).error is None
