from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chamnet.errors import DeviceBusyError, DeviceError, DeviceLostError, StoreError, TokenError
from chamnet.lut import Batch, EnergyBatch, Store
from chamnet.networks import find
from chamnet.records import Conditions, EnergyPolicy, Item, Policy, Resolved, Visit
from chamnet.testing import FakeClock, make_platform, make_visit
from chamnet.units import Unit
from chamnet_host.client import DeviceClient
from chamnet_host.devices.reach import Connect
from chamnet_host.measuring.campaign import Campaign, Tally
from chamnet_host.measuring.lanes import Lane

WALKS = tuple(find(name).build() for name in ("chamnet-a", "chamnet-c", "chamnet-e", "chamnet-f"))
BATCH = Batch(
    number=0, walks=WALKS, granularity="block", laps=4, networks=WALKS[:2], rounds=(0, 1), session=0
)
PLATFORM = make_platform()


class ScriptedDevice:
    """Answers `measure`; `before` may raise or change the visit."""

    def __init__(self, before: Callable[[Item, int], Visit | None] = lambda item, count: None) -> None:
        self.before = before
        self.asked: Counter[str] = Counter()
        self.sent = 0

    @contextmanager
    def connect(self) -> Iterator[DeviceClient]:
        yield cast(DeviceClient, self)

    def measure(self, items: Sequence[Item], policy: Policy, **_: Any) -> Iterator[Visit]:
        for item in items:
            self.asked[item.visit_id] += 1
            visit = self.before(item, self.sent) or make_visit(item.visit_id)
            self.sent += 1
            yield visit


def units_of_one_walk() -> list[str]:
    """Return the units of the first walk that no other walk holds."""
    first, *others = ({unit.key for unit in network.units("block")} for network in WALKS)
    return [unit.key for unit in WALKS[0].units("block") if unit.key in first - set().union(*others)]


def campaign(
    store: Store, connect: Connect, *, clock: FakeClock | None = None, strict: bool = False, **options: Any
) -> Campaign:
    clock = clock or FakeClock()
    of_lane = {name: options.pop(name) for name in ("patience_s", "cool_to_c") if name in options}
    lane = Lane(connect=connect, backend="fake", clock=clock, strict=strict, **of_lane)
    lut_id = store.add_platform(PLATFORM)
    return Campaign(
        lanes=[lane],
        store=store,
        lut_id=lut_id,
        digest=PLATFORM.digest,
        clock=clock,
        strict=strict,
        **options,
    )


def run(store: Store, connect: Connect, **options: Any) -> Tally:
    made = campaign(store, connect, **options)
    made.run(BATCH)
    return made.tally


def stored(store: Store) -> set[str]:
    return store.visit_ids(store.add_platform(PLATFORM))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s.db") as opened:
        yield opened


def test_everything_planned_is_stored(store: Store) -> None:
    tally = run(store, ScriptedDevice().connect)
    assert stored(store) == BATCH.visit_ids(PLATFORM.digest)
    assert (tally.stored, tally.before, tally.failed) == (tally.total, 0, 0)


def test_a_second_run_measures_nothing(store: Store) -> None:
    run(store, ScriptedDevice().connect)
    again = ScriptedDevice()
    tally = run(store, again.connect)
    assert (tally.stored, tally.before, again.sent) == (0, tally.total, 0)


def test_a_lost_agent_is_found_again_and_nothing_is_repeated(store: Store) -> None:
    def lose(item: Item, count: int) -> None:
        if count in (30, 70):
            device.sent += 1
            raise DeviceLostError("gone")

    device = ScriptedDevice(lose)
    tally = run(store, device.connect)
    assert stored(store) == BATCH.visit_ids(PLATFORM.digest)
    assert tally.reconnects == 2
    assert tally.stored == tally.total
    # A unit needs those before it, so the two walks that broke off were made again from their start.
    again = {visit_id.rpartition("/")[0] for visit_id, asked in device.asked.items() if asked > 1}
    assert len(again) == 2
    assert max(device.asked.values()) == 2


