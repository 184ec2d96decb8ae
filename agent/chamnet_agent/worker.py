"""The process that measures: `python -m chamnet_agent.worker`, started by the server, never by hand.

Jobs come as frames on stdin, reports go as frames to stdout. Whatever else writes to stdout (a runtime's own
prints) is sent to stderr, so it cannot corrupt the frames.
"""

import argparse
import ctypes
import faulthandler
import gc
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import IO

from chamnet.clock import SystemClock
from chamnet.errors import ChamNetError
from chamnet.records import Resolved, Visit
from chamnet.wire import frames
from chamnet.wire.jobs import Done, Job, Ready
from chamnet_agent import registry
from chamnet_agent.backends.base import Backend
from chamnet_agent.board import NOBODY, Board
from chamnet_agent.conditions import Sensors
from chamnet_agent.probes import reference_work
from chamnet_agent.profiler import Bench, Profiler
from chamnet_agent.settings import BackendSettings, add_settings, settings_of
from chamnet_agent.windows import Windows

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_ORPHAN_POLL_S = 0.5
_OOM_SCORE = 800  # of 1000: when memory runs out, the kernel ends this process, not the server


def main(argv: Sequence[str] | None = None) -> int:
    """Take jobs until the server closes the pipe."""
    arguments = _parser().parse_args(argv)
    _die_with(arguments.parent)
    faulthandler.enable()
    jobs, events = _take_pipes()
    cores = tuple(int(core) for core in arguments.cores.split(","))
    os.sched_setaffinity(0, cores)
    _volunteer_for_oom()
    _limit_memory(arguments.memory_limit)
    worker = Worker(
        arguments.backend,
        board=Board(arguments.board),
        cores=cores,
        threads=arguments.threads,
        settings=settings_of(arguments),
    )
    frames.write_event(events, Ready())
    while (job := frames.read_job(jobs)) is not None:
        for event in worker.reports(job):
            frames.write_event(events, event)
    return 0


class Worker:
    """Turns jobs into reports; keeps the backends it has loaded.

    Args:
        backend: For jobs that name none.
        board: To say which item is at work.
        cores: This process is pinned to.
        threads: For the backends.
        settings: Of single backends.
    """

    def __init__(
        self, backend: str, *, board: Board, cores: Sequence[int], threads: int, settings: BackendSettings
    ) -> None:
        self._default = backend
        self._threads = threads
        self._settings = settings
        self._loaded: dict[str, Backend] = {}
        self._board = board
        clock = SystemClock()
        self._bench = Bench(
            clock=clock,
            conditions=Sensors(cores=cores).read,
            work=reference_work(),
            switches=involuntary_switches,
            unix_ms=lambda: round(datetime.now(UTC).timestamp() * 1_000),
            mark=board.mark,
        )

    def reports(self, job: Job) -> Iterator[Visit | Resolved | Done | ChamNetError]:
        """Yield what comes of each item, then that the job is done; or why it cannot run."""
        self._board.mark(NOBODY)
        gc.collect()
        gc.freeze()  # what is loaded stays: looking through it before every timed loop takes ten milliseconds
        try:
            backend = self._backend(job.backend)
            profiler = Profiler(backend, bench=self._bench, threads=self._threads)
            if job.policy is None:
                yield from profiler.resolve(job.items)
            elif job.policy.mode == "energy":
                yield from Windows(backend, bench=self._bench).run(job.items, job.policy)
            else:
                yield from profiler.measure(job.items, job.policy)
        except ChamNetError as error:
            yield error
        else:
            yield Done(job.request_id)

    def _backend(self, name: str) -> Backend:
        name = name or self._default
        if name not in self._loaded:
            self._loaded[name] = registry.load_backend(name, self._settings)(threads=self._threads)
        return self._loaded[name]


def involuntary_switches() -> int:
    """Return how often this thread was descheduled against its will; 0 where the system does not count."""
    return resource.getrusage(_USAGE_OF_THREAD).ru_nivcsw if _USAGE_OF_THREAD is not None else 0


_USAGE_OF_THREAD = getattr(resource, "RUSAGE_THREAD", None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chamnet_agent.worker", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process id of the server")
    parser.add_argument("--board", type=int, required=True, help="inherited descriptor of the shared page")
    parser.add_argument("--backend", required=True, help="for jobs that name none")
    parser.add_argument("--cores", required=True, help="to pin this process to, such as 2,3")
    parser.add_argument("--threads", type=int, required=True, help="the backend computes with")
    parser.add_argument("--memory-limit", type=int, default=0, help="bytes that it may take; 0: any")
    add_settings(parser)
    return parser


def _die_with(parent: int) -> None:
    """Make sure that this process ends with the server, even while it is inside native code."""
    try:
        refused = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # no Linux
        refused = 1
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(1)
    if refused:
        threading.Thread(target=_poll_parent, args=(parent,), daemon=True).start()


def _poll_parent(parent: int) -> None:
    clock = SystemClock()
    while os.getppid() == parent:
        clock.sleep_s(_ORPHAN_POLL_S)
    os._exit(1)


def _take_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Keep the pipes for frames alone: everything else that prints goes to stderr."""
    jobs = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return jobs, events


def _volunteer_for_oom() -> None:
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 - not a path of ours
            file.write(str(_OOM_SCORE))
    except OSError:  # no Linux, or not allowed: then the kernel chooses
        return


def _limit_memory(limit_bytes: int) -> None:
    """Let allocations above a limit fail at once, instead of the device running out of memory.

    Of the kinds of limit, that of the data counts what is written to, not what is only reserved, as GPU libraries do.
    """
    if limit_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


if __name__ == "__main__":
    sys.exit(main())
