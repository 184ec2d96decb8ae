"""The contract of executors; `chamnet_host.testing` checks it."""

from concurrent.futures import Future
from types import TracebackType
from typing import Protocol, Self

import chamnet.errors
from chamnet.errors import ChamNetError, WorkerError
from chamnet.train import Job, Outcome

__all__ = ["Executor", "error_of"]


class Executor(Protocol):
    """Runs trainings.

    Used as a context manager; leaving it ends what still runs. A training that ends in an exception, such as a missing
    dataset, gives it to whoever asks the future; a process that is killed or lost gives the outcome `crashed`.

    Attributes:
        slots: Trainings that run at a time.
    """

    slots: int

    def submit(self, job: Job) -> Future[Outcome]:
        """Run a training when its turn comes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None: ...


def error_of(name: str, message: str) -> ChamNetError:
    """Return the error that a training met in another process, by the name of its class."""
    kind = getattr(chamnet.errors, name, WorkerError)
    return kind(message) if issubclass(kind, ChamNetError) else WorkerError(message)
