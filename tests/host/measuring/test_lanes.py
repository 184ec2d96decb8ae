"""Several devices of one kind share a campaign."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from chamnet.clock import SystemClock
from chamnet.errors import DeviceBusyError, DeviceError, DeviceLostError, StoreError, WorkerError
from chamnet.lut import Batch, Store
from chamnet.networks import find
from chamnet.records import Conditions, Item, Policy, Resolved, Visit
from chamnet.testing import FakeClock, make_platform, make_visit
from chamnet_host.client import DeviceClient
from chamnet_host.measuring.campaign import Campaign, Tally
from chamnet_host.measuring.lanes import Lane

WALKS = tuple(find(name).build() for name in ("chamnet-a", "chamnet-c", "chamnet-e", "chamnet-f"))
BATCH = Batch(
    number=0, walks=WALKS, granularity="block", laps=4, networks=WALKS[:2], rounds=(0, 1), session=0
)
PLATFORM = make_platform()
PLANNED = BATCH.visit_ids(PLATFORM.digest)
LIMIT_S = 60.0  # for what takes a moment on an idle machine


class Device:
    """Answers `measure` in whatever thread asks; `before` may raise, wait or change the visit."""

    def __init__(self, before: Callable[[Item, int], Visit | None] = lambda item, count: None) -> None:
        self.before = before
        self.asked: Counter[str] = Counter()
        self.sent = 0
        self.hung_up = threading.Event()

    @contextmanager
    def connect(self) -> Iterator[DeviceClient]:
        yield cast(DeviceClient, self)

    def measure(self, items: Sequence[Item], policy: Policy, **_: Any) -> Iterator[Visit]:
        for item in items:
            self.asked[item.visit_id] += 1
            visit = self.before(item, self.sent) or make_visit(item.visit_id)
            self.sent += 1
            yield visit

    def close(self) -> None:
        self.hung_up.set()


def anchors(*serials: str) -> set[str]:
    requests = [r for s in serials for r in BATCH.anchors(PLATFORM.digest, s, set(), set())]
    return {item.visit_id for request in requests for item in request.items}


def campaign(store: Store, devices: dict[str, Device], *, strict: bool = False, **options: Any) -> Campaign:
    of_lane = {name: options.pop(name) for name in ("patience_s", "clock") if name in options}
    lanes = [
        Lane(connect=d.connect, serial=s, strict=strict, **{"clock": FakeClock(), **of_lane})
        for s, d in devices.items()
    ]
    lut_id = store.add_platform(PLATFORM)
    return Campaign(lanes=lanes, store=store, lut_id=lut_id, digest=PLATFORM.digest, strict=strict, **options)


def run(store: Store, devices: dict[str, Device], **options: Any) -> Tally:
    made = campaign(store, devices, **options)
    made.run(BATCH)
    return made.tally


def stored(store: Store) -> dict[str, str]:
    """Return visit id -> serial."""
    return {each.visit.visit_id: each.serial for each in store.visits(store.add_platform(PLATFORM))}


def lane_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lane-")]


def together(barrier: threading.Barrier) -> Callable[[Item, int], None]:
    """Return what lets a device begin with what is shared only when another one does, too."""
    begun: list[str] = []

    def before(item: Item, count: int) -> None:
        if item.visit_id in PLANNED and not begun:
            begun.append(item.visit_id)
            barrier.wait(LIMIT_S)

    return before


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s.db") as opened:
        yield opened
    assert not lane_threads()


@pytest.fixture
def pair() -> dict[str, Device]:
    """Return two devices that begin together, so that both do something."""
    barrier = threading.Barrier(2)
    return {"A": Device(together(barrier)), "B": Device(together(barrier))}


def test_two_devices_share_the_plan_of_one(store: Store, pair: dict[str, Device]) -> None:
    tally = run(store, pair)
    found = stored(store)
    assert found.keys() == PLANNED | anchors("A", "B")
    assert max((pair["A"].asked + pair["B"].asked).values()) == 1  # nothing is measured twice
    assert all(found[visit_id] == serial for serial, device in pair.items() for visit_id in device.asked)
    assert (tally.stored, tally.before) == (tally.total, 0)
    assert {serial: share.stored for serial, share in tally.shares.items()} == {
        serial: device.sent for serial, device in pair.items()
    }
    assert all(set(device.asked) & PLANNED for device in pair.values())


def test_each_device_measures_what_they_are_compared_by(store: Store, pair: dict[str, Device]) -> None:
    run(store, pair)
    for serial, device in pair.items():
        assert {visit_id for visit_id in device.asked if "/at/" in visit_id} == anchors(serial)


def test_a_second_run_measures_nothing_with_however_many(store: Store, pair: dict[str, Device]) -> None:
    run(store, pair)
    for serials in ("A", "AB", "ABC"):
        again = {serial: Device() for serial in serials}
        tally = run(store, again)
        assert (tally.stored, tally.before) == (0, len(PLANNED))
        assert not any(device.sent for device in again.values())


def test_two_continue_what_one_began_and_one_what_two_began(store: Store, pair: dict[str, Device]) -> None:
    def stop(item: Item, count: int) -> None:
        if count == 45:
            raise KeyboardInterrupt

    def stop_with_both_at_work(item: Item, count: int) -> None:
        begin(item, count)
        if item.visit_id in PLANNED:
            raise KeyboardInterrupt

    begin, pair["B"].before = pair["B"].before, stop_with_both_at_work
    with pytest.raises(KeyboardInterrupt):
        run(store, {"A": Device(stop)})
    held = set(stored(store))
    with pytest.raises(KeyboardInterrupt):
        run(store, pair)
    tally = run(store, {"B": (last := Device())})
    assert stored(store).keys() >= PLANNED
    assert tally.before + tally.stored == tally.total == len(PLANNED)
    whole = {visit_id for visit_id in held if "/whole/" in visit_id}
    assert not whole & last.asked.keys()  # walks that broke off are made again, whole networks never


def test_the_others_take_over_from_a_device_that_is_lost(store: Store, pair: dict[str, Device]) -> None:
    begin = pair["B"].before

    def die(item: Item, count: int) -> None:
        begin(item, count)
        if count >= 10:
            pair["B"].asked[item.visit_id] -= 1
            raise DeviceLostError("B: gone for good")

    pair["B"].before = die
    tally = run(store, pair)
    found = stored(store)
    assert found.keys() >= PLANNED
    assert list(found.values()).count("B") == 10
    assert (tally.stored, tally.shares["B"].lost, tally.shares["A"].lost) == (
        tally.total,
        "B: gone for good",
        "",
    )


def test_a_device_that_is_lost_is_not_waited_for_when_the_work_is_done(
    store: Store, pair: dict[str, Device]
) -> None:
    begin_a, begin_b, waited_for = pair["A"].before, pair["B"].before, threading.Event()

    def leave_work(item: Item, count: int) -> None:
        begin_a(item, count)
        if item.visit_id in PLANNED:
            assert waited_for.wait(LIMIT_S)

    def die(item: Item, count: int) -> None:
        begin_b(item, count)
        if count >= 10:
            raise DeviceLostError("gone")

    def look(tally: Tally) -> None:
        if tally.shares["B"].waiting.startswith("lost; trying for another "):
            waited_for.set()

    pair["A"].before, pair["B"].before = leave_work, die
    made = campaign(store, pair, patience_s=600, clock=SystemClock(), progress=look)
    began_s = time.monotonic()
    made.run(BATCH)
    assert waited_for.is_set()
    assert time.monotonic() - began_s < LIMIT_S  # a tenth of its patience
    assert stored(store).keys() >= PLANNED
    assert made.tally.shares["B"].lost == "gone"


def test_a_device_that_comes_back_goes_on(store: Store, pair: dict[str, Device]) -> None:
    begin_a, begin_b, back = pair["A"].before, pair["B"].before, threading.Event()

    def leave_work(item: Item, count: int) -> None:
        begin_a(item, count)
        if item.visit_id in PLANNED:
            assert back.wait(LIMIT_S)

    def lose(item: Item, count: int) -> None:
        begin_b(item, count)
        if count == 10:
            pair["B"].sent += 1
            raise DeviceLostError("gone")
        if count > 10:
            back.set()

    pair["A"].before, pair["B"].before = leave_work, lose
    tally = run(store, pair)
    assert stored(store).keys() == PLANNED | anchors("A", "B")
    assert (tally.reconnects, tally.stored) == (1, tally.total)
    assert tally.shares["B"].lost == ""


@pytest.mark.parametrize(
    "error", [DeviceBusyError("another host is at work"), WorkerError("its worker does not start")]
)
def test_a_device_that_does_not_measure_leaves_its_work_to_the_others(store: Store, error: Exception) -> None:
    def refuse(item: Item, count: int) -> None:
        raise error

    tally = run(store, {"A": Device(), "B": Device(refuse)})
    assert stored(store).keys() == PLANNED | anchors("A")
    assert tally.shares["B"].lost == str(error)
    assert tally.stored == tally.total


def test_what_a_busy_device_was_to_measure_is_done_by_the_others(store: Store) -> None:
    free = threading.Event()

    def hold(item: Item, count: int) -> None:
        if item.visit_id in PLANNED and not free.is_set():
            raise DeviceBusyError("another host is at work")

    def look(tally: Tally) -> None:
        if {i for i in stored(store) if "/at/" not in i} == PLANNED:
            free.set()  # were it waited for, this would never be

    tally = run(store, {"A": Device(), "B": Device(hold)}, progress=look, clock=SystemClock())
    assert stored(store).keys() == PLANNED | anchors("A", "B")
    assert tally.shares["B"].lost == ""


def test_losing_every_device_ends_with_what_to_do(store: Store) -> None:
    def die(item: Item, count: int) -> None:
        if count >= 10:
            raise DeviceLostError("gone for good")

    with pytest.raises(
        DeviceLostError,
        match=r"every device was lost: A, B; \d+ of \d+ visits are stored, the same command continues.*B: gone for good",
    ):
        run(store, {"A": Device(die), "B": Device(die)})
    assert 10 < len(stored(store)) <= 20  # the walk that the first one left was begun again by the second


def test_a_device_given_up_in_one_batch_is_not_asked_in_the_next(store: Store) -> None:
    def die(item: Item, count: int) -> None:
        raise DeviceLostError("gone for good")

    devices = {"A": Device(), "B": Device(die)}
    made = campaign(store, devices, patience_s=0)
    made.run(BATCH)
    asked = sum(devices["B"].asked.values())
    later = replace(BATCH, number=1, rounds=(2, 3))
    made.run(later)
    assert sum(devices["B"].asked.values()) == asked
    assert later.visit_ids(PLATFORM.digest) <= stored(store).keys()
    assert made.tally.total == made.tally.stored
    assert not [i for i in stored(store) if "/at/A/1." in i]  # alone, there is nobody to be compared with


def hang(device: Device) -> Callable[[Item, int], None]:
    """Return what waits for a device's connection to be closed, as a call over a network does."""

    def before(item: Item, count: int) -> None:
        if count >= 10:
            assert device.hung_up.wait(LIMIT_S)
            raise DeviceLostError("cancelled")

    return before