def test_a_busy_device_is_waited_for(store: Store) -> None:
    busy = iter(range(3))

    def hold(item: Item, count: int) -> None:
        if count == 30 and next(busy, None) is not None:
            raise DeviceBusyError("another host is at work")

    clock = FakeClock()
    tally = run(store, ScriptedDevice(hold).connect, clock=clock)
    assert (tally.reconnects, clock.time_ns) == (0, 3_000_000_000)
    assert stored(store) == BATCH.visit_ids(PLATFORM.digest)


def test_a_device_that_stays_busy_is_an_error(store: Store) -> None:
    def hold(item: Item, count: int) -> None:
        raise DeviceBusyError("another host is at work")

    with pytest.raises(DeviceBusyError, match="another host"):
        run(store, ScriptedDevice(hold).connect)


def test_an_agent_lost_for_good_ends_with_what_to_do(store: Store) -> None:
    def die(item: Item, count: int) -> None:
        if count >= 30:
            raise DeviceLostError("gone for good")

    with pytest.raises(
        DeviceLostError, match=r"30 of \d+ visits are stored, the same command continues.*gone for good"
    ):
        run(store, ScriptedDevice(die).connect)
    assert len(stored(store)) == 30


def test_a_device_that_comes_back_in_time_is_waited_for_visibly(store: Store) -> None:
    clock = FakeClock()
    seen: list[str] = []

    def lose(item: Item, count: int) -> None:
        if count >= 30 and clock.time_ns < 60_000_000_000:
            raise DeviceLostError("the cable was pulled")

    tally = run(
        store,
        ScriptedDevice(lose).connect,
        clock=clock,
        patience_s=90,
        progress=lambda tally: seen.append(tally.waiting),
    )
    assert stored(store) == BATCH.visit_ids(PLATFORM.digest)
    assert "lost; trying for another 89 s" in seen
    assert tally.waiting == ""
    assert 60 <= clock.time_ns / 1e9 < 80  # pauses grow, but not without end


def test_a_hot_device_is_left_to_cool(store: Store) -> None:
    seen: list[str] = []
    began_c: list[float] = []

    class Heating(ScriptedDevice):
        temperature_c = 30.0

        def measure(self, items: Sequence[Item], policy: Policy, **_: Any) -> Iterator[Visit]:
            began_c.append(self.temperature_c)
            for visit in super().measure(items, policy):
                self.temperature_c += 1
                yield replace(visit, conditions=Conditions(temperature_c=self.temperature_c))

        def describe(self) -> Any:
            self.temperature_c -= 1
            return SimpleNamespace(conditions=Conditions(temperature_c=self.temperature_c))

    device = Heating()
    run(
        store,
        device.connect,
        cool_to_c=40.0,
        progress=lambda tally: seen.append(tally.waiting),
    )
    assert any("to 40 °C" in each for each in seen)
    assert len(began_c) > 2
    assert max(began_c) <= 40
    assert stored(store) == BATCH.visit_ids(PLATFORM.digest)


def test_a_device_that_stays_hot_is_left_to_cool_once_though_it_is_lost_meanwhile(store: Store) -> None:
    hot = Conditions(temperature_c=50.0)

    class Hot(ScriptedDevice):
        def measure(self, items: Sequence[Item], policy: Policy, **_: Any) -> Iterator[Visit]:
            yield from (replace(visit, conditions=hot) for visit in super().measure(items, policy))

        def describe(self) -> Any:
            return SimpleNamespace(conditions=hot)

    def lose(item: Item, count: int) -> None:
        if count in (30, 70):
            device.sent += 1
            raise DeviceLostError("gone")

    device, clock = Hot(lose), FakeClock()
    run(store, device.connect, cool_to_c=40.0, clock=clock)
    assert stored(store) == BATCH.visit_ids(PLATFORM.digest)
    assert 120 <= clock.time_ns / 1e9 < 130


