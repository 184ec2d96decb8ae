"""Measures on a device while the host reads a meter of its own, and completes the visits that come.

The device says when it ran and when it idled, by its own clock. What that is on the host's clock is found in two steps: by
asking the device for its time, then by the marker, the loop that computes nothing at the start of every request,
which is looked for in what was recorded.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from chamnet.clock import Clock
from chamnet.energy import PowerStats, choose, energy_of
from chamnet.energy.marker import find_marker
from chamnet.energy.recorder import Recorder
from chamnet.errors import MeterError, MeterInterruptedError
from chamnet.lut import EnergyTimes, Request
from chamnet.records import EXTERNAL_METER, EnergyPolicy, EnergyReading, EnergySpans, Visit
from chamnet_host.external.arrivals import Arrivals
from chamnet_host.external.base import HostMeter
from chamnet_host.external.clocks import ClockOffset, offset_of

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["Witness"]

log = logging.getLogger(__name__)

_MARGIN_NS = 250_000_000  # that clocks may be off by, beyond what the exchange of times leaves open: readings come late
_FLANK_S = 2.0
_LATEST_NS = 500_000_000  # that a visit may arrive after it ended; a device that slept meanwhile seems later by as much
_MOST_POINTS = 1_000_000  # a quarter of an hour of updates every ms, 24 MB
_TRIES = 2  # requests on end without a marker that is seen, until it is taken for missing


class Witness:
    """Records a meter while it is entered, and measures on one device at a time.

    Args:
        meter: Open; closed at the end.
        name: Of the meter, as it is stored.
        rails: What of it: a total, or names separated by commas; empty for the device.
        times: Of windows, none of them 0.
        clock: The host's, by which the meter tells its times.

    Raises:
        ConfigError: The meter has no such rail.
    """

    def __init__(
        self, meter: HostMeter, *, name: str, rails: str = "", times: EnergyTimes, clock: Clock
    ) -> None:
        self._name, self._times, self._clock = name, times, clock
        self._settle_s, self._period_s = meter.settle_s, meter.period_s
        self._recorder = Recorder(meter, clock=clock, max_points=_MOST_POINTS)
        self._rails = tuple(rail.name for rail in choose(meter.rails, rails))
        self._unseen, self._warned = 0, False

    def __enter__(self) -> Self:
        """Start to record."""
        self._recorder.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End recording, and close the meter."""
        self._recorder.__exit__(kind, error, trace)

    def measure(self, client: "DeviceClient", request: Request, backend: str) -> Iterator[Visit]:
        """Yield the visits of a request with what the meter says of them; one whose window was spoiled as `cancelled`.

        Raises:
            MeterError: The meter cannot be read any more, or the marker is not seen in what it says.
        """
        clocks = _Clocks(offset_of(client, self._clock))
        times = self._times
        energy = EnergyPolicy(
            meter=EXTERNAL_METER, window_s=times.window_s, idle_s=times.idle_s, guard_s=times.guard_s
        )
        visits = client.measure(request.items, replace(request.policy, energy=energy), backend=backend)
        with Arrivals(visits, self._clock) as arrivals:  # completing one may take as long as the next
            for arrived_ns, visit in arrivals:
                self._heed(visit)
                yield (
                    visit if visit.spans is None else self._completed(visit, visit.spans, clocks, arrived_ns)
                )

    def _heed(self, visit: Visit) -> None:
        if visit.conditions.charging and not self._warned:
            self._warned = True
            log.warning(
                "the device says that it is being charged: take it off its cable, unless all that feeds it is measured"
            )

    def _completed(self, visit: Visit, spans: EnergySpans, clocks: "_Clocks", arrived_ns: int) -> Visit:
        try:
            clocks.check(spans.after_ns[1], arrived_ns)
            energy = self._energy(spans, clocks)
        except MeterInterruptedError as error:
            return replace(visit, status="cancelled", message=str(error), spans=None)
        return replace(visit, energy=energy, spans=None)

    def _energy(self, spans: EnergySpans, clocks: "_Clocks") -> EnergyReading:
        if spans.spin_ns is None:
            raise MeterInterruptedError("the device ran no marker")
        late_ns = clocks.most_ns + clocks.offset_ns
        self._recorder.settle(spans.after_ns[1] + late_ns, self._rails, timeout_s=self._settle_s)
        if clocks.marker != spans.spin_ns:
            self._look(spans.spin_ns, clocks)
        if clocks.missing:
            raise MeterInterruptedError(clocks.missing)
        on_device = _Shifted(self._recorder, clocks.offset_ns + clocks.shift_ns)
        energy = energy_of(on_device, spans, meter=self._name, rails=self._rails, period_s=self._period_s)
        self._recorder.forget(spans.spin_ns[0] + clocks.offset_ns - clocks.most_ns)
        return energy

    def _look(self, spin_ns: tuple[int, int], clocks: "_Clocks") -> None:
        """Look for the marker of a worker; note by how much clocks differ, or that it is missing.

        Raises:
            MeterError: It is missing time and again.
        """
        guard_ns = round(self._times.guard_s * 1e9)  # it spins as much longer at either end
        work_ns = (spin_ns[0] - guard_ns + clocks.offset_ns, spin_ns[1] + guard_ns + clocks.offset_ns)
        flank_ns = round(min(self._times.idle_s, _FLANK_S) * 1e9)
        found = find_marker(self._recorder, self._rails, work_ns, flank_ns=flank_ns, most_ns=clocks.most_ns)
        clocks.marker, clocks.shift_ns, clocks.missing = spin_ns, found.shift_ns, found.doubt
        if found.doubt:
            self._miss(found.doubt)
        else:
            self._unseen = 0
            log.info("marker: %.2f W, %.1f ms from where it was expected", found.step_w, found.shift_ns / 1e6)

    def _miss(self, doubt: str) -> None:
        self._unseen += 1
        log.warning("%s: %s", self._name, doubt)
        if self._unseen >= _TRIES:
            raise MeterError(
                f"{self._name}: {doubt}. Is the monitor between this device and its supply, and nothing else feeds it?"
            )


