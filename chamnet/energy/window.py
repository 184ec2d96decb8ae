"""From what a meter recorded, and when a worker ran and idled, to the energy of one item."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Protocol

from chamnet.energy.series import PowerStats
from chamnet.errors import MeterInterruptedError
from chamnet.records import EnergyReading, EnergySpans

__all__ = ["Recorded", "energy_of"]

_LEAST_UPDATES = 8  # in a window; ten leave an error of 4 % at the 95th percentile (docs/energy.md)


class Recorded(Protocol):
    """What was recorded of a meter: an `EnergySeries`, or who keeps one."""

    def energy_uj(self, rail: str, start_ns: int, end_ns: int) -> float:
        """Return the energy that went through a rail between two times, in µJ."""
        ...

    def power_w(self, rail: str, start_ns: int, end_ns: int) -> PowerStats:
        """Return mean and spread of a rail's power between two times."""
        ...


def energy_of(
    recorded: Recorded, spans: EnergySpans, *, meter: str, rails: Sequence[str], period_s: float
) -> EnergyReading:
    """Return what a meter says of a window, with the idling on either side of it.

    Args:
        recorded: Covers all of the spans.
        spans: When the item ran, and when the device idled.
        meter: Name of the meter.
        rails: Names of the rails to add up.
        period_s: Time between updates, where it was not observed.

    Raises:
        MeterInterruptedError: The window or its idling was spoiled; another one may do.
        MeterError: The meter could not be read meanwhile.
    """

    def power(span_ns: tuple[int, int]) -> list[PowerStats]:
        return [recorded.power_w(rail, *span_ns) for rail in rails]

    start_ns, end_ns = spans.window_ns
    window, before, after = power(spans.window_ns), power(spans.before_ns), power(spans.after_ns)
    _check_updates(rails, window, before, after)
    try:
        spin_w = None if spans.spin_ns is None else _mean_w(power(spans.spin_ns))
    except MeterInterruptedError:  # of use to people only
        spin_w = None
    return EnergyReading(
        meter=meter,
        rails=tuple(rails),
        period_s=max(each.period_s or period_s for each in window),
        updates=min(each.updates for each in window),
        window_ns=end_ns - start_ns,
        calls=spans.calls,
        gross_uj=sum(recorded.energy_uj(rail, start_ns, end_ns) for rail in rails),
        idle_before_w=_mean_w(before),
        idle_after_w=_mean_w(after),
        idle_std_w=_idle_std_w(before, after),
        power_std_w=_std_w(window),
        spin_w=spin_w,
    )


def _check_updates(rails: Sequence[str], *spans: list[PowerStats]) -> None:
    """Refuse a window if the rail that the item changes most is updated too seldom; one that feeds nothing may stand still.

    Args:
        rails: Their names.
        spans: Their power in the window, before and after.
    """
    by_rail = list(zip(*spans, strict=True))
    changes_w = [abs(window.mean_w - (before.mean_w + after.mean_w) / 2) for window, before, after in by_rail]
    most = changes_w.index(max(changes_w))
    updates = max(each.updates for each in by_rail[most])
    if (
        0 < updates < _LEAST_UPDATES
    ):  # none at all: a coarse sensor that changed between the spans, as it should
        raise MeterInterruptedError(
            f"rail {rails[most]!r} was updated {updates} times in the window, or as often while the device idled: too seldom"
            " to tell its energy"
        )


def _idle_std_w(before: list[PowerStats], after: list[PowerStats]) -> float:
    """Return the deviation within the idling; where that is too short to tell it, between its two stretches."""
    known = [std_w for each in (before, after) if (std_w := _std_w(each)) is not None]
    if not known:
        return stdev((_mean_w(before), _mean_w(after)))
    return math.sqrt(fmean(std_w**2 for std_w in known))


def _mean_w(rails: list[PowerStats]) -> float:
    return sum(each.mean_w for each in rails)


def _std_w(rails: list[PowerStats]) -> float | None:
    """Return the deviation of rails together, as if they went up and down with each other; None where it is not known."""
    known = [each.std_w for each in rails if each.std_w is not None]
    return sum(known) if known else None
