"""Requests that are cancelled while their worker is spawned, or before it has ended."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

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
        assert self.go_on.wait(60)
        return worker


class Lingering(WorkerProcess):
    """Does not end before a test lets it go."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.go, self.gone = threading.Event(), threading.Event()

    def close(self) -> None:
        self.go.wait(60)
        super().close()
        self.gone.set()


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
        assert start.begun.wait(60)
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


def test_who_waits_hears_of_the_end_before_the_worker_has_ended(tmp_path: Path, board: Board) -> None:
    worker = Lingering([sys.executable, "-c", WORKER], board=board, folder=tmp_path, environ=os.environ)
    supervisor = Supervisor(lambda: worker, board=board, clock=SystemClock())
    try:
        run = supervisor.submit(job("first", 4_000), "A")
        reports = iter(run)
        next(reports)
        run.cancel("its host hung up")
        with pytest.raises(DeviceLostError, match="was cancelled: its host hung up"):
            list(reports)
        assert not worker.gone.is_set()
    finally:
        worker.go.set()
        supervisor.close("the test is over")
    assert worker.gone.is_set()
