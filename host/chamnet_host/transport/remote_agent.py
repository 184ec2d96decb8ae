"""An agent on a device that is reached through a shell: found, started, ended."""

import json
import shlex
from dataclasses import dataclass
from typing import NoReturn

from chamnet.clock import Clock
from chamnet.errors import (
    ConfigError,
    DeviceBusyError,
    DeviceError,
    DeviceUnreachableError,
    TokenError,
    UsageError,
)
from chamnet.wire.endpoint import Endpoint
from chamnet_host.bundles.manifest import WRITABLE
from chamnet_host.transport.shell import DeviceShell

__all__ = ["PID", "Process", "RemoteAgent"]

PID = f"{WRITABLE}/pid"
"""File in a bundle's folder with the number of the process that was started last."""

_POLL_S = 0.05
_END_S = 10
_LAST_CHARS = 2_000
_WORDS_S = 5.0  # for the log to be read: the device may be silent
_BEGIN_S = 10
_LOG, _EXIT = f"{WRITABLE}/log", f"{WRITABLE}/exit"
_CONNECTED = "01"  # state of a connection in /proc/net/tcp, where addresses are hexadecimal
_MODULE = "chamnet_agent"
_TAKEN = 43  # a code of ours: another agent runs there
_CALL_S = 2.0  # for the host of an agent that listens to call it: it has just read where, or calls again
# Set `pid` to that of the agent: of the one that holds the lock, or of one that was started and does not hold it yet.
_FIND = f"for f in {WRITABLE}/agent/lock {PID}; do [ -s $f ] && read -r pid <$f && grep -qs {_MODULE} /proc/$pid/cmdline && break; done"


@dataclass(frozen=True, slots=True)
class Process:
    """An agent's process.

    Attributes:
        pid: On the device.
        arguments: Its command line.
    """

    pid: int
    arguments: tuple[str, ...]

    def has_flags(self, flags: tuple[str, ...]) -> bool:
        """Return whether it was started with these."""
        return self.arguments[-len(flags) :] == flags


