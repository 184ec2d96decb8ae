"""Trainings in processes of this machine, each in one of its own: what one does to its process hurts no other."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from chamnet.train import Job, Outcome
from chamnet.train.recipe import Resources
from chamnet_host.training.executors.base import error_of

__all__ = ["LocalExecutor"]

_LAST_WORDS = 400  # characters of a crashed process's stderr


class LocalExecutor:
    """Runs trainings in processes of this machine.

    Args:
        workers: Trainings at a time; None for one on each free core, by what a training takes.
        resources: What a training takes.
    """

    def __init__(self, workers: int | None, resources: Resources) -> None:
        self.slots = workers or max(len(os.sched_getaffinity(0)) // resources.cpus, 1)
        self._threads = ThreadPoolExecutor(self.slots, thread_name_prefix="training")
        self._running: set[subprocess.Popen[str]] = set()
        self._lock, self._closed = threading.Lock(), False

    def submit(self, job: Job) -> Future[Outcome]:
        """Run a training when its turn comes."""
        return self._threads.submit(self._run, job)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End what still runs."""
        with self._lock:
            self._closed = True
            for process in self._running:
                process.kill()
        self._threads.shutdown(cancel_futures=True)

    def _run(self, job: Job) -> Outcome:
        with self._lock:
            if self._closed:
                return Outcome(status="crashed", message="stopped before it began")
            process = subprocess.Popen(
                [sys.executable, "-m", "chamnet.train"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the host, which ends it
            )
            self._running.add(process)
        try:
            output, last_words = _talk(process, json.dumps(job.to_dict()))
        finally:
            with self._lock:
                self._running.discard(process)
        return _outcome(process.returncode, output, last_words)


def _talk(process: "subprocess.Popen[str]", request: str) -> tuple[str, str]:
    """Send a request and return all that is said; stdin stays open, for its end tells the process that we are gone."""
    if not process.stdin or not process.stdout or not process.stderr:
        raise ValueError("the process needs pipes")
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read() if process.stderr else ""))
    reader.start()
    try:
        process.stdin.write(request + "\n")
        process.stdin.flush()
    except BrokenPipeError:  # it ended at once; its last words say why
        pass
    output = process.stdout.read()
    reader.join()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        try:
            pipe.close()
        except BrokenPipeError:
            continue
    return output, "".join(errors)


def _outcome(returncode: int, output: str, last_words: str) -> Outcome:
    """Read what a process said last.

    Raises:
        ChamNetError: The training could not be made; of the kind that the process met.
    """
    said = output.strip().splitlines()
    if returncode == 0 and said:
        return Outcome(**json.loads(said[-1]))
    if said and (error := json.loads(said[-1]).get("error")):
        raise error_of(error["type"], error["message"])
    how = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
    return Outcome(status="crashed", message=f"{how}: {last_words.strip()[-_LAST_WORDS:]}")
