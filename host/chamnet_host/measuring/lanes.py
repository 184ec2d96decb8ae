"""Lanes: devices that measure one batch together, each by a thread of its own.

A lane takes a request that nobody has taken, measures it on its device, and tells what happens. A device that is lost
gives its request back at once, for another one to take, and is then waited for; the work does not wait for it. What
lanes tell is heard in one thread, which alone writes to the store, shows progress and gets Ctrl-C: lanes share nothing
but the work they take from and the queue they tell into.

With one device there is neither thread nor queue: its lane is gone through where it is heard.
"""

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

from chamnet.clock import Clock, SystemClock
from chamnet.errors import (
    ChamNetError,
    DeviceBusyError,
    DeviceLostError,
    DeviceUnreachableError,
    TokenError,
    WorkerError,
)
from chamnet.lut import Request
from chamnet.records import Visit
from chamnet_host.devices.preflight import CoolDown
from chamnet_host.devices.reach import Connect
from chamnet_host.measuring.work import Work

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["Lane", "Made", "Measure", "Told", "heard"]

log = logging.getLogger(__name__)

_BUSY_TRIES = 600
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 16.0
_END_S = 10.0  # for lanes to end an agent each, once nobody listens


Measure = Callable[["DeviceClient", Request, str], Iterator[Visit]]


def measure(client: "DeviceClient", request: Request, backend: str) -> Iterator[Visit]:
    """Yield the visits of a request as the device makes them."""
    return client.measure(request.items, request.policy, backend=backend)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A visit, as it came.

    Attributes:
        visit: The visit.
        request: That asked for it.
        key: Of its item, as the store keeps it.
        name: Of its item, for people.
    """

    visit: Visit
    request: Request
    key: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a lane tells: a visit, or what has become of its device.

    Attributes:
        lane: Who tells.
        made: A visit; None where something else is told.
        waiting: What the device waits for now; empty while it measures.
        lost: Why it is lost; empty while it is not.
        reconnects: How often it was looked for again.
        waits: Seconds it waited for another host.
    """

    lane: "Lane"
    made: Made | None = None
    waiting: str = ""
    lost: str = ""
    reconnects: int = 0
    waits: int = 0


