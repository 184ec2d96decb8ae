from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from chamnet.errors import DeviceBusyError, DeviceLostError, StoreError, TokenError
from chamnet.lut import Effort, Plan, Store, make_plan
from chamnet.records import Item, Policy, Visit
from chamnet.space import load_space, unit_grid
from chamnet.testing import FakeClock, make_platform, make_visit
from chamnet_host.campaign import Connect, Tally, run_campaign
from chamnet_host.client import DeviceClient

PLAN = make_plan(unit_grid(load_space("chamnet-res"), "block"), Effort(units=40, visits=2, network_visits=2))
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


def run(store: Store, connect: Connect, plan: Plan = PLAN, clock: FakeClock | None = None) -> Tally:
    lut_id = store.add_platform(PLATFORM)
    facts = {"lut_id": lut_id, "digest": PLATFORM.digest, "backend": "fake", "progress": lambda tally: None}
    facts["clock"] = clock or FakeClock()
    return run_campaign(plan, connect, store, **facts)  # type: ignore[arg-type]


def stored(store: Store) -> set[str]:
    return store.visit_ids(store.add_platform(PLATFORM))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s.db") as opened:
        yield opened


def test_everything_planned_is_stored(store: Store) -> None:
    tally = run(store, ScriptedDevice().connect)
    assert stored(store) == PLAN.visit_ids(PLATFORM.digest)
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
    assert stored(store) == PLAN.visit_ids(PLATFORM.digest)
    assert tally.reconnects == 2
    assert sum(device.asked.values()) == tally.total + 2  # only the two in flight were asked for twice


def test_a_busy_device_is_waited_for(store: Store) -> None:
    busy = iter(range(3))

    def hold(item: Item, count: int) -> None:
        if count == 30 and next(busy, None) is not None:
            raise DeviceBusyError("another host is at work")

    clock = FakeClock()
    tally = run(store, ScriptedDevice(hold).connect, clock=clock)
    assert (tally.reconnects, clock.time_ns) == (0, 3_000_000_000)
    assert stored(store) == PLAN.visit_ids(PLATFORM.digest)


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
    assert PLAN.visit_ids(PLATFORM.digest) <= stored(store)
    assert tally.failed == 1
    assert len(stored(store)) == tally.total + 1  # the crash is kept as well


def test_an_item_that_always_crashes_is_given_up(store: Store) -> None:
    bad = PLAN.units[3].key
    device = ScriptedDevice(
        lambda item, _: make_visit(item.visit_id, status="crashed") if item.blocks == (bad,) else None
    )
    run(store, device.connect)
    lut_id = store.add_platform(PLATFORM)
    assert set(store.failed_items(lut_id)) == {("unit", bad)}
    assert 3 <= len([s for s in store.visits(lut_id) if s.key == bad]) <= 4


def test_unsupported_is_asked_once(store: Store) -> None:
    bad = PLAN.units[3].key
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
    assert stored(store) == PLAN.visit_ids(PLATFORM.digest)
