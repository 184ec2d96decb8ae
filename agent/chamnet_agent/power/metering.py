"""The energy of a request: a meter that records while a worker runs windows, and says afterwards what they took."""

import math
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from chamnet.clock import Clock
from chamnet.energy import choose, energy_of
from chamnet.energy.recorder import Recorder, observe_period_s
from chamnet.errors import ConfigError, MeterError, MeterInterruptedError
from chamnet.records import EnergyPolicy, Policy, Visit
from chamnet_agent import registry
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings, PowerMeter

__all__ = ["Metering", "check_external", "usual_meter"]

_OBSERVED_PERIODS, _OBSERVED_S = 12, 0.5  # to see how often a meter is really updated
_PATIENCE_S = 60.0  # with one that seems not to be: gauges said to take a second take up to a minute
_LONGEST_S = 3_600.0


def usual_meter(settings: MeterSettings = DEFAULT_SETTINGS) -> str:
    """Return the name of the first meter that works here.

    Raises:
        MeterError: None does; says which were tried, and why each failed.
    """
    known = registry.meters(settings)
    for meter in known:
        if meter.why_not is None:
            return meter.name
    tried = "; ".join(f"{meter.name}: {meter.why_not}" for meter in known)
    raise MeterError(f"no meter works here. Tried: {tried}")


def check_external(wanted: EnergyPolicy) -> None:
    """Check the times of windows whose meter the host reads: this side cannot choose any.

    Raises:
        ConfigError: One is left open, or makes no sense.
    """
    times = (wanted.window_s, wanted.idle_s, wanted.guard_s)
    if not all(math.isfinite(each) and 0 < each <= _LONGEST_S for each in times):
        raise ConfigError(
            f"policy: times of windows {times}; with an external meter send all three, each up to an hour"
        )


class Metering:
    """Completes the visits of one request; records while it is entered.

    Args:
        wanted: Which meter, which of its rails, and how long windows are; what is left open is chosen to suit the meter.
        settings: Of the meter.
        clock: The one that workers tell their times by.

    Raises:
        MeterError: The meter does not work here, or is updated too seldom.
        ConfigError: There is no such meter or rail, or a time makes no sense.
    """

    def __init__(
        self, wanted: EnergyPolicy, *, settings: MeterSettings = DEFAULT_SETTINGS, clock: Clock
    ) -> None:
        times = (wanted.window_s, wanted.idle_s, wanted.guard_s)
        if not all(math.isfinite(each) and 0 <= each <= _LONGEST_S for each in times):
            raise ConfigError(
                f"policy: times of windows {times}; send 0 to leave them to the agent, or up to an hour"
            )
        name = wanted.meter or usual_meter(settings)
        meter = registry.open_meter(name, settings)
        try:
            self._rails = tuple(rail.name for rail in choose(meter.rails, wanted.rails))
            period_s = meter.period_s if min(times) > 0 else _observed_s(meter, self._rails, clock)
        except BaseException:
            meter.close()
            raise
        self.times = replace(wanted, meter=name, rails=",".join(self._rails)).filled(period_s)
        self._recorder = Recorder(meter, clock=clock)
        self._period_s = period_s

    def policy(self, policy: Policy) -> Policy:
        """Return a policy with every time filled in, for the worker."""
        return replace(policy, energy=self.times)

    def __enter__(self) -> Self:
        """Start to record."""
        self._recorder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End recording, and close the meter."""
        self._recorder.__exit__(kind, error, trace)

    def completed(self, visit: Visit) -> Visit:
        """Return a worker's visit with what the meter says of it; one whose window was spoiled as `cancelled`.

        Raises:
            MeterError: The meter cannot be read any more.
        """
        spans = visit.spans
        if spans is None:
            return visit
        try:
            self._recorder.settle(spans.after_ns[1], self._rails)
            energy = energy_of(
                self._recorder, spans, meter=self.times.meter, rails=self._rails, period_s=self._period_s
            )
        except MeterInterruptedError as error:
            return replace(visit, status="cancelled", message=str(error), spans=None)
        finally:
            self._recorder.forget(spans.after_ns[0] if spans.spin_ns is None else spans.spin_ns[0])
        return replace(visit, energy=energy, spans=None)


def _observed_s(meter: PowerMeter, rails: Sequence[str], clock: Clock) -> float:
    """Return the time between updates of rails: the meter's nominal one, or a longer one that is observed."""
    budget_s = _OBSERVED_PERIODS * meter.period_s + _OBSERVED_S
    patience_s = max(budget_s, _PATIENCE_S)
    seen = observe_period_s(meter, clock, rails=rails, budget_s=budget_s, patience_s=patience_s)
    known = [each for each in seen.values() if each is not None]
    if not known:
        raise MeterError(
            f"fewer than three updates of {', '.join(rails)} within {patience_s:.0f} s: what it feeds sleeps, its sensor is"
            " stuck, or too slow for windows of time; choose other rails, or another meter"
        )
    return max(meter.period_s, *known)