def test_ctrl_c_breaks_all_off_and_keeps_what_is_stored(store: Store) -> None:
    def stop(tally: Tally) -> None:
        if tally.shares["A"].stored == 10 and tally.shares["B"].stored == 10:
            raise KeyboardInterrupt

    devices = {"A": Device(), "B": Device()}
    for device in devices.values():
        device.before = hang(device)
    with pytest.raises(KeyboardInterrupt):
        run(store, devices, progress=stop)
    assert not lane_threads()
    held = set(stored(store))
    tally = run(store, {"A": (a := Device()), "B": (b := Device())})
    assert len(held) == tally.before == 20
    assert stored(store).keys() == PLANNED | anchors("A", "B")
    assert not {i for i in held if "/whole/" in i} & (a.asked + b.asked).keys()


def test_what_ends_one_ends_all(store: Store) -> None:
    def at_speed(item: Item, count: int) -> Visit:
        probe_ns = 300 if count == 45 else 100
        return replace(make_visit(item.visit_id), conditions=Conditions(probe_ns=probe_ns))

    other = Device()
    other.before = hang(other)
    with pytest.raises(DeviceError, match="loaded or throttled"):
        run(store, {"A": Device(at_speed), "B": other}, strict=True)
    assert not lane_threads()


def test_a_full_disk_ends_all(store: Store) -> None:
    def fill(tally: Tally) -> None:
        if tally.stored == 20:
            pages = store._db.execute("PRAGMA page_count").fetchone()[0]
            store._db.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreError, match="disk is full"):
        run(store, {"A": Device(), "B": Device()}, progress=fill)
    assert not lane_threads()
    store._db.execute("PRAGMA max_page_count = 1000000")
    run(store, {"A": Device(), "B": Device()})
    assert stored(store).keys() == PLANNED | anchors("A", "B")


def test_each_device_has_its_own_usual_speed(store: Store) -> None:
    def at(probe_ns: int) -> Callable[[Item, int], Visit]:
        return lambda item, _: replace(make_visit(item.visit_id), conditions=Conditions(probe_ns=probe_ns))

    assert run(store, {"A": Device(at(100)), "B": Device(at(300))}).slow == 0


def test_another_device_says_what_is_executed_where_one_is_lost(store: Store) -> None:
    class Resolving(Device):
        def resolve(self, items: Sequence[Item], *, backend: str) -> Iterator[Resolved]:
            for item in items:
                yield Resolved(visit_id=item.visit_id, status="ok", executed=("ran",))

    class Lost(Device):
        def resolve(self, items: Sequence[Item], *, backend: str) -> Iterator[Resolved]:
            raise DeviceLostError("gone")

    units = list(WALKS[0].units("block"))
    campaign(store, {"A": Lost(), "B": Resolving()}).resolve(units)
    assert store.executed(store.add_platform(PLATFORM)).keys() == {unit.key for unit in units}
    with pytest.raises(DeviceLostError):
        campaign(store, {"A": Lost(), "B": Lost()}).resolve(WALKS[1].units("block"))
