"""A campaign: batch -> measure -> store, continued where the last run ended.

Each visit is committed when it arrives, under an id that its batch gives it. Whatever is killed, the same
command measures only what is not stored yet.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import NoReturn

from chamnet.clock import Clock, SystemClock
from chamnet.errors import DeviceBusyError, DeviceLostError, DeviceUnreachableError, WorkerError
from chamnet.lut import PASSING, Batch, EnergyBatch, Request, Store
from chamnet.lut.agreement import Standing
from chamnet.lut.store import ATTEMPTS, ItemKind
from chamnet.records import Item
from chamnet.units import Unit
from chamnet_host.measuring.lanes import Lane, Made, Told, heard
from chamnet_host.measuring.regime import Regime
from chamnet_host.measuring.work import Work

__all__ = ["Campaign", "Progress", "Share", "Tally"]

log = logging.getLogger(__name__)

_RESOLVED_AT_ONCE = 256


@dataclass(slots=True)
class Share:
    """What one device did of a run.

    Attributes:
        stored: Visits of it that were stored.
        waiting: What it waits for now; empty while it measures.
        lost: Why it is lost; empty while it is not.
        standing: How it compares with the others; None where there are none.
    """

    stored: int = 0
    waiting: str = ""
    lost: str = ""
    standing: Standing | None = None


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
        elapsed_ns: Time the runs took, of every device.
        shares: Serial -> what that device did.
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
    shares: dict[str, Share] = field(default_factory=dict)

    @property
    def waiting(self) -> str:
        """What the run waits for now; empty while any device measures."""
        waiting = [share.waiting for share in self.shares.values()]
        return waiting[0] if waiting and all(waiting) else ""

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
    """Measures on devices of one kind and stores what comes.

    What several devices measure has the ids that one alone would give it, so that a run continues with more or fewer of
    them. Each visit is stored with the serial of its device. Where there are several, each also visits the calibration
    networks for itself, so that devices can be compared (`chamnet.lut.agreement`).

    Attributes:
        lanes: The devices, each with a serial of its own.
        store: Where visits go.
        lut_id: Id of the platform's table.
        digest: Of the platform; starts its visits' ids.
        progress: Called after every visit, and every second of a wait.
        clock: Tells how long runs take.
        strict: Whether to end when a device is loaded or throttled, instead of labelling and repeating.
        tally: What was stored so far, over all batches.
    """

    lanes: Sequence[Lane]
    store: Store
    lut_id: int
    digest: str
    progress: Progress = lambda tally: None
    clock: Clock = field(default_factory=SystemClock)
    strict: bool = False
    tally: Tally = field(default_factory=Tally)
    _spoiled: Counter[tuple[ItemKind, str]] = field(default_factory=Counter, init=False)  # windows of energy

    def run(self, batch: Batch | EnergyBatch) -> None:
        """Measure what a batch asks for and the store does not hold.

        Raises:
            DeviceBusyError: Another host measured on the device for ten minutes on end.
            DeviceLostError: The agent went away and did not come back in time; of several devices, all did.
            DeviceError: A device is loaded, throttled or stays hot, and `strict` was asked for.
            StoreError: The store took no more; what it has is kept.
        """
        stored, start_ns, devices = self._stored(), self.clock.now_ns(), len(self._left)
        wanted, own = batch.visit_ids(self.digest), set[str]()
        if wanted - stored:
            own = {
                item.visit_id for lane in self._left for item in _items(self._anchors(batch, lane, anew=True))
            }
        for lane in self.lanes:
            self.tally.shares.setdefault(lane.serial, Share())
        self.tally.total += len(wanted | own)
        self.tally.before += len((wanted | own) & stored)
        self.progress(self.tally)
        regimes = {lane: Regime(strict=self.strict) for lane in self.lanes}
        while requests := list(batch.requests(self.digest, self._stored(), self._failed(batch))):
            if not self._left:
                self._give_up()
            work = Work(requests, {lane.serial: self._anchors(batch, lane) for lane in self._left})
            with closing(heard(self._left, work)) as events:
                for told in events:
                    self._hear(told, regimes[told.lane])
        self.tally.total -= len(own - self._stored())  # those of devices that were lost
        self.tally.elapsed_ns += (self.clock.now_ns() - start_ns) * devices

    def resolve(self, units: Iterable[Unit]) -> None:
        """Ask what the runtime executes for each unit that was never asked about, and store it.

        Raises:
            DeviceLostError: The agent went away, of several devices all did; the next run asks for the rest.
        """
        units = dict.fromkeys(units)
        for lane in (lanes := sorted(self._left, key=lambda lane: lane.is_lost)):
            if not (items := self._unresolved(units)):
                return
            try:
                self._resolve(lane, items)
            except (DeviceLostError, DeviceUnreachableError) as error:
                if lane is lanes[-1]:
                    raise
                log.warning("%s: %s", lane.serial, error)

    @property
    def _left(self) -> list[Lane]:
        return [lane for lane in self.lanes if not lane.gone]

    def _stored(self) -> set[str]:
        return self.store.visit_ids(self.lut_id)

    def _failed(self, batch: Batch | EnergyBatch | None = None) -> set[tuple[ItemKind, str]]:
        """Return what is not asked for again: spoiled windows are the meter's fault, so they count in this run only."""
        if batch is None or not batch.is_energy:
            return set(self.store.failed_items(self.lut_id))
        given_up = {item for item, count in self._spoiled.items() if count >= ATTEMPTS}
        return given_up | self.store.failed_items(self.lut_id, energy=True).keys()

    def _anchors(self, batch: Batch | EnergyBatch, lane: Lane, *, anew: bool = False) -> list[Request]:
        """Return what a device measures for itself: what is missing of it, or all."""
        if len(self._left) < 2 or isinstance(batch, EnergyBatch):
            return []
        stored = set[str]() if anew else self._stored()
        return list(batch.anchors(self.digest, lane.serial, stored, self._failed()))

    def _hear(self, told: Told, regime: Regime) -> None:
        """Store a visit, or take note of what has become of a device."""
        tally, share = self.tally, self.tally.shares[told.lane.serial]
        share.waiting, share.lost = told.waiting, told.lost
        tally.reconnects += told.reconnects
        tally.waits += told.waits
        if told.made is not None:
            self._keep(told.made, told.lane.serial, regime)
        self.progress(tally)

    def _keep(self, made: Made, serial: str, regime: Regime) -> None:
        tally, visit, request = self.tally, made.visit, made.request
        asked = visit.visit_id
        if visit.status in PASSING:  # under an id of its own: the visit asked for is still missing
            attempt = self.store.failures(self.lut_id, request.kind, made.key)
            visit = replace(visit, visit_id=f"{asked}!{attempt}")
            if visit.status == "cancelled" and request.policy.mode == "energy":
                self._note_spoiled((request.kind, made.key), made.name or made.key, visit.message)
        elif regime.is_slow(visit):
            tally.slow += 1
            if regime.repeats(visit):  # likewise
                visit = replace(visit, visit_id=f"{asked}!slow{visit.started_unix_ms}")
        tally.timed_ns += sum(visit.samples_ns)
        tally.interrupted += visit.preempted
        tally.calls += visit.preempted + len(visit.samples_ns)
        about = {"name": made.name, "serial": serial}
        if self.store.append(self.lut_id, request.kind, made.key, request.policy.mode, visit, **about):
            tally.stored += visit.visit_id == asked
            tally.shares[serial].stored += 1
            tally.failed += visit.status != "ok"

    def _note_spoiled(self, item: tuple[ItemKind, str], name: str, why: str) -> None:
        self._spoiled[item] += 1
        if self._spoiled[item] == ATTEMPTS:
            log.warning("%s: %d windows were spoiled, the next run tries it again: %s", name, ATTEMPTS, why)

    def _unresolved(self, units: Iterable[Unit]) -> list[Item]:
        known, failed = self.store.executed(self.lut_id), self._failed()
        return [
            Item(visit_id=unit.key, blocks=(unit.key,))
            for unit in units
            if unit.key not in known and ("unit", unit.key) not in failed
        ]

    def _resolve(self, lane: Lane, items: Sequence[Item]) -> None:
        with lane.connect() as client:
            for start in range(0, len(items), _RESOLVED_AT_ONCE):
                part = items[start : start + _RESOLVED_AT_ONCE]
                for resolved in client.resolve(part, backend=lane.backend):
                    if resolved.status == "ok":
                        self.store.set_executed(self.lut_id, resolved.visit_id, resolved.executed)

    def _give_up(self) -> NoReturn:
        """Raise what a run ends with that has no device left.

        Raises:
            DeviceLostError: It was waited for long enough; of several, all were.
            DeviceBusyError: Another host measures on it, and there is no other.
            WorkerError: It does not measure, and there is no other.
        """
        gone = [(lane, error) for lane in self.lanes if (error := lane.gone)]
        (lane, last), *others = gone
        if not others and isinstance(last, (DeviceBusyError, WorkerError)):
            raise last
        late = f"did not come back within {lane.patience_s:.0f} s"
        how = (
            f"every device was lost: {', '.join(lane.serial for lane, _ in gone)}"
            if others
            else f"the agent was lost and {late}"
        )
        lasts = "; ".join(f"{lane.serial}: {error}" for lane, error in gone) if others else str(last)
        raise DeviceLostError(
            f"{how}; {self.tally.before + self.tally.stored} of {self.tally.total} visits are stored, the same command"
            f" continues. Last: {lasts}"
        ) from last


def _items(requests: Iterable[Request]) -> Iterator[Item]:
    for request in requests:
        yield from request.items
