import logging
import threading
from collections.abc import Callable, Sequence

import pytest

from chamnet.clock import SystemClock
from chamnet.energy import Rail, Reading
from chamnet.energy.recorder import Recorder, observe_period_s, poll_interval_s
from chamnet.errors import MeterError, MeterInterruptedError
from chamnet.testing import FakeClock
from chamnet_agent.power.testing import FakeMeter

MS = 1_000_000
S = 1_000 * MS
RAIL = Rail(name="fake", nature="counter", domain="package")


def told(
    clock: FakeClock, polls: int, delay_s: Callable[[int], float] = lambda poll: 0.0
) -> Callable[[float], bool]:
    """Return what makes a recorder read so often, each time that much late."""
    done = iter(range(polls))

    def stopped(wait_s: float) -> bool:
        poll = next(done, None)
        clock.sleep_s(wait_s + (0.0 if poll is None else delay_s(poll)))
        return poll is None

    return stopped


def test_it_reads_at_a_steady_pace() -> None:
    """A slow reading is made up for by a shorter wait."""
    clock = FakeClock(7 * S)
    times_ms: list[float] = []

    def say() -> tuple[float]:
        times_ms.append((clock.now_ns() - 7 * S) / MS)
        clock.sleep_s(0.002)
        return (clock.now_ns() / 1_000,)

    Recorder(FakeMeter(say=say), clock=clock, poll_s=0.01).run(told(clock, 5))
    assert times_ms == [10, 20, 30, 40, 50]


def test_readings_that_were_missed_are_not_made_up_for() -> None:
    clock = FakeClock()
    meter = FakeMeter(say=lambda: (clock.now_ns() / 1_000,))
    recorder = Recorder(meter, clock=clock, poll_s=0.01)
    recorder.run(told(clock, 20, lambda poll: 0.5 if poll == 3 else 0.0))
    assert meter.reads == 20
    assert clock.now_ns() == pytest.approx(0.71 * S, abs=0.011 * S)
    assert recorder.energy_uj("fake", 600 * MS, 690 * MS) == pytest.approx(90_000)  # 1 W


def test_a_slow_reading_counts_for_its_middle() -> None:
    clock = FakeClock()

    def say() -> tuple[float]:
        clock.sleep_s(0.004)
        value = clock.now_ns() / 1_000  # 1 W, true now
        clock.sleep_s(0.004)
        return (value,)

    recorder = Recorder(FakeMeter(say=say), clock=clock, poll_s=0.02)
    recorder.run(told(clock, 50))
    assert recorder.energy_uj("fake", 100 * MS, 900 * MS) == pytest.approx(800_000)


def test_a_failure_spoils_its_windows_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()

    def say() -> tuple[float]:
        if 300 * MS < clock.now_ns() < 400 * MS:
            raise MeterError("the phone is charging: unplug it")
        return (clock.now_ns() / 1_000,)

    recorder = Recorder(FakeMeter(say=say), clock=clock, poll_s=0.01)
    with caplog.at_level(logging.WARNING):
        recorder.run(told(clock, 70))
    assert len(caplog.records) == 1
    assert recorder.energy_uj("fake", 10 * MS, 300 * MS) == pytest.approx(290_000)
    assert recorder.power_w("fake", 410 * MS, 690 * MS).mean_w == pytest.approx(1)
    with pytest.raises(MeterInterruptedError, match="charging"):
        recorder.energy_uj("fake", 10 * MS, 500 * MS)


def test_a_meter_is_not_read_more_often_than_it_bears() -> None:
    meter = FakeMeter(period_s=0.16, shortest_poll_s=0.064)
    assert poll_interval_s(meter) >= 0.16
    with pytest.raises(ValueError, match=r"this meter bears 0\.064 s"):
        Recorder(meter, clock=FakeClock(), poll_s=0.05)
    assert poll_interval_s(FakeMeter(period_s=0.1, on_read=False)) == pytest.approx(0.025)
    assert poll_interval_s(FakeMeter(period_s=0.001, on_read=False)) >= 0.005


