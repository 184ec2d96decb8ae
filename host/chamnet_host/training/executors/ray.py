"""Trainings on a Ray cluster, or on a Ray of this machine's own that is started for them.

Every node needs the same Python, Ray and chamnet as this machine: `pip install 'chamnet[train,ray]'`; nothing is
uploaded. This machine has to be a node, too; `ray start --address HOST:PORT --num-cpus 0` makes it one without trainings.
Folders of datasets, checkpoints and weights are looked for on each node at the same path. A training whose node is lost
starts on another one: from its checkpoint where the nodes share that folder, else anew; both come to the same.
"""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import chamnet
from chamnet.errors import ConfigError
from chamnet.train import Job, Outcome
from chamnet.train.recipe import Resources
from chamnet_host.training.executors.base import error_of

__all__ = ["RayExecutor"]

log = logging.getLogger(__name__)

_RETRIES = 3  # of a training whose process or node is lost
_REACH_S, _LEAVE_S = 5.0, 10.0  # to reach an address; to end what runs
_LAST_WORDS = 400  # characters of what a lost training left
_STORE_BYTES = 100 * 2**20  # of the object store, which holds next to nothing
# Read when Ray is imported and by the processes it starts.
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": str(_RETRIES),
}  # the latter has no end by default
_LOOPBACK = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"
}  # one machine, so 127.0.0.1, as Ray has it on those systems


