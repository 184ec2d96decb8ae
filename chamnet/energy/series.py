"""The energy of a window of time, from what a meter says.

Sources are of two natures: a counter grows by the energy that went through (µJ, may wrap around); power is sampled (W) and becomes energy
by the trapezoid rule. `EnergySeries` turns both into points (time, µJ since the start) and answers for windows of time
by linear interpolation between points. An update later or earlier at either end moves the answer by at most the power
times the period of updates, so a window of 50 periods is right to about 2 %.

What breaks a series (a counter that was reset, a phone put on its charger) spoils the windows that contain the break,
and no others.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from chamnet.energy.rails import Rail, Reading
from chamnet.errors import ConfigError, MeterError, MeterInterruptedError

__all__ = ["EnergySeries", "PowerStats"]

_NS_PER_S = 1_000_000_000
_US_PER_NS = 1e-3  # W x ns = nJ
_MOST_W = (
    2_000.0  # no rail that wraps around draws more: a step beyond it is a reset, a gap beyond it hides a wrap
)
_LEAST_W = -0.05  # the sensor of a whole device is off by this much
_LEAST_PART_W = -0.5  # that of a board's idle rail by some steps: 40 µV over 5 mΩ are 0.15 W at 19 V
_WHOLE = ("device", "battery")
_CHARGED = "a battery is being charged, or the sign of its current is turned round in the device profile"
_GAP_PERIODS = 10  # without an update for that long, and for a tenth of the window, a window cannot be told
_GAP_SHARE = 0.1
_KEPT_INTERVALS = 255
_MAX_POINTS = 100_000  # per rail, 24 bytes each: eight minutes of updates every 5 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerStats:
    """Power of a rail in a window.

    Attributes:
        mean_w: Energy by time.
        std_w: Standard deviation of the means of blocks of time; None below two blocks.
        blocks: How many there were.
        updates: Updates of the source in the window.
        period_s: Time between updates, as observed; None below two updates.
        edge_s: Between the updates around the start, and around the end, together: the energy is off by no more than
            this times what the power changes by there.
    """

    mean_w: float
    std_w: float | None
    blocks: int
    updates: int
    period_s: float | None
    edge_s: float


class EnergySeries:
    """Points of a meter's rails, oldest first, and what went through the rails between two times. Not thread-safe.

    Args:
        rails: Of the meter.
        period_s: Nominal time between its updates.
        on_read: Whether values are of the moment of reading; else they are as old as the last update.
        max_points: Per rail; beyond it the oldest are forgotten.
    """

    def __init__(
        self, rails: Sequence[Rail], *, period_s: float, on_read: bool = False, max_points: int = _MAX_POINTS
    ) -> None:
        self.rails = tuple(rails)
        self._tracks = {rail.name: _Track(rail, period_s, on_read, max_points) for rail in rails}

    def add(self, reading: Reading, now_ns: int) -> None:
        """Take a reading that was made at `now_ns`.

        Raises:
            ValueError: It has another number of values than there are rails.
        """
        if len(reading.values) != len(self.rails):
            raise ValueError(f"a reading of {len(reading.values)} values for {len(self.rails)} rails")
        reasons = reading.why_not or ("",) * len(self.rails)
        for track, value, why_not in zip(self._tracks.values(), reading.values, reasons, strict=True):
            track.add(value, reading, now_ns, why_not)

    def interrupt(self, error: MeterError, now_ns: int) -> None:
        """Note that the meter cannot be read: windows that reach past the last point fail with this error.

        Once it is read again, it was a window's misfortune: they fail with `MeterInterruptedError`.
        """
        for track in self._tracks.values():
            track.interrupt(error, now_ns)

    def forget(self, before_ns: int) -> None:
        """Let go of what no window from `before_ns` on needs."""
        for track in self._tracks.values():
            track.forget(before_ns)

    def covers(self, rail: str, until_ns: int) -> bool:
        """Return whether the rail was read until then, so that a window can be told, or told to be spoiled."""
        return self._track(rail).covers(until_ns)

    def failure(self, rail: str) -> tuple[int, MeterError] | None:
        """Return since when a rail cannot be read, and why; None where it can."""
        return self._track(rail).failure()

    def energy_uj(self, rail: str, start_ns: int, end_ns: int) -> float:
        """Return the energy that went through a rail between two times, in µJ.

        Raises:
            MeterInterruptedError: The window reaches beyond what was recorded, or contains a reset or a long gap.
            MeterError: The meter could not be read in between, and still cannot; says why.
        """
        track = self._track(rail)
        track.check(start_ns, end_ns)
        return track.at(end_ns) - track.at(start_ns)

    def energies_uj(self, rail: str, edges_ns: Sequence[int]) -> list[float]:
        """Return the energy that went through a rail from the first of many times, in their order, up to each, in µJ: one window, as to gaps.

        Raises:
            MeterError: As `energy_uj` does.
        """
        track = self._track(rail)
        track.check(edges_ns[0], edges_ns[-1])
        start_uj = track.at(edges_ns[0])
        return [track.at(edge) - start_uj for edge in edges_ns]

    def power_w(self, rail: str, start_ns: int, end_ns: int, *, block_periods: float = 10.0) -> PowerStats:
        """Return mean and spread of a rail's power between two times.

        Args:
            rail: Its name.
            start_ns: Start of the window.
            end_ns: End of the window.
            block_periods: Length of the blocks whose means are compared, in periods of updates.

        Raises:
            MeterError: As `energy_uj` does.
        """
        energy_uj = self.energy_uj(rail, start_ns, end_ns)
        track = self._track(rail)
        block_ns = block_periods * track.period_ns()
        blocks = max(1, int((end_ns - start_ns) / block_ns))
        edges = [start_ns + round(i * (end_ns - start_ns) / blocks) for i in range(blocks + 1)]
        energies = [track.at(edge) for edge in edges]
        means = [_power_w(energies[i + 1] - energies[i], edges[i + 1] - edges[i]) for i in range(blocks)]
        return PowerStats(
            mean_w=_power_w(energy_uj, end_ns - start_ns),
            std_w=stdev(means, xbar=fmean(means)) if blocks > 1 else None,
            blocks=blocks,
            updates=track.updates(start_ns, end_ns),
            period_s=self.update_period_s(rail),
            edge_s=(track.edge_ns(start_ns) + track.edge_ns(end_ns)) / _NS_PER_S,
        )

    def update_period_s(self, rail: str) -> float | None:
        """Return the median time between the latest updates; None below two.

        It is no shorter than the time between readings.
        """
        observed_ns = self._track(rail).observed_ns()
        return None if observed_ns is None else observed_ns / _NS_PER_S

    def update_count(self, rail: str) -> int:
        """Return how many updates of a rail were seen after the first."""
        return self._track(rail).seen

    def _track(self, rail: str) -> "_Track":
        if rail not in self._tracks:
            raise ConfigError(f"rail {rail!r} is not known here; known: {', '.join(self._tracks)}")
        return self._tracks[rail]


def _power_w(energy_uj: float, duration_ns: int) -> float:
    return energy_uj / (duration_ns * _US_PER_NS)


@dataclass(slots=True)
class _Break:
    """Between these times nothing is known."""

    start_ns: int
    end_ns: int | None  # None: nothing was read since
    why: str
    kind: type[MeterError] = MeterInterruptedError
    noticed_ns: int = 0

    def error(self) -> MeterError:
        """Return the error anew: raised twice, one and the same would grow its traceback."""
        return self.kind(self.why) if self.end_ns is None else MeterInterruptedError(self.why)


class _Track:
    """The points of one rail: counters have one per update, power one per reading."""

    def __init__(self, rail: Rail, period_s: float, on_read: bool, max_points: int) -> None:
        self._rail = rail
        self._nominal_ns = max(1, round(period_s * _NS_PER_S))
        self._on_read = on_read
        self._max_points = max_points
        self._t_ns = array("q")
        self._uj = array("d")
        self._updates = array("q")
        self._breaks: list[_Break] = []
        self._intervals: deque[int] = deque(maxlen=_KEPT_INTERVALS)
        self._last: tuple[float, int | None] | None = None  # value and stamp of the last update
        self._last_update_ns = 0
        self._last_read_ns = 0
        self._forgotten = False
        self._aged = False  # the last point opens a stretch, and its value may be up to a period old
        self.seen = 0

    def add(self, value: float, reading: Reading, now_ns: int, why_not: str = "") -> None:
        try:
            self._check_value(value, why_not)
        except MeterError as error:
            self.interrupt(error, now_ns)
            return
        t_ns = now_ns if reading.t_ns is None else reading.t_ns
        if self._t_ns and t_ns <= self._t_ns[-1]:
            return  # a source that repeats itself says nothing new
        first = self._last is None or self._is_broken()
        updated = first or self._is_update(value, reading)
        if self._rail.nature == "power":
            self._append(t_ns, 0.0 if first else self._trapezoid_uj(value, t_ns), updated)
            self._last = (value, reading.stamp)
        elif updated:
            seen_ns = self._seen_ns(t_ns) if reading.t_ns is None and not first else t_ns
            step_uj = 0.0 if first else self._step_uj(value, seen_ns, unread_ns=t_ns - self._last_read_ns)
            if self._aged:
                self._date_first(seen_ns)
            self._aged = first and not self._on_read and reading.t_ns is None
            self._append(seen_ns, step_uj, updated)
            self._last = (value, reading.stamp)
        self._last_read_ns = t_ns

    def interrupt(self, error: MeterError, now_ns: int) -> None:
        if not self._is_broken():
            start_ns = self._t_ns[-1] if self._t_ns else -(1 << 62)
            self._breaks.append(_Break(start_ns, None, str(error), type(error), now_ns))

    def forget(self, before_ns: int) -> None:
        self._drop(max(0, bisect_right(self._t_ns, before_ns) - 1))

    def covers(self, until_ns: int) -> bool:
        return bool(self._t_ns) and self._t_ns[-1] >= until_ns

    def failure(self) -> tuple[int, MeterError] | None:
        return (self._breaks[-1].noticed_ns, self._breaks[-1].error()) if self._is_broken() else None

    def check(self, start_ns: int, end_ns: int) -> None:
        """Refuse a window whose energy is not known."""
        if end_ns <= start_ns:
            raise ValueError(f"a window from {start_ns} to {end_ns} ns has no length")
        for each in self._breaks:
            if each.start_ns < end_ns and (each.end_ns is None or start_ns < each.end_ns):
                raise each.error()
        if not self._t_ns or start_ns < self._t_ns[0]:
            why = "its points were forgotten" if self._forgotten else "recording began later"
            raise MeterInterruptedError(
                f"rail {self._rail.name!r} does not know the start of the window: {why}"
            )
        if end_ns > self._t_ns[-1]:
            late_s = (end_ns - self._t_ns[-1]) / _NS_PER_S
            raise MeterInterruptedError(
                f"rail {self._rail.name!r} has not been updated since {late_s:.3g} s before the end of the window:"
                " wait for its next update; if none comes, the counter is stuck or the rail switched off"
            )
        self._check_gaps(start_ns, end_ns)

    def at(self, t_ns: int) -> float:
        """Return the energy since the start, by interpolation; `check` knows whether it can be told."""
        right = bisect_left(self._t_ns, t_ns)
        if self._t_ns[right] == t_ns:
            return self._uj[right]
        left_ns, right_ns = self._t_ns[right - 1], self._t_ns[right]
        left_uj, right_uj = self._uj[right - 1], self._uj[right]
        return left_uj + (right_uj - left_uj) * (t_ns - left_ns) / (right_ns - left_ns)

    def updates(self, start_ns: int, end_ns: int) -> int:
        """Return how many updates there were after the start, up to the end."""
        first = bisect_right(self._t_ns, start_ns) - 1
        last = bisect_right(self._t_ns, end_ns) - 1
        return self._updates[last] - self._updates[first]

    def edge_ns(self, t_ns: int) -> int:
        """Return the time between the updates around an edge of a window; 0 where an update is on it."""
        left = bisect_right(self._t_ns, t_ns) - 1
        right = bisect_left(self._t_ns, t_ns)
        while left > 0 and self._updates[left] == self._updates[left - 1]:
            left -= 1
        while right < len(self._t_ns) - 1 and self._updates[right] == self._updates[right - 1]:
            right += 1
        return self._t_ns[right] - self._t_ns[left] if right > left else 0

    def observed_ns(self) -> int | None:
        return round(median(self._intervals)) if self._intervals else None

    def period_ns(self) -> int:
        """Return the time between updates, as it shows at the pace of reading."""
        return max(self._nominal_ns, self.observed_ns() or 0)

    def _is_broken(self) -> bool:
        return bool(self._breaks) and self._breaks[-1].end_ns is None

    def _check_value(self, value: float, why_not: str) -> None:
        name, is_whole = self._rail.name, self._rail.domain in _WHOLE
        if not math.isfinite(value):
            raise MeterError(why_not or f"rail {name!r} reads {value}, which is no number")
        if self._rail.nature == "power" and value < (_LEAST_W if is_whole else _LEAST_PART_W):
            why = _CHARGED if is_whole else "its sensor is off, or turned round"
            raise MeterError(
                f"rail {name!r} reads {value:.3f} W: what gives energy cannot be told from what takes it; {why}"
            )

    def _is_update(self, value: float, reading: Reading) -> bool:
        assert self._last is not None
        last_value, last_stamp = self._last
        if reading.stamp is not None:
            return reading.stamp != last_stamp
        return reading.t_ns is not None or value != last_value

    def _seen_ns(self, t_ns: int) -> int:
        """Return when a counter was updated: between the last two readings, and within one period."""
        if self._on_read:
            return t_ns
        since_ns = min(t_ns - self._last_read_ns, self._nominal_ns)
        return max(t_ns - since_ns // 2, self._t_ns[-1] + 1)

    def _date_first(self, next_ns: int) -> None:
        """Move the first point back to the update that its value is from, one period before the next."""
        dated_ns = max(next_ns - self._nominal_ns, self._t_ns[-2] + 1 if len(self._t_ns) > 1 else -(1 << 62))
        self._t_ns[-1] = min(self._t_ns[-1], dated_ns)

    def _trapezoid_uj(self, value: float, t_ns: int) -> float:
        assert self._last is not None
        return (self._last[0] + value) / 2 * (t_ns - self._t_ns[-1]) * _US_PER_NS

    def _step_uj(self, value: float, t_ns: int, *, unread_ns: int) -> float:
        """Return by how much a counter grew; breaks the series where that cannot be told."""
        assert self._last is not None
        step_uj = value - self._last[0]
        wraps_uj = self._rail.wraps_uj
        most_uj = _MOST_W * unread_ns * _US_PER_NS
        if wraps_uj is not None and most_uj >= wraps_uj:
            return self._broken(t_ns, "was not read for so long that it may have wrapped around unseen")
        if step_uj > _MOST_W * max(t_ns - self._last_update_ns, self._nominal_ns) * _US_PER_NS:
            return self._broken(
                t_ns, f"grew by {step_uj:.0f} µJ at once, more than anything draws: it was set anew"
            )
        if step_uj >= 0:
            return step_uj
        if wraps_uj is None or step_uj + wraps_uj > most_uj:
            return self._broken(
                t_ns,
                f"fell from {self._last[0]:.0f} to {value:.0f} µJ, which no wrap-around explains: it was reset",
            )
        return step_uj + wraps_uj

    def _broken(self, t_ns: int, what: str) -> float:
        self._breaks.append(_Break(self._t_ns[-1], t_ns, f"the counter of rail {self._rail.name!r} {what}"))
        return 0.0

    def _append(self, t_ns: int, step_uj: float, updated: bool) -> None:
        if self._is_broken():
            self._breaks[-1].end_ns = t_ns
        elif updated and self._t_ns:
            self._intervals.append(t_ns - self._last_update_ns)
            self.seen += 1
        self._t_ns.append(t_ns)
        self._uj.append((self._uj[-1] if self._uj else 0.0) + step_uj)
        self._updates.append((self._updates[-1] if self._updates else 0) + updated)
        if updated:
            self._last_update_ns = t_ns
        if len(self._t_ns) > self._max_points:
            self._drop(len(self._t_ns) - self._max_points * 3 // 4)

    def _drop(self, count: int) -> None:
        if count:
            del self._t_ns[:count], self._uj[:count], self._updates[:count]
            self._forgotten = True
            first_ns = self._t_ns[0] if self._t_ns else 0
            self._breaks = [each for each in self._breaks if each.end_ns is None or each.end_ns > first_ns]

    def _check_gaps(self, start_ns: int, end_ns: int) -> None:
        first = bisect_right(self._t_ns, start_ns) - 1
        last = bisect_left(self._t_ns, end_ns)
        longest_ns = max(self._t_ns[i + 1] - self._t_ns[i] for i in range(first, last))
        allowed_ns = max(_GAP_PERIODS * self.period_ns(), _GAP_SHARE * (end_ns - start_ns))
        if longest_ns > allowed_ns:
            raise MeterInterruptedError(
                f"rail {self._rail.name!r} was not updated for {longest_ns / _NS_PER_S:.3g} s of the window,"
                f" {longest_ns / self.period_ns():.0f} times its period: it is stuck, or this machine was too busy"
                " to read it; measure again"
            )