class RemoteAgent:
    """The agent of a bundle's folder on a device; there is one at most.

    Args:
        shell: Of the device; left open.
        folder: There; holds `agent-python`.
        flags: Of `chamnet-agent serve`, without those for where it keeps its files.
        clock: Tells how long a start takes.
    """

    def __init__(self, shell: DeviceShell, folder: str, flags: tuple[str, ...], clock: Clock) -> None:
        self._shell = shell
        self._folder = folder
        self._state_dir = f"{folder}/{WRITABLE}/agent"
        self._flags = ("--state-dir", self._state_dir, *flags)
        self._clock = clock

    @property
    def name(self) -> str:
        """Name of the device."""
        return self._shell.name

    def running(self) -> Process | None:
        """Return the agent's process, if one runs."""
        found = self._shell.run(
            f"cd {shlex.quote(self._folder)} && {_FIND} && echo $pid && tr '\\0' '\\n' </proc/$pid/cmdline"
        )
        pid, *arguments = found.stdout.splitlines() or [""]
        if found.code or not pid.isdecimal() or _MODULE not in arguments:
            return None  # or the number of one that was shot is another program's now
        return Process(int(pid), tuple(arguments))

    def is_ours(self, process: Process) -> bool:
        """Return whether it was started as this one would be."""
        return process.has_flags(self._flags)

    def endpoint(self) -> Endpoint | None:
        """Return where the agent listens; None if it does not yet."""
        path = f"{self._state_dir}/agent.json"
        content = self._shell.read(path)
        try:
            return None if content is None else Endpoint(**json.loads(content))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{self._shell.name}:{path}: not an agent's file ({error})") from error

    def token(self) -> str:
        """Return the token of the agent that runs.

        Raises:
            TokenError: There is none.
        """
        content = self._shell.read(f"{self._state_dir}/token")
        if not content or not content.strip():
            raise TokenError(
                f"{self._shell.name}:{self._state_dir}: the agent has no token; it is ending perhaps"
            )
        return content.decode("ascii").strip()

    def has_host(self, port: int) -> bool:
        """Return whether a host is connected to the agent."""
        table = self._shell.run("cat /proc/net/tcp /proc/net/tcp6").stdout
        rows = (line.split() for line in table.splitlines())
        return any(row[1].endswith(f":{port:04X}") and row[3] == _CONNECTED for row in rows if len(row) > 3)

    def in_use(self, process: Process, *, start_s: float = 60.0) -> Endpoint | None:
        """Return where an agent listens that a host uses; None if nobody does.

        Args:
            process: The agent's. Another host may have just started it: it is waited for, and for that host's first call.
            start_s: For it to listen.
        """
        deadline_ns = self._clock.now_ns() + round(start_s * 1e9)
        while (endpoint := self.endpoint()) is None or endpoint.pid != process.pid:
            if self._clock.now_ns() > deadline_ns or self.running() is None:
                return None
            self._clock.sleep_s(_POLL_S)
        deadline_ns = self._clock.now_ns() + round(_CALL_S * 1e9)
        while not self.has_host(endpoint.port):
            if self._clock.now_ns() > deadline_ns:
                return None
            self._clock.sleep_s(_POLL_S)
        return endpoint

    def start(self, timeout_s: float) -> tuple[Process, Endpoint]:
        """Start the agent, apart from everything that this host holds, and return where it answers.

        Raises:
            ConfigError: It cannot start as asked; says why.
            DeviceBusyError: Another host has just started one.
            DeviceUnreachableError: It ended, or does not answer in time.
            DeviceError: It cannot be run at all.
        """
        serve = shlex.join(["./agent-python", "-P", "-m", _MODULE, "serve", *self._flags])
        # Nothing of this may hold the shell's own outputs, or the shell would not end. Without exec, mksh, the shell of
        # Android, would keep a copy of itself between, and tell that one's number.
        wrapper = f"exec {serve} & echo $! >{PID}; wait $!; echo $? >{_EXIT}"
        begun = self._shell.run(
            f"cd {shlex.quote(self._folder)} && umask 077 && mkdir -p {WRITABLE} || exit 1;"
            f" {_FIND} && exit {_TAKEN};"
            f" rm -f {PID} {_EXIT} {WRITABLE}/agent/agent.json;"
            f" {{ exec setsid sh -c {shlex.quote(wrapper)} </dev/null >{_LOG} 2>&1 & }};"
            f" i=0; while [ ! -s {PID} ] && [ $i -lt {_BEGIN_S * 20} ]; do sleep 0.05; i=$((i+1)); done; cat {PID}"
        )
        if begun.code == _TAKEN:
            raise self._taken()
        if begun.code or not begun.stdout.strip().isdecimal():
            why = self.last_words() or begun.stderr.strip()[-300:]
            raise DeviceError(f"{self._shell.name}: the agent cannot be run: {why}")
        process = Process(int(begun.stdout), self._flags)
        return process, self._answering(process, timeout_s)

    def stop(self, process: Process) -> None:
        """End an agent; harmless if it has ended."""
        pid = process.pid
        self._shell.run(
            f"grep -q {_MODULE} /proc/{pid}/cmdline || exit 0; kill {pid};"
            f" i=0; while kill -0 {pid} && [ $i -lt {_END_S * 10} ]; do sleep 0.1; i=$((i+1)); done;"
            f" kill -9 {pid}",
            timeout_s=_END_S * 2,
        )

    def last_words(self) -> str:
        """Return the last lines of the agent's log; empty if there is none, or the device is gone."""
        try:
            return self._shell.run(
                f"tail -c {_LAST_CHARS} {shlex.quote(self._folder)}/{_LOG}", timeout_s=_WORDS_S
            ).stdout.strip()
        except DeviceError:
            return ""

    def _answering(self, process: Process, timeout_s: float) -> Endpoint:
        """Return where a process listens, once it does."""
        deadline_ns = self._clock.now_ns() + round(timeout_s * 1e9)
        while (endpoint := self.endpoint()) is None or endpoint.pid != process.pid:
            if code := (self._shell.read(f"{self._folder}/{_EXIT}") or b"").strip():
                self._fail(int(code))
            if self._clock.now_ns() > deadline_ns:
                self.stop(process)
                raise DeviceUnreachableError(
                    f"{self._shell.name}: the agent did not answer within {timeout_s:.0f} s{self._quoted_words()}"
                )
            self._clock.sleep_s(_POLL_S)
        return endpoint

    def _fail(self, code: int) -> NoReturn:
        """Raise what fits an agent that has ended."""
        if code == UsageError.exit_code:
            raise ConfigError(f"{self._shell.name}: {self.last_words() or 'the agent does not start'}")
        if self.running() is not None:
            raise self._taken()
        raise DeviceUnreachableError(
            f"{self._shell.name}: the agent ended at once, with {code}{self._quoted_words()}"
        )

    def _taken(self) -> DeviceBusyError:
        return DeviceBusyError(f"{self._shell.name}: another host has just started an agent; try again")

    def _quoted_words(self) -> str:
        words = self.last_words()
        return f"; its last lines:\n{words}" if words else ", without a word"
