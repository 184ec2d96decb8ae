from chamnet.lut import LatencyTable, Platform, Store
from chamnet.records import Visit
from chamnet.testing import make_visit


def test_a_row_is_the_median_of_visit_medians(store: Store, platform: Platform) -> None:
    lut_id = store.add_platform(platform)
    for i, latency_ms in enumerate((1.0, 3.0, 2.0)):
        store.append(lut_id, "unit", "u", "ring", make_visit(str(i), latency_ms))
    row = LatencyTable.load(store, lut_id).units["u"]
    assert (row.latency_ms, row.visits, row.samples, row.noop_ms) == (2.0, 3, 15, 0.008)
    assert row.spread == 0.5


def test_thread_cpu_time_is_preferred(store: Store, platform: Platform) -> None:
    lut_id = store.add_platform(platform)
    visit = Visit(visit_id="v", status="ok", samples_ns=(9_000_000,), cpu_samples_ns=(1_000_000,))
    store.append(lut_id, "unit", "u", "ring", visit)
    assert LatencyTable.load(store, lut_id).units["u"].latency_ms == 1.0


def test_failed_visits_make_no_row(store: Store, platform: Platform) -> None:
    lut_id = store.add_platform(platform)
    store.append(lut_id, "unit", "u", "ring", make_visit("v", status="crashed"))
    table = LatencyTable.load(store, lut_id)
    assert not table.units
    assert table.noop_ms == 0.0


def test_networks_and_units_are_apart(store: Store, platform: Platform) -> None:
    lut_id = store.add_platform(platform)
    store.append(lut_id, "network", "digest", "loop", make_visit("v"), name="net")
    table = LatencyTable.load(store, lut_id)
    assert table.networks["digest"].name == "net"
    assert not table.units