class RayExecutor:
    """Runs trainings as Ray tasks, each in a process of its own.

    A lost process or node is tried again; one lost too often gives the outcome `crashed`. So does an exception that is
    not one of ChamNet's, at once.

    Args:
        workers: Trainings at a time; None for as many as the nodes have room for, counted again at each `submit`.
        resources: What a training takes of a node.
        address: Of a running cluster: `auto` for the one of this machine, or HOST:PORT. None starts a Ray on this machine
            alone and ends it at exit.

    Attributes:
        slots: Trainings that run at a time; counted when the context is entered.

    Raises:
        ConfigError: Ray is not installed, or cannot share GPUs like that.
    """

    def __init__(self, workers: int | None, resources: Resources, *, address: str | None) -> None:
        if resources.gpus > 1 and resources.gpus % 1:
            raise ConfigError(
                f"recipe: resources.gpus = {resources.gpus:g}; Ray gives a part of one GPU, or several whole ones"
            )
        self.slots = workers or 1
        self._workers, self._resources, self._address = workers, resources, address
        self._ray = _import_ray(ours=address is None)
        self._running: dict[Future[Outcome], Any] = {}
        self._connection = ExitStack()
        self._task: Any = None

    def submit(self, job: Job) -> Future[Outcome]:
        """Run a training when its turn comes; a future that is cancelled ends it."""
        if self._task is None:
            raise ValueError("submit within the context of the executor")
        reference = self._task.remote(_anywhere(job).to_dict(), chamnet.__version__)
        future: Future[Outcome] = Future()
        self._running[future] = reference
        future.add_done_callback(self._forget)
        reference.future().add_done_callback(partial(self._take, future))
        self.slots = self._workers or max(self._room(), 1)
        return future

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            ConfigError: There is no such cluster, or no room for a training on it.
        """
        with ExitStack() as stack:
            if self._address is None:
                self._start(stack)
            else:
                self._join(self._address)
            stack.callback(self._ray.shutdown)  # of a cluster that was there before, it only takes leave
            room = self._room()
            if not room and (self._workers is None or self._address is None):
                raise ConfigError(
                    f"Ray has no node with {self._resources.cpus} CPUs and {self._resources.gpus:g} GPUs, which"
                    " [resources] of the recipe asks for; give --workers for a cluster that grows when asked"
                )
            self.slots = self._workers or room
            self._task = self._ray.remote(
                num_cpus=self._resources.cpus,
                num_gpus=self._resources.gpus,
                max_calls=1,  # a process of its own
                max_retries=_RETRIES,
                retry_exceptions=False,
            )(_training())
            self._connection = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """End what still runs, and disconnect."""
        references = list(self._running.values())
        for future in list(self._running):
            future.cancel()
        if references:
            self._ray.wait(references, num_returns=len(references), timeout=_LEAVE_S)
        self._task = None
        self._connection.close()

    def _start(self, stack: ExitStack) -> None:
        """Start a Ray that nobody else finds, and that leaves nothing behind."""
        folder = stack.enter_context(  # not TMPDIR: the path of a socket has 107 characters at most
            TemporaryDirectory(prefix="chamnet-ray-", dir="/tmp", ignore_cleanup_errors=True)
        )
        cores = len(os.sched_getaffinity(0))
        with _own_signals():
            self._ray.init(
                address="local",
                num_cpus=max(cores, self._resources.cpus * (self._workers or 1)),
                object_store_memory=_STORE_BYTES,
                include_dashboard=False,
                configure_logging=False,
                log_to_driver=False,
                _temp_dir=folder,
            )

    def _join(self, address: str) -> None:
        """Become a driver of a running cluster."""
        if address != "auto":
            _reach(address)
        failures = (OSError, RuntimeError, ValueError, self._ray.exceptions.RayError)
        try:
            with _own_signals():
                self._ray.init(address=address, configure_logging=False, log_to_driver=False)
        except failures as error:
            raise ConfigError(
                f"Ray address {address}: {error}; `ray start --head` starts a cluster, `ray start --address HOST:PORT`"
                " makes this machine a node of one, and without --ray-address trainings run on this machine"
            ) from error

    def _room(self) -> int:
        """Return how many trainings fit on the nodes there are."""
        need, count = self._resources, 0
        for node in self._ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            fit = int(has.get("CPU", 0) / need.cpus)
            if need.gpus:
                gpus = has.get("GPU", 0)
                fit = min(fit, int(gpus / need.gpus) if need.gpus >= 1 else int(gpus) * int(1 / need.gpus))
            count += fit
        return count

    def _forget(self, future: Future[Outcome]) -> None:
        reference = self._running.pop(future, None)
        if future.cancelled():
            self._ray.cancel(reference, force=True)

    def _take(self, future: Future[Outcome], raw: Future[dict[str, Any]]) -> None:
        """Turn what Ray gives into what was promised."""
        if not future.set_running_or_notify_cancel():
            return
        error = raw.exception()
        if isinstance(error, self._ray.exceptions.RayError):
            future.set_result(Outcome(status="crashed", message=str(error).strip()[-_LAST_WORDS:]))
        elif error is not None:
            future.set_exception(error)
        elif failure := raw.result().get("error"):
            future.set_exception(error_of(failure["type"], failure["message"]))
        else:
            future.set_result(Outcome(**raw.result()))


def _training() -> Callable[[dict[str, Any], str], dict[str, Any]]:
    """Return what runs on a node: a function within one, which Ray sends whole, so that it can miss chamnet there."""

    def chamnet_training(job: dict[str, Any], version: str) -> dict[str, Any]:
        import socket

        node = f"Ray node {socket.gethostname()}"
        install = f"pip install 'chamnet[train,ray]=={version}' there"
        try:
            import chamnet
            from chamnet.errors import ChamNetError
            from chamnet.train import Job
            from chamnet.train.trainer import train
        except ImportError as error:
            return {"error": {"type": "ConfigError", "message": f"{node}: {error}; {install}"}}
        if chamnet.__version__ != version:
            message = f"{node} has chamnet {chamnet.__version__}, the host {version}; {install}"
            return {"error": {"type": "ConfigError", "message": message}}
        try:
            return train(Job.from_dict(job)).to_dict()
        except ChamNetError as error:
            return {"error": {"type": type(error).__name__, "message": str(error)}}

    return chamnet_training


def _anywhere(job: Job) -> Job:
    """Return a job that does not hang on the working directory."""
    name, _, folder = job.dataset.partition(":")
    return replace(
        job,
        dataset=f"{name}:{Path(folder).absolute()}" if folder else job.dataset,
        checkpoint=job.checkpoint.absolute() if job.checkpoint else None,
        weights=job.weights.absolute() if job.weights else None,
    )


def _import_ray(*, ours: bool) -> Any:
    """Import Ray, and have it tell nobody of its use and print nothing.

    Raises:
        ConfigError: It is not installed.
    """
    os.environ.update(_ALWAYS)
    if ours:
        os.environ.update(_LOOPBACK)
        if (
            "ray" not in sys.modules
        ):  # later, Ray does not look and makes a token of its own, in the home directory
            os.environ.setdefault(
                "RAY_AUTH_MODE", "token"
            )  # other users of this machine reach its ports, too
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        ray, worker = import_module("ray"), import_module("ray._private.worker")
    except ImportError as error:
        raise ConfigError(f"executor ray: {error}; pip install 'chamnet[ray]'") from error
    # It prints lost workers on stdout, which is the CLI's, and has no setting against it.
    worker.print_to_stdstream = _log_instead  # type: ignore[attr-defined]
    return ray


def _log_instead(data: dict[str, Any], *arguments: object, **options: object) -> None:
    log.info("ray: %s", " ".join(data["lines"]))


def _reach(address: str) -> None:
    """Try an address, for Ray itself gives up only after minutes.

    Raises:
        ConfigError: Nobody listens there.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"Ray address {address!r}; give auto or HOST:PORT, as `ray start --head` prints it")
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
    except OSError as error:
        raise ConfigError(
            f"Ray address {address}: nobody answers ({error}); `ray start --head` prints the address of the cluster it starts"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what SIGTERM does, which Ray changes."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
