"""A campaign: batch -> measure -> store, continued where the last run ended.

Each visit is committed when it arrives, under an id that its batch gives it. Whatever is killed, the same
command measures only what is not stored yet.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from chamnet.clock import Clock, SystemClock
from chamnet.errors import DeviceBusyError, DeviceLostError, DeviceUnreachableError, TokenError
from chamnet.lut import PASSING, Batch, Request, Store
from chamnet.records import Item, Visit
from chamnet.units import Unit
from chamnet_host.preflight import CoolDown
from chamnet_host.reach import Connect
from chamnet_host.regime import Regime

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["Campaign", "Progress", "Tally"]

log = logging.getLogger(__name__)

_BUSY_TRIES = 600
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 16
_RESOLVED_AT_ONCE = 256


@dataclass(slots=True)
class Tally:
    """What a run has stored so far.

    Attributes:
        total: Visits that all batches so far ask for.
        before: Of these, stored before the run.
        stored: Stored by the run.
        failed: Stored by the run with a status other than `ok`.
        reconnects: How often the agent was lost and found again.
        waits: Seconds spent waiting while another host measured on the device.
        slow: Visits made while the device was slow; each was asked for once more.
        calls: Timed calls.
        interrupted: Of these, such during which other work ran on the measuring cores; their samples were rejected.
        timed_ns: Time inside the calls whose samples were kept.
        elapsed_ns: Time the runs took.
        waiting: What the run waits for now; empty while it measures.
    """

    total: int = 0
    before: int = 0
    stored: int = 0
    failed: int = 0
    reconnects: int = 0
    waits: int = 0
    slow: int = 0
    calls: int = 0
    interrupted: int = 0
    timed_ns: int = 0
    elapsed_ns: int = 0
    waiting: str = ""

    @property
    def interrupted_share(self) -> float:
        """Share of the timed calls during which other work ran on the measuring cores."""
        return self.interrupted / self.calls if self.calls else 0.0

    @property
    def timed_share(self) -> float | None:
        """Share of the time spent inside calls that were timed; None before anything was measured."""
        return self.timed_ns / self.elapsed_ns if self.elapsed_ns else None


Progress = Callable[[Tally], None]


@dataclass(eq=False, kw_only=True)
class Campaign:
    """Measures on one device and stores what comes.

    Attributes:
        connect: Opens a connection to the agent, starting one if need be.
        store: Where visits go.
        lut_id: Id of the platform's table.
        digest: Of the platform; starts its visits' ids.
        backend: Backend to measure with.
        progress: Called after every visit, and every second of a wait.
        clock: Paces waits.
        strict: Whether to end when the device is loaded or throttled, instead of labelling and repeating.
        patience_s: How long a device that was lost is waited for, since the last visit.
        cool_to_c: Temperature above which the device is left to cool; None for no limit.
        tally: What was stored so far, over all batches.
    """

    connect: Connect
    store: Store
    lut_id: int
    digest: str
    backend: str
    progress: Progress = lambda tally: None
    clock: Clock = field(default_factory=SystemClock)
    strict: bool = False
    patience_s: float = 10.0
    cool_to_c: float | None = None
    tally: Tally = field(default_factory=Tally)

    def run(self, batch: Batch) -> None:
        """Measure what a batch asks for and the store does not hold.

        Raises:
            DeviceBusyError: Another host measured on the device for ten minutes on end.
            DeviceLostError: The agent went away and did not come back in time.
            DeviceError: The device is loaded, throttled or stays hot, and `strict` was asked for.
            StoreError: The store took no more; what it has is kept.
        """
        wanted, tally, start_ns = batch.visit_ids(self.digest), self.tally, self.clock.now_ns()
        tally.total += len(wanted)
        tally.before += len(wanted & self.store.visit_ids(self.lut_id))
        self.progress(tally)
        regime = Regime(strict=self.strict)
        lost_ns: int | None = None  # since when there was no visit
        pause_s = 0.0
        while requests := list(self._missing(batch)):
            before = tally.stored
            try:
                with self.connect() as client:
                    self._measure(requests, client, regime)
            except (DeviceLostError, DeviceUnreachableError, TokenError) as error:
                if isinstance(error, TokenError) and not tally.reconnects:
                    raise  # wrong from the start, not a sign of an agent that has gone
                if tally.stored > before or lost_ns is None:
                    lost_ns, pause_s = self.clock.now_ns(), 0.0
                self._wait(error, lost_ns, pause_s)
                pause_s = min(2 * pause_s or _PAUSE_S, _LONGEST_PAUSE_S)
        tally.elapsed_ns += self.clock.now_ns() - start_ns

    def resolve(self, units: Iterable[Unit]) -> None:
        """Ask what the runtime executes for each unit that was never asked about, and store it.

        Raises:
            DeviceLostError: The agent went away; the next run asks for the rest.
        """
        known, failed = self.store.executed(self.lut_id), self.store.failed_items(self.lut_id)
        items = [
            Item(visit_id=unit.key, blocks=(unit.key,))
            for unit in dict.fromkeys(units)
            if unit.key not in known and ("unit", unit.key) not in failed
        ]
        if not items:
            return
        with self.connect() as client:
            for start in range(0, len(items), _RESOLVED_AT_ONCE):
                for resolved in client.resolve(
                    items[start : start + _RESOLVED_AT_ONCE], backend=self.backend
                ):
                    if resolved.status == "ok":
                        self.store.set_executed(self.lut_id, resolved.visit_id, resolved.executed)

    def _missing(self, batch: Batch) -> Iterator[Request]:
        return batch.requests(
            self.digest, self.store.visit_ids(self.lut_id), self.store.failed_items(self.lut_id)
        )

    def _measure(self, requests: Sequence[Request], client: "DeviceClient", regime: Regime) -> None:
        """Send requests one after the other and store each visit as it arrives."""
        tally = self.tally
        cool_down = CoolDown(self.cool_to_c, strict=self.strict, clock=self.clock)
        for request in requests:
            for temperature_c in cool_down.wait(client):
                tally.waiting = f"cooling from {temperature_c:.0f} to {self.cool_to_c:.0f} °C"
                self.progress(tally)
            tally.waiting = ""
            what = {
                item.visit_id: (key, item.name) for item, key in zip(request.items, request.keys, strict=True)
            }
            for visit in self._visits(client, request):
                key, name = what[visit.visit_id]
                if visit.status in PASSING:  # under an id of its own: the visit asked for is still missing
                    attempt = self.store.failures(self.lut_id, request.kind, key)
                    visit = replace(visit, visit_id=f"{visit.visit_id}!{attempt}")
                elif regime.is_slow(visit):
                    tally.slow += 1
                    if regime.repeats(visit):  # likewise
                        visit = replace(visit, visit_id=f"{visit.visit_id}!slow{visit.started_unix_ms}")
                tally.timed_ns += sum(visit.samples_ns)
                tally.interrupted += visit.preempted
                tally.calls += visit.preempted + len(visit.samples_ns)
                if self.store.append(self.lut_id, request.kind, key, request.policy.mode, visit, name=name):
                    tally.stored += visit.visit_id in what
                    tally.failed += visit.status != "ok"
                cool_down.saw(visit.conditions)
                self.progress(tally)

    def _visits(self, client: "DeviceClient", request: Request) -> Iterator[Visit]:
        """Yield the visits of a request, waiting for a turn while another host measures on the device."""
        for tries_left in reversed(range(_BUSY_TRIES)):
            try:
                yield from client.measure(request.items, request.policy, backend=self.backend)
                return
            except DeviceBusyError as error:
                if not tries_left:
                    raise
                log.log(
                    logging.INFO if self.tally.waits else logging.WARNING, "waiting for a turn: %s", error
                )
                self.tally.waits += 1
                self.clock.sleep_s(_PAUSE_S)

    def _wait(self, error: Exception, lost_ns: int, pause_s: float) -> None:
        """Wait for a device that was lost, showing how long still.

        Raises:
            DeviceLostError: It was waited for long enough.
        """
        tally = self.tally
        waited_s = (self.clock.now_ns() - lost_ns) / 1e9
        if waited_s >= self.patience_s:
            raise DeviceLostError(
                f"the agent was lost and did not come back within {self.patience_s:.0f} s;"
                f" {tally.before + tally.stored} of {tally.total} visits are stored, the same command continues."
                f" Last: {error}"
            ) from error
        tally.reconnects += 1
        log.warning("agent lost, connecting again: %s", error)
        end_ns = self.clock.now_ns() + round(pause_s * 1e9)
        while (left_ns := end_ns - self.clock.now_ns()) > 0:
            left_s = self.patience_s - (self.clock.now_ns() - lost_ns) / 1e9
            tally.waiting = f"lost; trying for another {max(left_s, 0):.0f} s"
            self.progress(tally)
            self.clock.sleep_s(min(left_ns / 1e9, _PAUSE_S))
        tally.waiting = ""
