"""Energy rows: what counts as one, whose readings meet, and what is below the noise."""

from dataclasses import replace

import pytest

from chamnet.errors import ConfigError, NotProfiledError
from chamnet.lut import EnergyTable, MeteredBy, Platform, Store, metered_by
from chamnet.lut.store import ItemKind
from chamnet.records import EnergyReading
from chamnet.testing import make_energy, make_visit

RAPL = MeteredBy("rapl", ("dram", "package"))
FAKE = MeteredBy("fake", ("fake",))


@pytest.fixture
def lut_id(store: Store, platform: Platform) -> int:
    return store.add_platform(platform)


def add(
    store: Store,
    lut_id: int,
    key: str,
    *readings: EnergyReading,
    kind: ItemKind = "unit",
    start: str = "e",
    serial: str = "",
) -> None:
    for number, reading in enumerate(readings):
        visit = replace(make_visit(f"{start}/{key}/{number}/{reading.meter}"), energy=reading)
        store.append(lut_id, kind, key, "energy", visit, serial=serial)


def by_rapl(reading: EnergyReading) -> EnergyReading:
    return replace(reading, meter="rapl", rails=("package", "dram"))


def test_a_row_is_the_median_of_its_visits(store: Store, lut_id: int) -> None:
    add(
        store,
        lut_id,
        "a",
        *(make_energy(net, 4.0, idle_w=idle) for net, idle in ((6, 1), (2, 1.2), (3, 0.9))),
    )
    row = EnergyTable.load(store, lut_id).units["a"]
    assert (row.net_mj, row.net_w, row.latency_ms) == pytest.approx((3.0, 0.75, 4.0))
    assert (row.visits, row.is_below_noise) == (3, False)
    assert row.spread == pytest.approx(0.520416 / 0.75, rel=1e-4)


def test_idle_power_is_the_platforms_and_part_of_no_row(store: Store, lut_id: int) -> None:
    add(store, lut_id, "a", make_energy(2.0, idle_w=1.0), make_energy(2.0, idle_w=7.0))
    add(store, lut_id, "n", make_energy(8.0, 4.0, idle_w=3.0), kind="network")
    table = EnergyTable.load(store, lut_id)
    assert table.units["a"].net_mj == pytest.approx(2.0)
    assert table.idle_w == pytest.approx(3.0)
    assert table.idle_spread == pytest.approx(3.0550505 / 3)
    assert table.network_mj("n") == pytest.approx(8.0 + 3.0 * 4.0)


def test_a_row_is_below_noise_where_most_visits_are(store: Store, lut_id: int) -> None:
    loud, quiet = make_energy(0.04, noise_w=0.01), make_energy(0.06, noise_w=0.01)
    add(store, lut_id, "most", loud, loud, quiet)
    add(store, lut_id, "few", loud, quiet, quiet)
    add(store, lut_id, "negative", replace(quiet, gross_uj=1.0))
    table = EnergyTable.load(store, lut_id)
    assert {key: row.is_below_noise for key, row in table.units.items()} == {
        "most": True, "few": False, "negative": True,
    }  # fmt: skip
    assert table.below_noise == 2


def test_meters_never_mix(store: Store, lut_id: int) -> None:
    add(store, lut_id, "a", make_energy(2.0), by_rapl(make_energy(5.0)))
    add(store, lut_id, "b", by_rapl(make_energy(6.0)))
    add(store, lut_id, "c", replace(make_energy(9.0), meter="rapl", rails=("package",)))
    one_rail = MeteredBy("rapl", ("package",))
    assert metered_by(store, lut_id) == {RAPL: 2, FAKE: 1, one_rail: 1}
    most = EnergyTable.load(store, lut_id)
    assert most.metered_by == RAPL
    assert {key: row.net_mj for key, row in most.units.items()} == pytest.approx({"a": 5.0, "b": 6.0})
    assert EnergyTable.load(store, lut_id, FAKE).units["a"].net_mj == pytest.approx(2.0)
    assert EnergyTable.load(store, lut_id, one_rail).units.keys() == {"c"}
    with pytest.raises(NotProfiledError, match=r"no energy was measured with nvml:gpu"):
        EnergyTable.load(store, lut_id, MeteredBy("nvml", ("gpu",)))


