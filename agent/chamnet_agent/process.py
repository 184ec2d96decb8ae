"""The worker process, as the server holds it: pipes, last words, end."""

import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from chamnet.wire import frames
from chamnet.wire.jobs import FromWorker, Job
from chamnet_agent.board import Board
from chamnet_agent.config import AgentConfig

__all__ = ["Ended", "WorkerProcess", "start_worker"]

log = logging.getLogger(__name__)

_LAST_LINES = 12
_NOISE = "Extension modules:"  # what faulthandler ends with: long, and no help
_LINE_CHARS = 300
_END_S = 5.0
_SEND_S = 30.0  # for a job to cross the pipe; above, the worker does not read and is ended


@dataclass(frozen=True, slots=True)
class Ended:
    """The worker closed its pipe, or sent something that is no frame."""

    reason: str = ""


class WorkerProcess:
    """A running worker. `next_event` is for one thread; `kill` for any.

    It leads a process group of its own, so that what it starts ends with it.

    The parent-death signal is sent when the *thread* that started the worker ends, so that thread must live as
    long as the worker may.

    Args:
        command: What to run.
        board: Where the worker says which item it is at.
        folder: Its working directory.
        environ: Its environment.
    """

    def __init__(self, command: list[str], *, board: Board, folder: Path, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[board.fd],
            cwd=folder,
            env=dict(environ),
            process_group=0,
        )
        self._events: queue.SimpleQueue[FromWorker | Ended] = queue.SimpleQueue()
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._readers = [
            threading.Thread(target=read, args=(pipe,), daemon=True, name=f"worker-{read.__name__}")
            for read, pipe in (
                (self._read_events, self._process.stdout),
                (self._read_lines, self._process.stderr),
            )
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, job: Job) -> None:
        """Give the worker a job; if it is gone, `next_event` will say so."""
        assert self._process.stdin is not None
        watchdog = threading.Timer(_SEND_S, self.kill)
        watchdog.daemon = True
        watchdog.start()
        with contextlib.suppress(BrokenPipeError):
            frames.write_job(self._process.stdin, job)
        watchdog.cancel()

    def next_event(self, timeout_s: float) -> FromWorker | Ended | None:
        """Return what the worker says next; None if it says nothing for `timeout_s`."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def kill(self) -> None:
        """End it and what it started, at once; harmless if it has ended."""
        if self._process.returncode is None:  # else its number may be another process's by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it and wait until nothing is left of it."""
        self.kill()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            log.warning("worker %d does not end %.0f s after SIGKILL; left behind", self.pid, _END_S)
        for reader in self._readers:
            reader.join(_END_S)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def last_words(self) -> str:
        """Return how it ended and the last lines of its stderr; call after `close`."""
        return "\n".join((_how(self._process.returncode), *self._lines))

    def _read_events(self, pipe: IO[bytes]) -> None:
        try:
            while (event := frames.read_event(pipe)) is not None:
                self._events.put(event)
        except (frames.FrameError, ValueError) as error:
            self._events.put(Ended(str(error)))
        else:
            self._events.put(Ended())

    def _read_lines(self, pipe: IO[bytes]) -> None:
        for raw in pipe:
            line = raw.decode(errors="replace").rstrip()
            if line and not line.startswith(_NOISE):
                self._lines.append(line[:_LINE_CHARS])
            log.info("worker: %s", line)


def _how(returncode: int | None) -> str:
    if returncode is None:
        return "worker still ending"
    if returncode >= 0:
        return f"worker ended with exit code {returncode}"
    name = signal.Signals(-returncode).name
    hint = " (often: out of memory)" if -returncode == signal.SIGKILL else ""
    return f"worker ended by {name}{hint}"


def start_worker(config: AgentConfig, board: Board, environ: Mapping[str, str]) -> WorkerProcess:
    """Start a worker for this process; call from a thread that lives as long as it may."""
    command = [
        sys.executable, "-P", "-m", "chamnet_agent.worker",
        "--parent", str(os.getpid()),
        "--board", str(board.fd),
        "--backend", config.backend,
        "--cores", ",".join(map(str, config.cores)),
        "--threads", str(config.threads),
        "--memory-limit", str(config.memory_limit_bytes),
        *config.settings.flags(),
    ]  # fmt: skip
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # the server's own path: it may have been started in the folder that its packages were pushed to
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return WorkerProcess(command, board=board, folder=config.state_dir, environ={**environ, **single, **path})