def test_an_agent_that_leaves_no_token_behind_is_lost_too(store: Store) -> None:
    def lose(item: Item, count: int) -> None:
        if count == 30:
            raise DeviceLostError("gone")

    device, reached = ScriptedDevice(lose), iter([True])

    @contextmanager
    def connect() -> Iterator[DeviceClient]:
        if not next(reached, False):
            raise TokenError("no token")
        with device.connect() as client:
            yield client

    with pytest.raises(
        DeviceLostError, match=r"30 of \d+ visits are stored, the same command continues.*no token"
    ):
        run(store, connect)


def test_a_wrong_token_is_the_users_mistake(store: Store) -> None:
    @contextmanager
    def connect() -> Iterator[DeviceClient]:
        raise TokenError("refused")
        yield

    with pytest.raises(TokenError, match="refused"):
        run(store, connect)


def test_ctrl_c_keeps_what_is_stored(store: Store) -> None:
    def stop(item: Item, count: int) -> None:
        if count == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(store, ScriptedDevice(stop).connect)
    tally = run(store, ScriptedDevice().connect)
    assert (tally.before, tally.stored) == (30, tally.total - 30)


def test_a_crash_by_chance_is_measured_again(store: Store) -> None:
    tally = run(
        store,
        ScriptedDevice(
            lambda item, n: make_visit(item.visit_id, status="crashed") if n == 5 else None
        ).connect,
    )
    assert BATCH.visit_ids(PLATFORM.digest) <= stored(store)
    assert tally.failed == 1
    assert len(stored(store)) == tally.total + 1  # the crash is kept as well


def test_an_item_that_always_crashes_is_given_up(store: Store) -> None:
    bad = units_of_one_walk()[2]
    device = ScriptedDevice(
        lambda item, _: make_visit(item.visit_id, status="crashed") if item.blocks == (bad,) else None
    )
    run(store, device.connect)
    lut_id = store.add_platform(PLATFORM)
    assert set(store.failed_items(lut_id)) == {("unit", bad)}
    assert len([s for s in store.visits(lut_id) if s.key == bad]) == 3


def test_an_item_whose_windows_are_spoiled_is_given_up_for_that_run_only(store: Store) -> None:
    bad, good = (Unit.parse(key) for key in units_of_one_walk()[:2])
    spoiled = ScriptedDevice(
        lambda item, _: make_visit(item.visit_id, status="cancelled") if item.blocks == (bad.key,) else None
    )
    by = {
        meter: EnergyBatch(policy=EnergyPolicy(meter=meter), units=(bad, good)) for meter in ("rapl", "nvml")
    }
    campaign(store, spoiled.connect).run(by["rapl"])
    assert sorted(spoiled.asked.values()) == [1, 3]
    for meter, expected in (("rapl", 1), ("nvml", 2)):  # mended, or as the reason advises: another meter
        mended = ScriptedDevice()
        campaign(store, mended.connect).run(by[meter])
        assert mended.sent == expected
        assert by[meter].visit_ids(PLATFORM.digest) <= stored(store)


def test_unsupported_is_asked_once(store: Store) -> None:
    bad = units_of_one_walk()[2]
    device = ScriptedDevice(
        lambda item, _: make_visit(item.visit_id, status="unsupported") if item.blocks == (bad,) else None
    )
    run(store, device.connect)
    again = ScriptedDevice()
    run(store, again.connect)
    assert again.sent == 0


def test_a_full_disk_ends_the_run_and_the_next_one_continues(store: Store) -> None:
    def fill(item: Item, count: int) -> None:
        if count == 20:
            pages = store._db.execute("PRAGMA page_count").fetchone()[0]
            store._db.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreError, match="disk is full"):
        run(store, ScriptedDevice(fill).connect)
    store._db.execute("PRAGMA max_page_count = 1000000")
    kept = stored(store)
    assert len(kept) >= 20
    tally = run(store, ScriptedDevice().connect)
    assert tally.before == len(kept)
    assert stored(store) == BATCH.visit_ids(PLATFORM.digest)


def at_speed(item: Item, probe_ns: int) -> Visit:
    return replace(make_visit(item.visit_id), conditions=Conditions(probe_ns=probe_ns))