def test_a_meter_is_named_with_its_rails_where_that_is_needed() -> None:
    known = [RAPL, FAKE, MeteredBy("rapl", ("package",))]
    assert MeteredBy.parse("fake", known) == FAKE
    assert MeteredBy.parse("rapl:dram+package", known) == RAPL
    with pytest.raises(
        ConfigError, match=r"'rapl' means several; choose of rapl:dram\+package, rapl:package"
    ):
        MeteredBy.parse("rapl", known)
    with pytest.raises(ConfigError, match="'nvml' measured nothing here; choose of"):
        MeteredBy.parse("nvml", known)


def test_devices_of_one_kind_never_mix(store: Store, lut_id: int) -> None:
    add(store, lut_id, "a", make_energy(2.0), by_rapl(make_energy(3.0)), start="x", serial="A")
    for key, net_mj in (("a", 5.0), ("b", 6.0)):
        add(store, lut_id, key, make_energy(net_mj, idle_w=4.0), start="y", serial="B")
    of_a, of_b = (replace(FAKE, serial=serial) for serial in "AB")
    assert list(metered_by(store, lut_id)) == [of_b, of_a, replace(RAPL, serial="A")]
    assert list(metered_by(store, lut_id, serial="A")) == [of_a, replace(RAPL, serial="A")]
    most = EnergyTable.load(store, lut_id)
    assert (most.metered_by, most.units["a"].net_mj, most.idle_w) == (of_b, pytest.approx(5.0), 4.0)
    other = EnergyTable.load(store, lut_id, serial="A")
    assert (other.metered_by, other.units["a"].net_mj, other.idle_w) == (of_a, pytest.approx(2.0), 1.0)
    with pytest.raises(NotProfiledError, match="no energy was measured"):
        EnergyTable.load(store, lut_id, serial="C")
    known = list(metered_by(store, lut_id))
    assert MeteredBy.parse("fake:fake@A", known) == of_a
    assert MeteredBy.parse("fake:fake", [*known, FAKE]) == FAKE, "as it was chosen before there were others"
    assert MeteredBy.parse("rapl:dram+package", known).serial == "A"
    with pytest.raises(ConfigError, match="'fake' means several; choose of fake:fake@B, fake:fake@A"):
        MeteredBy.parse("fake", known)


def test_units_executed_alike_share_rows(store: Store, lut_id: int) -> None:
    for key in ("a", "b"):
        store.set_executed(lut_id, key, ("same",))
    add(store, lut_id, "a", make_energy(2.0))
    add(store, lut_id, "b", make_energy(4.0))
    rows = EnergyTable.load(store, lut_id).units
    assert rows["a"].net_mj == rows["b"].net_mj == pytest.approx(3.0)
    assert rows["a"].shared == ("b",)


def test_what_is_no_energy_of_a_row_is_left_out(store: Store, lut_id: int) -> None:
    store.append(lut_id, "unit", "a", "energy", make_visit("failed", status="unsupported"))
    store.append(lut_id, "unit", "a", "ring", make_visit("timed"))
    assert store.energy_state(lut_id) == ""
    with pytest.raises(NotProfiledError, match="chamnet-host profile --energy"):
        EnergyTable.load(store, lut_id)
    add(store, lut_id, "a", make_energy(2.0), start="d/validate/1")
    with pytest.raises(NotProfiledError):
        EnergyTable.load(store, lut_id)
    before = store.energy_state(lut_id)
    add(store, lut_id, "a", make_energy(2.0), start="later")
    assert store.energy_state(lut_id) != before
    assert EnergyTable.load(store, lut_id).units["a"].visits == 1