@dataclass(slots=True)
class _Clocks:
    """What is known of the clocks during one request.

    Attributes:
        offset: As exchanged.
        marker: Times of the marker that was looked for last; None before.
        shift_ns: What it adds to the offset.
        missing: Why it was not found; empty where it was.
    """

    offset: ClockOffset
    marker: tuple[int, int] | None = None
    shift_ns: int = 0
    missing: str = ""

    @property
    def offset_ns(self) -> int:
        return self.offset.offset_ns

    @property
    def most_ns(self) -> int:
        return self.offset.uncertainty_ns + _MARGIN_NS

    def check(self, ended_ns: int, arrived_ns: int) -> None:
        """Refuse what ended longer ago than it takes to arrive: a monotonic clock stands still while its device sleeps."""
        late_ns = arrived_ns - ended_ns - self.offset_ns
        if late_ns > self.offset.uncertainty_ns + _LATEST_NS:
            raise MeterInterruptedError(
                f"the visit came {late_ns / 1e9:.2g} s after it ended by the device's clock: the device slept meanwhile (keep"
                " its screen on), or the network is slow"
            )


@dataclass(frozen=True, slots=True)
class _Shifted:
    """A recording that is asked by another clock."""

    recorder: Recorder
    shift_ns: int

    def energy_uj(self, rail: str, start_ns: int, end_ns: int) -> float:
        return self.recorder.energy_uj(rail, start_ns + self.shift_ns, end_ns + self.shift_ns)

    def power_w(self, rail: str, start_ns: int, end_ns: int) -> PowerStats:
        return self.recorder.power_w(rail, start_ns + self.shift_ns, end_ns + self.shift_ns)