def test_visits_on_a_slow_machine_are_labelled_and_made_once_more(store: Store) -> None:
    device = ScriptedDevice(lambda item, count: at_speed(item, 300 if 45 <= count < 50 else 100))
    tally = run(store, device.connect)
    assert tally.slow == 5
    assert BATCH.visit_ids(PLATFORM.digest) <= stored(store)
    slow = [visit_id for visit_id in stored(store) if "!slow" in visit_id]
    assert len(slow) == 5
    assert tally.stored == tally.total
    by_id = {each.visit.visit_id: each.visit for each in store.visits(store.add_platform(PLATFORM))}
    assert {by_id[visit_id].conditions.probe_ns for visit_id in slow} == {300}
    assert {by_id[visit_id.partition("!")[0]].conditions.probe_ns for visit_id in slow} == {100}


def test_a_device_whose_clock_jumps_loses_nothing(store: Store) -> None:
    def jumping(item: Item, count: int) -> Visit:
        at_ms = 1_800_000_000_000 - (count // 3) * 86_400_000
        return replace(at_speed(item, 300 if 45 <= count < 50 else 100), started_unix_ms=max(at_ms, 0))

    tally = run(store, ScriptedDevice(jumping).connect)
    assert (tally.slow, tally.stored, tally.failed) == (5, tally.total, 0)
    assert BATCH.visit_ids(PLATFORM.digest) <= stored(store)
    assert run(store, ScriptedDevice().connect).stored == 0


def test_what_stays_slow_is_accepted(store: Store) -> None:
    device = ScriptedDevice(lambda item, count: at_speed(item, 100 if count < 45 else 300))
    tally = run(store, device.connect)
    assert BATCH.visit_ids(PLATFORM.digest) <= stored(store)
    assert max(device.asked.values()) == 2
    assert tally.slow > 5


def test_a_slow_machine_is_refused_where_that_was_asked_for(store: Store) -> None:
    device = ScriptedDevice(lambda item, count: at_speed(item, 300 if count == 45 else 100))
    with pytest.raises(DeviceError, match=r"loaded or throttled: .*0\.000 ms.*leave --strict out"):
        run(store, device.connect, strict=True)
    assert len(stored(store)) == 45
    tally = run(store, ScriptedDevice(lambda item, _: at_speed(item, 100)).connect, strict=True)
    assert (tally.before, tally.stored) == (45, tally.total - 45)


def test_the_share_of_time_inside_timed_calls_is_told(store: Store) -> None:
    clock = FakeClock()

    def take(item: Item, count: int) -> Visit:
        clock.time_ns += 10_000_000
        return make_visit(item.visit_id, 1.0, count=5)

    assert run(store, ScriptedDevice(take).connect, clock=clock).timed_share == 0.5
    assert Tally().timed_share is None


def test_batches_are_counted_together(store: Store) -> None:
    tally = run(store, ScriptedDevice().connect)
    assert run(store, ScriptedDevice().connect, tally=tally) is tally
    assert tally.total == 2 * tally.stored == 2 * tally.before


def test_what_is_executed_is_asked_once_and_kept(store: Store) -> None:
    asked: list[str] = []

    class Resolving(ScriptedDevice):
        def resolve(self, items: Sequence[Item], *, backend: str) -> Iterator[Resolved]:
            for item in items:
                asked.append(item.visit_id)
                yield Resolved(visit_id=item.visit_id, status="ok", executed=(f"ran {item.visit_id}",))

    lut_id = store.add_platform(PLATFORM)
    units = list(WALKS[0].units("block"))
    store.append(lut_id, "unit", units[0].key, "ring", make_visit("x", status="unsupported"))
    for wanted in (units[:4], units):
        campaign(store, Resolving().connect).resolve([*wanted, *wanted])
    keys = {unit.key for unit in units[1:]}
    assert sorted(asked) == sorted(keys)
    assert store.executed(lut_id) == {key: (f"ran {key}",) for key in keys}