@dataclass(eq=False, kw_only=True)
class Lane:
    """One device of a campaign. `tell` runs in one thread at a time.

    Attributes:
        connect: Opens a connection to its agent, starting one if need be.
        serial: Which device it is, among several; its visits are stored with it.
        patience_s: How long it is waited for when it was lost, since its last visit.
        cool_to_c: Temperature above which it is left to cool; None for no limit.
        backend: Backend to measure with.
        strict: Whether a device that stays hot is an error.
        measure: Yields the visits of a request, given client and backend; another one reads a meter meanwhile.
        clock: Paces waits.
        gone: Why it was given up; None until it was.
    """

    connect: Connect
    serial: str = ""
    patience_s: float = 10.0
    cool_to_c: float | None = None
    backend: str = ""
    strict: bool = False
    measure: Measure = measure
    clock: Clock = field(default_factory=SystemClock)
    gone: ChamNetError | None = field(default=None, init=False)
    _reconnects: int = field(default=0, init=False)
    _busy: int = field(default=0, init=False)  # times on end
    _lost_ns: int | None = field(default=None, init=False)  # since when there was no visit
    _pause_s: float = field(default=0.0, init=False)
    _client: "DeviceClient | None" = field(default=None, init=False)
    _cool_down: CoolDown = field(init=False)

    def __post_init__(self) -> None:
        self._cool_down = CoolDown(self.cool_to_c, strict=self.strict, clock=self.clock, name=self.serial)

    @property
    def is_lost(self) -> bool:
        """Whether it was lost and has made no visit since."""
        return self._lost_ns is not None

    def tell(self, work: Work) -> Generator[Told]:
        """Measure until nothing is left to do or the device is given up, telling each visit and each second of a wait.

        Raises:
            TokenError: The token is wrong from the start.
            DeviceError: The device stays hot, and `strict` was asked for.
        """
        while True:
            try:
                with self.connect() as self._client:
                    yield from self._measure(work, self._client)
                return
            except (DeviceBusyError, WorkerError) as error:
                self.gone = error
                yield Told(lane=self, lost=str(error))
                return
            except (DeviceLostError, DeviceUnreachableError, TokenError) as error:
                if work.is_stopped:
                    return
                if isinstance(error, TokenError) and not self._reconnects:
                    raise  # wrong from the start, not a sign of an agent that has gone
                yield from self._wait(work, error)
                if self.gone or work.is_over:
                    return
            finally:
                work.give_back(self.serial)
                self._client = None

    def hang_up(self) -> None:
        """Break off what the device does, from another thread."""
        if (client := self._client) is not None:
            client.close()

    def _measure(self, work: Work, client: "DeviceClient") -> Iterator[Told]:
        while (request := work.take(self.serial)) is not None:
            for temperature_c in self._cool_down.wait(client):
                if work.is_stopped:
                    return
                yield Told(lane=self, waiting=f"cooling from {temperature_c:.0f} to {self.cool_to_c:.0f} °C")
            try:
                for made in self._visits(client, request):
                    if work.is_news(made.visit):
                        self._lost_ns = None
                    self._cool_down.saw(made.visit.conditions)
                    yield Told(lane=self, made=made)
                    if work.is_stopped:
                        return
            except DeviceBusyError as error:
                yield self._waits_for_turn(work, error)
                self.clock.sleep_s(_PAUSE_S)
            else:
                self._busy = 0
                work.done(self.serial)

    def _visits(self, client: "DeviceClient", request: Request) -> Iterator[Made]:
        what = {
            item.visit_id: (key, item.name) for item, key in zip(request.items, request.keys, strict=True)
        }
        for visit in self.measure(client, request, self.backend):
            key, name = what[visit.visit_id]
            yield Made(visit=visit, request=request, key=key, name=name)

    def _waits_for_turn(self, work: Work, error: DeviceBusyError) -> Told:
        """Give back what was to be measured while another host measures on the device.

        Raises:
            DeviceBusyError: It does for too long.
        """
        work.give_back(self.serial)
        self._busy += 1
        if self._busy >= _BUSY_TRIES:
            raise error
        log.log(logging.WARNING if self._busy == 1 else logging.INFO, "waiting for a turn: %s", error)
        return Told(lane=self, waits=1)

    def _wait(self, work: Work, error: ChamNetError) -> Iterator[Told]:
        """Wait for a device that was lost, telling how long still; give it up if it was waited for long enough."""
        work.give_back(self.serial)
        if self._lost_ns is None:
            self._lost_ns, self._pause_s = self.clock.now_ns(), 0.0
        if self._waited_s() >= self.patience_s:
            self.gone = error
            yield Told(lane=self, lost=str(error))
            return
        self._reconnects += 1
        yield Told(lane=self, lost=str(error), reconnects=1)
        log.warning("%sagent lost, connecting again: %s", f"{self.serial}: " if self.serial else "", error)
        end_ns = self.clock.now_ns() + round(self._pause_s * 1e9)
        while (left_ns := end_ns - self.clock.now_ns()) > 0 and not work.is_over:
            left_s = max(self.patience_s - self._waited_s(), 0)
            yield Told(lane=self, waiting=f"lost; trying for another {left_s:.0f} s", lost=str(error))
            self.clock.sleep_s(min(left_ns / 1e9, _PAUSE_S))
        self._pause_s = min(2 * self._pause_s or _PAUSE_S, _LONGEST_PAUSE_S)

    def _waited_s(self) -> float:
        return (self.clock.now_ns() - (self._lost_ns or 0)) / 1e9


def heard(lanes: Sequence[Lane], work: Work) -> Generator[Told]:
    """Yield what lanes tell, each in a thread of its own, until all have ended; closing it breaks them off.

    Raises:
        ChamNetError: What one of them raised; the others are broken off.
    """
    if len(lanes) == 1:
        with closing(lanes[0].tell(work)) as told:
            yield from told
        return
    told_by_all: SimpleQueue[Told | Future[None]] = SimpleQueue()
    threads = [
        threading.Thread(target=_run, args=(lane, work, told_by_all), daemon=True, name=f"lane-{lane.serial}")
        for lane in lanes
    ]
    try:
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            event = told_by_all.get()
            if isinstance(event, Future):
                running -= 1
                event.result()
            else:
                yield event
    finally:
        work.stop()
        alive = [(lane, thread) for lane, thread in zip(lanes, threads, strict=True) if thread.is_alive()]
        for lane, _ in alive:
            lane.hang_up()
        for _, thread in alive:
            thread.join(_END_S)


def _run(lane: Lane, work: Work, told: "SimpleQueue[Told | Future[None]]") -> None:
    ended: Future[None] = Future()
    try:
        with closing(lane.tell(work)) as telling:
            for each in telling:
                told.put(each)
    except BaseException as error:  # noqa: BLE001 - raised where lanes are heard
        ended.set_exception(error)
    else:
        ended.set_result(None)
    told.put(ended)