def test_a_real_period_is_observed() -> None:
    clock = FakeClock()
    rails = (RAIL, Rail(name="off", nature="counter", domain="gpu"))
    meter = FakeMeter(rails=rails, say=lambda: (clock.now_ns() // (17 * MS), 0.0), shortest_poll_s=0.001)
    assert observe_period_s(meter, clock, budget_s=2) == {"fake": pytest.approx(0.017), "off": None}
    assert clock.now_ns() == pytest.approx(2 * S, abs=0.1 * S)  # the one that is off was waited for


def test_only_the_rails_that_matter_are_looked_at() -> None:
    clock = FakeClock()
    rails = (RAIL, Rail(name="idle", nature="counter", domain="uncore"))
    meter = FakeMeter(
        rails=rails, say=lambda: (clock.now_ns() // MS, clock.now_ns() // (150 * MS)), shortest_poll_s=0.001
    )
    assert observe_period_s(meter, clock, rails=["fake"], budget_s=2) == {"fake": pytest.approx(0.001)}
    assert clock.now_ns() < 0.1 * S


@pytest.mark.parametrize(("every_s", "takes_s"), [(1, 5), (12, 36), (20, 60)])
def test_a_slow_rail_is_looked_at_for_longer(every_s: int, takes_s: float) -> None:
    clock = FakeClock(4 * S)
    meter = FakeMeter(say=lambda: (clock.now_ns() // (every_s * S),), shortest_poll_s=0.1)
    seen = observe_period_s(meter, clock, budget_s=5, patience_s=70)
    assert seen == {"fake": pytest.approx(every_s, rel=0.02)}
    assert clock.now_ns() <= (takes_s + 4.5) * S


def test_a_rail_that_is_hardly_updated_has_no_period() -> None:
    clock = FakeClock()
    meter = FakeMeter(say=lambda: (clock.now_ns() // (40 * S),), shortest_poll_s=0.1)
    assert observe_period_s(meter, clock, budget_s=5, patience_s=60) == {"fake": None}
    assert clock.now_ns() == pytest.approx(60 * S, abs=0.2 * S)


@pytest.mark.parametrize("lasts_s", [0.3, 100])
def test_a_meter_that_fails_while_it_is_looked_at_is_given_a_moment(lasts_s: float) -> None:
    clock = FakeClock()

    def say() -> tuple[float]:
        if S < clock.now_ns() < (1 + lasts_s) * S:
            raise MeterError("gone")
        return (clock.now_ns() // (200 * MS),)

    meter = FakeMeter(say=say, shortest_poll_s=0.01)
    if lasts_s > 1:
        with pytest.raises(MeterError, match="gone"):
            observe_period_s(meter, clock, budget_s=5, updates=20)
        assert clock.now_ns() < 4 * S
    else:
        assert observe_period_s(meter, clock, budget_s=5, updates=20) == {"fake": pytest.approx(0.2, rel=0.1)}


def test_it_forgets_what_is_not_needed() -> None:
    clock = FakeClock()
    recorder = Recorder(FakeMeter(say=lambda: (clock.now_ns() / 1_000,)), clock=clock, poll_s=0.01)
    recorder.run(told(clock, 100))
    recorder.forget(500 * MS)
    assert recorder.energy_uj("fake", 505 * MS, 805 * MS) == pytest.approx(300_000)
    with pytest.raises(MeterInterruptedError, match="forgotten"):
        recorder.energy_uj("fake", 100 * MS, 800 * MS)


class Dated(FakeMeter):
    """Tells energy with its time, 1 W, and so seldom that no wait on a busy machine is a gap."""

    def read(self) -> Sequence[Reading]:
        self.reads += 1
        t_ns = SystemClock().now_ns()
        return (Reading((t_ns / 1_000,), t_ns=t_ns),)


def test_a_thread_reads_while_it_is_entered_and_ends_with_it() -> None:
    clock = SystemClock()
    meter = Dated(period_s=3.0)
    with Recorder(meter, clock=clock, poll_s=0.002) as recorder:
        (thread,) = (each for each in threading.enumerate() if each.name == "meter")
        start_ns = clock.now_ns()
        clock.sleep_s(0.05)
        end_ns = clock.now_ns()
        recorder.settle(end_ns)
        energy_uj = recorder.energy_uj("fake", start_ns, end_ns)
        assert energy_uj == pytest.approx((end_ns - start_ns) / 1_000)
        assert recorder.update_period_s("fake") is not None
    assert meter.closed
    assert not thread.is_alive()
    reads = meter.reads
    clock.sleep_s(0.02)
    assert meter.reads == reads
    assert recorder.energy_uj("fake", start_ns, end_ns) == energy_uj


class Blocks(FakeMeter):
    """Tells what it saw a second and a half late, in a block."""

    settle_s = 10.0

    def read(self) -> Sequence[Reading]:
        now_ns = SystemClock().now_ns()
        if self.reads == 0:
            self.begin_ns = self.told_ns = now_ns
        self.reads += 1
        if self.reads > 1 and now_ns < self.told_ns + 1.5 * S:
            return ()
        times_ns = range(self.told_ns, now_ns, 10 * MS)
        self.told_ns = times_ns[-1] + 10 * MS if times_ns else now_ns
        return [Reading(((t_ns - self.begin_ns) / 1_000,), t_ns=t_ns) for t_ns in times_ns]


def test_what_is_told_in_blocks_is_waited_for() -> None:
    clock = SystemClock()
    with Recorder(Blocks(), clock=clock) as recorder:
        clock.sleep_s(0.1)
        start_ns = clock.now_ns()
        clock.sleep_s(0.2)
        end_ns = clock.now_ns()
        recorder.settle(end_ns)
        assert recorder.energy_uj("fake", start_ns, end_ns) == pytest.approx((end_ns - start_ns) / 1_000)


def test_a_stuck_counter_ends_the_wait() -> None:
    clock = SystemClock()
    with Recorder(FakeMeter(say=lambda: (5.0,)), clock=clock) as recorder:
        now_ns = clock.now_ns()
        with pytest.raises(MeterInterruptedError, match=r"no update of fake within 0\.05 s.*stuck"):
            recorder.settle(now_ns + MS, timeout_s=0.05)


def fails(clock: FakeClock, *, start_s: float, end_s: float) -> Recorder:
    """Return a recorder of a meter that cannot be read in between; it was read until a tenth of a second after the start."""

    def say() -> tuple[float]:
        if start_s * S < clock.now_ns() < end_s * S:
            raise MeterError("gone")
        return (clock.now_ns() / 1_000,)

    recorder = Recorder(FakeMeter(say=say), clock=clock, poll_s=0.01)
    recorder.run(told(clock, round(start_s / 0.01) + 10))
    return recorder


def test_a_meter_that_fails_for_long_is_not_waited_for() -> None:
    clock = FakeClock()
    recorder = fails(clock, start_s=1, end_s=1e9)
    recorder.run(told(clock, 220))
    recorder.settle(3_600 * S)
    with pytest.raises(MeterError, match="gone") as raised:
        recorder.energy_uj("fake", S, 2 * S)
    assert type(raised.value) is MeterError, "another window will not do"


def test_a_meter_that_fails_for_a_moment_is_waited_for() -> None:
    clock = FakeClock()
    recorder = fails(clock, start_s=1, end_s=1.2)
    with pytest.raises(MeterInterruptedError, match="gone"):
        recorder.settle(2 * S, timeout_s=0)
    recorder.run(told(clock, 200))
    recorder.settle(2 * S, timeout_s=0)
    with pytest.raises(MeterInterruptedError, match="gone"):
        recorder.energy_uj("fake", 500 * MS, 2 * S)
    assert recorder.energy_uj("fake", 1_300 * MS, 2 * S) == pytest.approx(700_000)
