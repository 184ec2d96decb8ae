"""One job at a time in the worker process; a crash or hang costs one item, not the job."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from chamnet.clock import Clock
from chamnet.errors import DeviceBusyError, DeviceLostError, WorkerError
from chamnet.records import Item, Resolved, Status, Visit
from chamnet.wire.jobs import Done, Job, Ready
from chamnet_agent.board import NOBODY, Board
from chamnet_agent.process import Ended, WorkerProcess

__all__ = ["Run", "Supervisor"]

log = logging.getLogger(__name__)

START_S = 60.0  # for the worker to start, to load a backend, and between items
RESOLVE_S = 60.0  # for one item to resolve
_MOST_STUMBLES = 1  # deaths between items that are forgiven: phones end processes when memory is short
_TICK_S = 0.5
_SHORTEST_TICK_S = 0.02

Report = Visit | Resolved


@dataclass(eq=False)
class Run:
    """A job at work: iterate over its reports; `cancel` from any thread.

    Attributes:
        job: What was asked.
        holder: Who asked, for the message that others get.
        started_ns: When it was accepted, on the supervisor's clock.
        cancelled: Why it is to end; empty while it may go on.
        stumbles: Deaths of its worker outside any item, since the last report.
    """

    job: Job
    holder: str
    started_ns: int
    _cancel: Callable[["Run", str], None]
    reports: "queue.SimpleQueue[Report | None]" = field(default_factory=queue.SimpleQueue)
    cancelled: str = ""
    stumbles: int = 0
    future: "Future[None]" = field(default_factory=Future)

    def __iter__(self) -> Iterator[Report]:
        """Yield each report as it comes.

        Raises:
            WorkerError: The worker does not start, or ends outside any item.
            DeviceLostError: The run was cancelled; says why.
            ConfigError: The backend is unknown or not usable.
        """
        while (report := self.reports.get()) is not None:
            yield report
        if self.cancelled:
            raise DeviceLostError(f"request {self.job.request_id!r} was cancelled: {self.cancelled}")
        self.future.result()

    def cancel(self, reason: str) -> None:
        """End it at once, whether or not its worker ends soon; harmless if it has ended."""
        self._cancel(self, reason)


class Supervisor:
    """Keeps the worker process and gives it one job at a time. Thread-safe.

    Everything that touches the worker happens in one thread that lives until `close`: the parent-death signal
    of the worker hangs on the life of the thread that started it.

    Args:
        start: Starts a worker that marks the board.
        board: Shared with the workers.
        clock: Tells how long an item takes.
    """

    def __init__(self, start: Callable[[], WorkerProcess], *, board: Board, clock: Clock) -> None:
        self._start = start
        self._board = board
        self._clock = clock
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="supervisor")
        self._last: Run | None = None  # accepted last
        self._active: Run | None = None  # at work
        self._worker: WorkerProcess | None = None
        self._closed = ""

    def submit(self, job: Job, holder: str) -> Run:
        """Accept a job.

        Raises:
            DeviceBusyError: Another request is at work; says whose.
            DeviceLostError: The agent is ending.
        """
        with self._lock:
            if self._closed:
                raise DeviceLostError(f"the agent is ending: {self._closed}")
            last = self._last
            if last and not last.future.done() and not last.cancelled:
                if last.job.request_id != job.request_id:
                    raise DeviceBusyError(self._busy(last))
                self._stop(last, f"replaced by the same request from {holder}")
            run = self._last = Run(job, holder, self._clock.now_ns(), self._cancel)
            run.future = self._thread.submit(self._execute, run)
        run.future.add_done_callback(lambda _: run.reports.put(None))
        return run

    def close(self, reason: str) -> None:
        """End worker and run; nothing is accepted afterwards."""
        with self._lock:
            self._closed = reason
            if self._last and not self._last.future.done():
                self._stop(self._last, f"the agent is ending: {reason}")
        self._thread.submit(self._discard)
        self._thread.shutdown()

    def _busy(self, run: Run) -> str:
        seconds = (self._clock.now_ns() - run.started_ns) / 1e9
        return (
            f"the device is measuring {len(run.job.items)} items for {run.holder}, request "
            f"{run.job.request_id!r}, since {seconds:.0f} s; wait for it, or end that host"
        )

    def _cancel(self, run: Run, reason: str) -> None:
        with self._lock:
            if not run.future.done():
                self._stop(run, reason)

    def _stop(self, run: Run, reason: str) -> None:
        """Cancel a run; call with the lock held. Native code cannot be interrupted, so its worker is ended."""
        run.cancelled = run.cancelled or reason
        run.reports.put(None)  # who waits hears so at once, before the worker has ended
        if run is self._active and self._worker:
            self._worker.kill()

    # ---- from here on, all in the supervisor's thread

    def _execute(self, run: Run) -> None:
        with self._lock:
            self._active = run
        try:
            pending = list(run.job.items)
            while pending and not run.cancelled:
                if self._follow(run, self._ready_worker(), pending):
                    return
                self._discard()
        except BaseException:
            self._discard()  # what state the worker is in, nobody knows
            raise
        finally:
            with self._lock:
                self._active = None
            if run.cancelled:
                self._discard()

    def _ready_worker(self) -> WorkerProcess:
        """Return the worker, started if need be."""
        if self._worker:
            return self._worker
        worker = self._start()
        with self._lock:
            self._worker = worker
            if self._active and self._active.cancelled:  # while it was spawned, when there was none to end
                worker.kill()
        event = worker.next_event(START_S)
        if not isinstance(event, Ready):
            self._discard()
            how = f"did not start within {START_S:.0f} s" if event is None else "ended while it started"
            raise WorkerError(f"the worker {how}; try chamnet-agent doctor. {worker.last_words()}")
        return worker

    def _discard(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, None
        if worker:
            worker.close()

    def _follow(self, run: Run, worker: WorkerProcess, pending: list[Item]) -> bool:
        """Pass the worker's reports on until the job is done (True) or the worker has to be replaced.

        Args:
            run: At work.
            worker: Ready.
            pending: Items without a report; each is removed once it has one.
        """
        sent = tuple(pending)
        limit_s = run.job.policy.timeout_s if run.job.policy else RESOLVE_S
        watch = _Watch(self._board, self._clock, limit_s)
        worker.send(
            Job(request_id=run.job.request_id, items=sent, policy=run.job.policy, backend=run.job.backend)
        )
        while not run.cancelled:
            match worker.next_event(watch.tick_s):
                case Visit() | Resolved() as report:
                    pending[:] = [item for item in pending if item.visit_id != report.visit_id]
                    run.reports.put(report)
                case Done():
                    return True
                case Ended():
                    self._bury(run, worker, sent, pending, "crashed", "")
                    return False
                case Exception() as error:
                    raise error
                case None if (stuck_s := watch.stuck_s()) is not None:
                    self._bury(run, worker, sent, pending, "timeout", f"no end after {stuck_s:.1f} s")
                    return False
        return False

    def _bury(
        self,
        run: Run,
        worker: WorkerProcess,
        sent: tuple[Item, ...],
        pending: list[Item],
        status: Status,
        why: str,
    ) -> None:
        """Report the item that the worker died of, or hung in, and take it off the list.

        Raises:
            WorkerError: It was at no item, twice in a row without a report: trying again would not help.
        """
        index, _ = self._board.read()
        self._discard()
        if run.cancelled:
            return
        message = "\n".join(filter(None, (why, worker.last_words())))
        culprit = sent[index] if index != NOBODY else None
        if culprit is None or culprit not in pending:
            run.stumbles = 1 if len(pending) < len(sent) else run.stumbles + 1
            if run.stumbles > _MOST_STUMBLES:
                raise WorkerError(f"the worker failed outside any item; {len(pending)} items left. {message}")
            return
        log.warning("item %s: %s: %s", culprit.visit_id, status, message)
        pending.remove(culprit)
        kind = Visit if run.job.policy else Resolved
        run.reports.put(kind(visit_id=culprit.visit_id, status=status, message=message))


class _Watch:
    """Tells whether the worker has been at the same mark for too long."""

    def __init__(self, board: Board, clock: Clock, limit_s: float) -> None:
        self._board = board
        self._clock = clock
        self._limit_s = limit_s
        self._beats = -1
        self._since_ns = clock.now_ns()
        self.tick_s = max(_SHORTEST_TICK_S, min(_TICK_S, limit_s / 4))

    def stuck_s(self) -> float | None:
        """Return the seconds at this mark once they are too many."""
        item, beats = self._board.read()
        now_ns = self._clock.now_ns()
        if beats != self._beats:
            self._beats, self._since_ns = beats, now_ns
        seconds = (now_ns - self._since_ns) / 1e9
        return seconds if seconds > (START_S if item == NOBODY else self._limit_s) else None
