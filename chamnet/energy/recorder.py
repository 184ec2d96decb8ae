"""Reads a meter in the background and answers for windows of time."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self

from chamnet.clock import Clock
from chamnet.energy.rails import Rail, Reading
from chamnet.energy.series import EnergySeries, PowerStats
from chamnet.errors import MeterError, MeterInterruptedError

__all__ = ["Recorder", "Source", "observe_period_s", "poll_interval_s"]

log = logging.getLogger(__name__)

_NS_PER_S = 1_000_000_000
_POLLS_PER_PERIOD = 4  # tells the time of an update to an eighth of the period
_LATE = 1.1  # of a period: a source that takes a value when read gives the last one again to who comes early
_LEAST_SEEN = 3  # updates that tell a period: looking began somewhere between two of them
_FASTEST_POLL_S = 0.005  # more often, reading itself costs more than a hundredth of a core
_SETTLE_PERIODS = 20
_SETTLE_LEAST_S = 1.0  # a busy machine reads late
_LOST_S, _LOST_POLLS = 2.0, 3  # without a reading that succeeds, a meter is taken for gone
_JOIN_S = 10.0


class Source(Protocol):
    """An open source of energy. One thread at a time reads it; reading starts and stops nothing on the device.

    Attributes:
        rails: What it knows, by unique names; they stay the same while it is open.
        period_s: Nominal time between updates of the source.
        shortest_poll_s: Reading more often than this is useless, or disturbs the source.
        on_read: Whether a reading is of its moment; else it is as old as the source's last update.

    A source whose values can be read long after they were true says how long, as `settle_s`; others need no such attribute.
    """

    rails: tuple[Rail, ...]
    period_s: float
    shortest_poll_s: float
    on_read: bool

    def read(self) -> Sequence[Reading]:
        """Return what the source says now: one reading, or what it recorded since the last call, oldest first.

        Raises:
            MeterError: It cannot be read now; the next call may succeed.
        """
        ...

    def close(self) -> None:
        """Give back what is open; calling it again does nothing."""
        ...


def poll_interval_s(meter: Source) -> float:
    """Return how often to read a meter: often enough to see each update, no more often than it bears."""
    wanted_s = meter.period_s * _LATE if meter.on_read else meter.period_s / _POLLS_PER_PERIOD
    return max(wanted_s, meter.shortest_poll_s, _FASTEST_POLL_S)


def observe_period_s(
    meter: Source,
    clock: Clock,
    *,
    rails: Iterable[str] | None = None,
    budget_s: float = 1.0,
    patience_s: float = 0.0,
    updates: int = 10,
) -> dict[str, float | None]:
    """Read a meter as often as it bears and return the time between updates of each rail; None below three.

    Args:
        meter: An open meter that nobody else reads.
        clock: To wait and to tell the time with.
        rails: Names of those that matter; all by default.
        budget_s: For all of it.
        patience_s: For so long, if more, while no rail was updated three times.
        updates: After so many of each rail it is enough.

    Raises:
        MeterError: The meter cannot be read, for some seconds.
    """
    series = EnergySeries(meter.rails, period_s=meter.shortest_poll_s, on_read=True)
    start_ns = now_ns = read_ns = clock.now_ns()
    seen = dict.fromkeys((rail.name for rail in meter.rails) if rails is None else rails, 0)
    while (now_ns < start_ns + budget_s * _NS_PER_S and min(seen.values()) <= updates) or (
        now_ns < start_ns + patience_s * _NS_PER_S and max(seen.values()) < _LEAST_SEEN
    ):
        try:
            for reading in meter.read():
                series.add(reading, now_ns)
            read_ns = now_ns
        except MeterError as error:
            series.interrupt(error, now_ns)
            if now_ns - read_ns > _LOST_S * _NS_PER_S:
                raise
        seen = {name: series.update_count(name) for name in seen}
        clock.sleep_s(meter.shortest_poll_s)
        now_ns = clock.now_ns()
    return {
        name: series.update_period_s(name) if count >= _LEAST_SEEN else None for name, count in seen.items()
    }


class Recorder:
    """Keeps what a meter says while it is entered; times are those of the clock passed in.

    Safe to ask from any thread. Reading costs some 50 µs of a core each time, so run it where nothing is timed; on
    Linux, monotonic times of different processes are the same.

    Args:
        meter: Open, read by nobody else; closed at the end.
        clock: Monotonic.
        poll_s: Time between readings; a suitable one by default.
        max_points: Kept per rail; the oldest are forgotten beyond it. The default is some 2 MB per rail.

    Raises:
        ValueError: The meter must not be read that often.

    ```python
    with Recorder(registry.open_meter("rapl"), clock=clock) as recorder:
        start_ns = clock.now_ns()
        work()
        end_ns = clock.now_ns()
        recorder.settle(end_ns)
        energy_uj = sum(recorder.energy_uj(rail.name, start_ns, end_ns) for rail in choose(recorder.rails))
    ```
    """

    def __init__(
        self, meter: Source, *, clock: Clock, poll_s: float | None = None, max_points: int = 100_000
    ) -> None:
        if poll_s is not None and poll_s < meter.shortest_poll_s:
            raise ValueError(
                f"{poll_s} s between readings is too short; this meter bears {meter.shortest_poll_s} s"
            )
        self.poll_s = poll_interval_s(meter) if poll_s is None else poll_s
        self._meter = meter
        self._clock = clock
        self._series = EnergySeries(
            meter.rails, period_s=meter.period_s, on_read=meter.on_read, max_points=max_points
        )
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    @property
    def rails(self) -> tuple[Rail, ...]:
        """The meter's rails."""
        return self._series.rails

    def __enter__(self) -> Self:
        """Read once, so that windows may start now, then go on in a thread."""
        self._stop.clear()
        self.poll()
        self._thread = threading.Thread(target=self.run, args=(self._stop.wait,), name="meter", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread and close the meter; what was recorded can still be asked for."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
        self._meter.close()

    def run(self, stopped: Callable[[float], bool]) -> None:
        """Read at a steady pace until told to stop.

        Args:
            stopped: Waits for so many seconds and returns whether to stop.
        """
        interval_ns = round(self.poll_s * _NS_PER_S)
        next_ns = self._clock.now_ns() + interval_ns
        while not stopped(max(0, next_ns - self._clock.now_ns()) / _NS_PER_S):
            self.poll()
            next_ns += interval_ns
            if (
                now_ns := self._clock.now_ns()
            ) > next_ns:  # late: a burst of readings would tell nothing more
                next_ns = now_ns + interval_ns

    def poll(self) -> None:
        """Read once. A failure is kept for the windows that contain it."""
        before_ns = self._clock.now_ns()
        try:
            readings = self._meter.read()
        except MeterError as error:
            self._fail(error)
            return
        self._failing = False
        now_ns = (before_ns + self._clock.now_ns()) // 2
        with self._news:
            for reading in readings:
                self._series.add(reading, now_ns)
            self._news.notify_all()

    def _fail(self, error: MeterError) -> None:
        if not self._failing:  # said once, however long it lasts
            log.warning("meter: %s", error)
        self._failing = True
        with self._news:
            self._series.interrupt(error, self._clock.now_ns())
            self._news.notify_all()

    def settle(
        self, until_ns: int, rails: Iterable[str] | None = None, *, timeout_s: float | None = None
    ) -> None:
        """Wait until windows that end at `until_ns` can be told.

        Args:
            until_ns: End of the window.
            rails: Names of those that matter; all by default.
            timeout_s: 20 periods of the meter by default, a second or the meter's `settle_s` at least. A meter that fails for long is not waited
                for: asked for energy, it says why.

        Raises:
            MeterInterruptedError: A rail was not updated in time: it is stuck, or switched off, or cannot be read for now.
        """
        names = tuple(rails) if rails is not None else tuple(rail.name for rail in self.rails)
        if timeout_s is None:
            least_s = getattr(self._meter, "settle_s", _SETTLE_LEAST_S)
            timeout_s = max(_SETTLE_PERIODS * max(self._meter.period_s, self.poll_s), least_s)
        with self._news:
            if not self._news.wait_for(lambda: not self._waiting(names, until_ns), timeout_s):
                waiting = self._waiting(names, until_ns)
                for failure in filter(None, map(self._series.failure, waiting)):
                    raise MeterInterruptedError(str(failure[1]))
                late = ", ".join(waiting)
                raise MeterInterruptedError(
                    f"no update of {late} within {timeout_s:.3g} s after the window: the counter is stuck, or the"
                    " rail is switched off; choose other rails"
                )

    def energy_uj(self, rail: str, start_ns: int, end_ns: int) -> float:
        """Return the energy that went through a rail between two times, in µJ.

        Raises:
            MeterError: It cannot be told; says why. `MeterInterruptedError` where another window may do.
        """
        with self._news:
            return self._series.energy_uj(rail, start_ns, end_ns)

    def energies_uj(self, rail: str, edges_ns: Sequence[int]) -> list[float]:
        """Return the energy that went through a rail from the first of many times, in their order, up to each, in µJ.

        Raises:
            MeterError: It cannot be told for all of that time; says why.
        """
        with self._news:
            return self._series.energies_uj(rail, edges_ns)

    def power_w(self, rail: str, start_ns: int, end_ns: int, *, block_periods: float = 10.0) -> PowerStats:
        """Return mean and spread of a rail's power between two times; blocks are that many periods of updates long.

        Raises:
            MeterError: It cannot be told; says why.
        """
        with self._news:
            return self._series.power_w(rail, start_ns, end_ns, block_periods=block_periods)

    def update_period_s(self, rail: str) -> float | None:
        """Return the median time between a rail's latest updates; None below two. No shorter than `poll_s`."""
        with self._news:
            return self._series.update_period_s(rail)

    def forget(self, before_ns: int) -> None:
        """Let go of what no window from `before_ns` on needs."""
        with self._news:
            self._series.forget(before_ns)

    def _waiting(self, names: Iterable[str], until_ns: int) -> list[str]:
        return [name for name in names if not self._series.covers(name, until_ns) and not self._is_lost(name)]

    def _is_lost(self, name: str) -> bool:
        failure = self._series.failure(name)
        lost_ns = max(_LOST_S, _LOST_POLLS * self.poll_s) * _NS_PER_S
        return failure is not None and self._clock.now_ns() - failure[0] > lost_ns
