"""An agent on this machine: one that runs already, else one of our own."""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from chamnet.clock import Clock, SystemClock
from chamnet.errors import ChamNetError, ConfigError, DeviceBusyError, DeviceUnreachableError, UsageError
from chamnet.wire.endpoint import Endpoint, default_state_dir, read_token
from chamnet_host.client import DeviceClient
from chamnet_host.transport.base import Connection

__all__ = ["LocalTransport"]

log = logging.getLogger(__name__)

_POLL_S = 0.02
_ANSWER_S = 10.0  # nobody is there for long: where none listens, that shows at once
_END_S = 5.0
_LAST_CHARS = 2_000


class LocalTransport:
    """Uses the agent that runs on this machine; if none answers, starts one and ends it on `close`.

    The child ends with this process however that ends: its stdin closes.

    Args:
        backend: The agent's default; None leaves the choice to it.
        cores: To measure on, such as `0,1`; `auto` for the fastest.
        threads: The backend computes with.
        governor: Of these cores while the agent runs; empty to leave it.
        flags: More of `chamnet-agent serve`, of single backends.
        own: Whether to start an agent even if one runs, with a state directory of its own. Two agents that measure
            at the same time disturb each other: for tests.
        start_s: For a child to answer.
        environ: Says where a running agent keeps its files.
        clock: Tells how long a child has had.
    """

    def __init__(
        self,
        *,
        backend: str | None = None,
        cores: str = "auto",
        threads: int = 1,
        governor: str = "",
        flags: Sequence[str] = (),
        own: bool = False,
        start_s: float = 60.0,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._flags = ["--cores", cores, "--threads", str(threads)]
        if backend:
            self._flags += ["--backend", backend]
        if governor:
            self._flags += ["--governor", governor]
        self._flags += flags
        self._own = own
        self._plain = not backend and cores == "auto" and threads == 1 and not governor and not flags
        self._start_s = start_s
        self._environ = dict(os.environ if environ is None else environ)
        self._clock = clock or SystemClock()
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._connection: Connection | None = None

    def open(self) -> Connection:
        """Return where the running agent, or a new one, answers.

        Raises:
            DeviceUnreachableError: A new one does not answer in time.
            DeviceBusyError: One runs, with other settings than asked for.
            ConfigError: It cannot start as asked; says why.
        """
        if self._connection is None:
            running = None if self._own else self._running()
            if running and not self._plain:
                raise DeviceBusyError(
                    f"an agent already runs on this machine, at {running.address}, perhaps with other settings than"
                    f" {' '.join(self._flags)}; end it first, or measure with it: --target {running.address}"
                )
            self._connection = running or self._start()
        return self._connection

    def close(self) -> None:
        """End the agent that `open` started and remove its files."""
        self._connection = None
        if self._child is not None:
            _end(self._child)
            self._child = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def last_words(self) -> str:
        """Return the last lines of the agent that `open` started."""
        if self._folder is None:
            return ""
        try:
            return (
                self._log(self._folder).read_text(encoding="utf-8", errors="replace")[-_LAST_CHARS:].strip()
            )
        except OSError:
            return ""

    def _running(self) -> Connection | None:
        """Return the agent under the default state directory if it answers."""
        state_dir = default_state_dir(self._environ)
        try:
            endpoint = Endpoint.load(state_dir)
            if endpoint is None:
                return None
            connection = Connection(endpoint.address, read_token(Path(endpoint.token_file)))
            with DeviceClient(
                connection.address, connection.token, tls=connection.tls, timeout_s=_ANSWER_S
            ) as client:
                return connection if client.health() else None
        except ChamNetError as error:
            log.info("not using the agent of %s: %s", state_dir, error)
            return None

    def _start(self) -> Connection:
        self._folder = Path(tempfile.mkdtemp(prefix="chamnet-local-"))
        state_dir = (
            self._folder if self._own else default_state_dir(self._environ)
        )  # there, one agent a machine
        # without -P, a json.py in the user's folder would be imported; without a lease, long pauses are fine
        command = [
            sys.executable,
            "-P",
            "-m",
            "chamnet_agent",
            "serve",
            "--until-stdin-closes",
            "--lease",
            "0",
        ]
        with self._log(self._folder).open("wb") as stderr:
            self._child = subprocess.Popen(
                [*command, "--state-dir", str(state_dir), *self._flags],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=self._environ,
            )
        try:
            endpoint = self._wait(self._child, state_dir)
            return Connection(endpoint.address, read_token(Path(endpoint.token_file)))
        except BaseException:
            self._child.kill()
            self.close()
            raise

    def _wait(self, child: "subprocess.Popen[bytes]", state_dir: Path) -> Endpoint:
        """Return where the child listens, once it does."""
        deadline_ns = self._clock.now_ns() + round(self._start_s * 1e9)
        while (endpoint := Endpoint.load(state_dir)) is None or endpoint.pid != child.pid:
            if child.poll() == UsageError.exit_code:
                raise ConfigError(f"this machine: {self.last_words() or 'the agent does not start'}")
            if child.poll() is not None or self._clock.now_ns() > deadline_ns:
                how = (
                    f"did not answer within {self._start_s:.0f} s"
                    if child.poll() is None
                    else "ended at once"
                )
                raise DeviceUnreachableError(
                    f"this machine: the agent {how}; its last lines:\n{self.last_words()}"
                )
            self._clock.sleep_s(_POLL_S)
        return endpoint

    @staticmethod
    def _log(folder: Path) -> Path:
        return folder / "agent.log"


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Ask an agent to end, ever less politely."""
    if child.stdin:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
    for last_resort in (child.terminate, child.kill):
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            last_resort()
        else:
            return
    child.wait(_END_S)
