"""A campaign: batch -> measure -> store, continued where the last run ended.

Each visit is committed when it arrives, under an id that its batch gives it. Whatever is killed, the same
command measures only what is not stored yet.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chamnet.clock import Clock, SystemClock
from chamnet.errors import DeviceBusyError, DeviceLostError, DeviceUnreachableError, TokenError
from chamnet.lut import PASSING, Batch, Request, Store
from chamnet.records import Item, Visit
from chamnet.units import Unit
from chamnet_host.reach import Connect
from chamnet_host.regime import Regime

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["Progress", "Tally", "resolve_units", "run_campaign"]

log = logging.getLogger(__name__)

_BUSY_TRIES = 600
_PAUSE_S = 1.0
_RESOLVED_AT_ONCE = 256
_RECONNECTS = 5  # in a row, without a single visit stored in between


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

    @property
    def interrupted_share(self) -> float:
        """Share of the timed calls during which other work ran on the measuring cores."""
        return self.interrupted / self.calls if self.calls else 0.0

    @property
    def timed_share(self) -> float | None:
        """Share of the time spent inside calls that were timed; None before anything was measured."""
        return self.timed_ns / self.elapsed_ns if self.elapsed_ns else None


Progress = Callable[[Tally], None]


def run_campaign(
    batch: Batch,
    connect: Connect,
    store: Store,
    *,
    lut_id: int,
    digest: str,
    backend: str,
    progress: Progress,
    clock: Clock | None = None,
    tally: Tally | None = None,
    strict: bool = False,
) -> Tally:
    """Measure what a batch asks for and the store does not hold.

    Args:
        batch: What to measure.
        connect: Opens a connection to the agent, starting one if need be.
        store: Where visits go.
        lut_id: Id of the platform's table.
        digest: Of the platform; starts its visits' ids.
        backend: Backend to measure with.
        progress: Called after every visit.
        clock: Paces the wait for a busy device; the machine's by default.
        tally: Of the batches before, to go on with.
        strict: Whether to end when the device is loaded or throttled, instead of labelling and repeating.

    Raises:
        DeviceBusyError: Another host measured on the device for ten minutes on end.
        DeviceLostError: The agent went away again and again without a single visit in between.
        DeviceError: The device is loaded or throttled, and `strict` was asked for.
        StoreError: The store took no more; what it has is kept.
    """
    wanted = batch.visit_ids(digest)
    tally = tally or Tally()
    tally.total += len(wanted)
    tally.before += len(wanted & store.visit_ids(lut_id))
    progress(tally)
    clock = clock or SystemClock()
    regime, start_ns = Regime(strict=strict), clock.now_ns()
    fruitless = 0
    while requests := list(batch.requests(digest, store.visit_ids(lut_id), store.failed_items(lut_id))):
        before = tally.stored
        try:
            with connect() as client:
                _measure(
                    requests,
                    client,
                    store,
                    lut_id=lut_id,
                    backend=backend,
                    tally=tally,
                    progress=progress,
                    clock=clock,
                    regime=regime,
                )
        except (DeviceLostError, DeviceUnreachableError, TokenError) as error:
            if isinstance(error, TokenError) and not tally.reconnects:
                raise  # wrong from the start, not a sign of an agent that has gone
            fruitless = fruitless + 1 if tally.stored == before else 0
            if fruitless >= _RECONNECTS:
                raise DeviceLostError(
                    f"the agent was lost and {fruitless} tries to reach it again measured nothing;"
                    f" {tally.before + tally.stored} of {tally.total} visits are stored, the same command continues."
                    f" Last: {error}"
                ) from error
            tally.reconnects += 1
            log.warning("agent lost, connecting again: %s", error)
            clock.sleep_s(_PAUSE_S * fruitless)
    tally.elapsed_ns += clock.now_ns() - start_ns
    return tally


def resolve_units(
    units: Sequence[Unit], connect: Connect, store: Store, *, lut_id: int, backend: str
) -> None:
    """Ask what the runtime executes for each unit that was never asked about, and store it.

    Raises:
        DeviceLostError: The agent went away; the next run asks for the rest.
    """
    known, failed = store.executed(lut_id), store.failed_items(lut_id)
    items = [
        Item(visit_id=unit.key, blocks=(unit.key,))
        for unit in dict.fromkeys(units)
        if unit.key not in known and ("unit", unit.key) not in failed
    ]
    if not items:
        return
    with connect() as client:
        for start in range(0, len(items), _RESOLVED_AT_ONCE):
            for resolved in client.resolve(items[start : start + _RESOLVED_AT_ONCE], backend=backend):
                if resolved.status == "ok":
                    store.set_executed(lut_id, resolved.visit_id, resolved.executed)


def _measure(
    requests: Iterable[Request],
    client: "DeviceClient",
    store: Store,
    *,
    lut_id: int,
    backend: str,
    tally: Tally,
    progress: Progress,
    clock: Clock,
    regime: Regime,
) -> None:
    """Send requests one after the other and store each visit as it arrives."""
    for request in requests:
        what = {
            item.visit_id: (key, item.name) for item, key in zip(request.items, request.keys, strict=True)
        }
        for visit in _visits(client, request, backend, tally, clock):
            key, name = what[visit.visit_id]
            if visit.status in PASSING:  # kept under an id of its own: the visit asked for is still missing
                attempt = store.failures(lut_id, request.kind, key)
                visit = replace(visit, visit_id=f"{visit.visit_id}!{attempt}")
            elif regime.is_slow(visit):
                tally.slow += 1
                if regime.repeats(visit):  # likewise
                    visit = replace(visit, visit_id=f"{visit.visit_id}!slow{visit.started_unix_ms}")
            tally.timed_ns += sum(visit.samples_ns)
            tally.interrupted += visit.preempted
            tally.calls += visit.preempted + len(visit.samples_ns)
            if store.append(lut_id, request.kind, key, request.policy.mode, visit, name=name):
                tally.stored += visit.visit_id in what
                tally.failed += visit.status != "ok"
            progress(tally)


def _visits(
    client: "DeviceClient", request: Request, backend: str, tally: Tally, clock: Clock
) -> Iterator[Visit]:
    """Yield the visits of a request, waiting for a turn while another host measures on the device."""
    for tries_left in reversed(range(_BUSY_TRIES)):
        try:
            yield from client.measure(request.items, request.policy, backend=backend)
            return
        except DeviceBusyError as error:
            if not tries_left:
                raise
            log.log(logging.INFO if tally.waits else logging.WARNING, "waiting for a turn: %s", error)
            tally.waits += 1
            clock.sleep_s(_PAUSE_S)
