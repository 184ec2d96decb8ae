"""A request that is cancelled while its worker is spawned."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chamnet.clock import SystemClock
from chamnet.errors import DeviceLostError
from chamnet.records import Item, Policy
from chamnet.wire.jobs import Job
from chamnet_agent.board import Board
from chamnet_agent.process import WorkerProcess
from chamnet_agent.supervisor import Report, Supervisor

# Quicker than any real one: it never leaves the supervisor without an event for long.
WORKER = """
import sys, time
from chamnet.testing import make_visit
from chamnet.wire import frames
from chamnet.wire.jobs import Done, Ready

events = sys.stdout.buffer
frames.write_event(events, Ready())
while (job := frames.read_job(sys.stdin.buffer)) is not None:
    for item in job.items:
        time.sleep(0.01)
        frames.write_event(events, make_visit(item.visit_id))
    frames.write_event(events, Done(job.request_id))
"""


class Spawning:
    """Starts workers, and lets a test act while the first one is being spawned."""

    def __init__(self, folder: Path, board: Board) -> None:
        self._folder, self._board = folder, board
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> WorkerProcess:
        worker = WorkerProcess(
            [sys.executable, "-c", WORKER], board=self._board, folder=self._folder, environ=os.environ
        )
        self.begun.set()
        assert self.go_on.wait(10)
        return worker


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with closing(Board.create(tmp_path)) as board:
        yield board


def job(request_id: str, items: int) -> Job:
    return Job(
        request_id=request_id,
        items=tuple(
            Item(visit_id=f"{request_id}-{number}", blocks=("relu:f32:1x8",)) for number in range(items)
        ),
        policy=Policy(mode="loop", laps=2),
    )


def test_a_request_cancelled_while_its_worker_is_spawned_is_not_begun(tmp_path: Path, board: Board) -> None:
    start = Spawning(tmp_path, board)
    supervisor = Supervisor(start, board=board, clock=SystemClock())
    try:
        run = supervisor.submit(job("first", 40), "A")
        assert start.begun.wait(10)
        run.cancel("its host hung up")
        start.go_on.set()
        reports: list[Report] = []
        with pytest.raises(DeviceLostError, match="was cancelled: its host hung up"):
            reports.extend(run)
        assert reports == []
        (visit,) = supervisor.submit(job("second", 1), "B")
        assert visit.visit_id == "second-0"
    finally:
        supervisor.close("the test is over")
