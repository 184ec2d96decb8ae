"""A board's shell by the system's OpenSSH client.

One connection is made, with the user's own configuration, keys and known hosts; commands, files and forwards share it. Nothing
is asked on a terminal: what would need an answer is an error that says what to do first.
"""

import contextlib
import shlex
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from chamnet.errors import ConfigError, DeviceError, DeviceLostError, DeviceUnreachableError
from chamnet_host.transport.deployed import DeployedTransport
from chamnet_host.transport.shell import Finished, Upload

__all__ = ["FOLDER", "SshShell", "SshTransport"]

FOLDER = "~/.cache/chamnet-agent"
"""Where a board keeps the bundle, in its user's home."""

_CONNECT_S = 10
_LOST = 255  # ssh's own exit code: not the command's
_ABSENT = 44  # a code of ours: no such file
_PUSH_S = 600.0
_READ_S = 60.0
_ASKED_S = 10.0
_PORT_TRIES = 5
_SHOWN = 3  # lines of tar
_PREFIX = "chamnet-ssh-"
_STALE_S = 600  # an empty folder of this age is not of a connection that is being made
_OPTIONS = (
    "BatchMode=yes",
    f"ConnectTimeout={_CONNECT_S}",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "ExitOnForwardFailure=yes",
    "ForwardX11=no",
    "ForwardAgent=no",
    "ClearAllForwardings=no",
)


class SshShell:
    """Runs commands on a board and carries files there and back.

    Args:
        host: As after `ssh`: a name of the user's configuration, `HOST`, or `USER@HOST`.
        options: More options of ssh, such as `-p 2222`.
        linger_s: After which the connection ends if this process is shot; a tunnel that is used keeps it.

    Raises:
        ConfigError: There is no ssh here, or the board asks for what only the user can answer.
        DeviceUnreachableError: The board does not answer.
    """

    def __init__(self, host: str, *, options: Sequence[str] = (), linger_s: int = 600) -> None:
        if shutil.which("ssh") is None:
            raise ConfigError("there is no `ssh` here; install OpenSSH's client")
        if host.startswith("-"):
            raise ConfigError(f"{host!r}: not the name of a host")
        self._host = host
        self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # short: sockets have short names
        _sweep(self._folder)
        self._own = ["ssh", "-S", str(self._folder / "c"), *options]
        self._own += [word for option in _OPTIONS for word in ("-o", option)]
        self._base = [*self._own, "-o", "ProxyCommand=false"]  # never a connection but the shared one
        try:
            self._connect(linger_s)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    @property
    def name(self) -> str:
        """Name of the board, as given."""
        return self._host

    def run(self, command: str, *, timeout_s: float = 30.0) -> Finished:
        """Run a command line in the board's `sh` and return how it ended."""
        done = self._ssh(
            [self._host, f"sh -c {shlex.quote(command)}"], f"running `{_short(command)}`", timeout_s
        )
        return Finished(code=done.returncode, stdout=_text(done.stdout), stderr=_text(done.stderr))

    def push(self, files: Iterable[Upload]) -> int:
        """Write files, through one stream of tar, and return the bytes sent."""
        command = [*self._base, self._host, "tar -x -o -p -f - -C /"]
        sent = 0
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors
            ) as process,
            _killed_after(_PUSH_S, process),
        ):
            pipe = cast(IO[bytes], process.stdin)
            with contextlib.suppress(BrokenPipeError):
                for upload in files:
                    sent += _send(pipe, upload)
                pipe.write(bytes(2 * tarfile.BLOCKSIZE))  # the end of an archive
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
            code = process.wait()
            errors.seek(0)
            said = _text(errors.read())
        if code == _LOST or code < 0:
            raise self._lost("writing files", said)
        if code:
            lines = [f"/{line.removeprefix('tar: ')}" for line in said.splitlines() if "Exiting" not in line]
            raise DeviceError(f"{self._host}: writing files: {'; '.join(lines[:_SHOWN])}")
        return sent

    def read(self, path: str) -> bytes | None:
        """Return what a file holds; None where there is none."""
        quoted = shlex.quote(path)
        command = f"[ -e {quoted} ] || exit {_ABSENT}; cat {quoted}"
        done = self._ssh([self._host, f"sh -c {shlex.quote(command)}"], f"reading {path}", _READ_S)
        if done.returncode == _ABSENT:
            return None
        if done.returncode:
            raise DeviceError(f"{self._host}: reading {path}: {_text(done.stderr).strip()[-300:]}")
        return done.stdout

    def forward(self, port: int) -> str:
        """Return the near end of a forward to a port of the board."""
        for _ in range(_PORT_TRIES):
            with socket.create_server(("127.0.0.1", 0)) as free:
                local = free.getsockname()[1]
            spec = f"127.0.0.1:{local}:127.0.0.1:{port}"
            done = self._ssh(["-O", "forward", "-L", spec, self._host], f"forwarding port {port}", _ASKED_S)
            if not done.returncode:
                return f"127.0.0.1:{local}"
        raise DeviceError(
            f"{self._host}: port {port} cannot be forwarded: {_text(done.stderr).strip()[-300:]}"
        )

    def close(self) -> None:
        """End forwards and hang up."""
        if self._folder.exists():
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    [*self._base, "-O", "exit", self._host],
                    capture_output=True,
                    check=False,
                    timeout=_ASKED_S,
                )
            shutil.rmtree(self._folder, ignore_errors=True)

    def _connect(self, linger_s: int) -> None:
        """Start the connection that everything shares; it ends with `close`."""
        command = [
            *self._own, "-o", "ControlMaster=yes", "-o", f"ControlPersist={linger_s}", "-N", "-f", self._host
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                check=False, timeout=3 * _CONNECT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise DeviceUnreachableError(f"{self._host}: no answer within {3 * _CONNECT_S} s") from error
        if not done.returncode:
            return
        said = _text(done.stderr).strip()[-300:]
        if "verification failed" in said or "Permission denied" in said:
            raise ConfigError(
                f"{self._host}: {said}; run `ssh {self._host}` once by hand, until it needs no answer: accept the board's key,"
                f" and `ssh-copy-id {self._host}`"
            )
        raise DeviceUnreachableError(
            f"{self._host}: {said}; is it switched on, and does `ssh {self._host}` work?"
        )

    def _ssh(
        self, words: Sequence[str], doing: str, timeout_s: float
    ) -> "subprocess.CompletedProcess[bytes]":
        try:
            done = subprocess.run(
                [*self._base, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceUnreachableError(
                f"{self._host}: {doing}: no end within {timeout_s:g} s; is it switched on, and the network sound?"
            ) from error
        if done.returncode == _LOST and "-O" not in words:
            raise self._lost(doing, _text(done.stderr))
        return done

    def _lost(self, doing: str, said: str) -> DeviceLostError:
        return DeviceLostError(
            f"{self._host}: the board went away while {doing} ({said.strip()[-200:] or 'killed'}); connect it again and run"
            " the same command: what is whole on it is not sent again"
        )


def _sweep(own: Path) -> None:
    """Remove what hosts that were shot have left: folders whose connection has ended."""
    for other in own.parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # used still, or another user's
            if own.stat().st_mtime - other.stat().st_mtime > _STALE_S:
                other.rmdir()


def _send(pipe: IO[bytes], upload: Upload) -> int:
    """Put a file into a stream of tar, and return its size; tar replaces what is there, it does not write into it."""
    content = upload.source.read_bytes()
    entry = tarfile.TarInfo(upload.target.lstrip("/"))
    entry.size, entry.mode = len(content), upload.mode
    entry.mtime = int(upload.source.stat().st_mtime)
    pipe.write(entry.tobuf(tarfile.GNU_FORMAT))
    pipe.write(content)
    pipe.write(bytes(-len(content) % tarfile.BLOCKSIZE))
    return len(content)


@contextlib.contextmanager
def _killed_after(seconds: float, process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Kill a process that takes longer, or whose block is left by an error."""
    stopper = threading.Timer(seconds, process.kill)
    stopper.start()
    try:
        yield
    except BaseException:
        process.kill()
        raise
    finally:
        stopper.cancel()


def _short(command: str) -> str:
    line = " ".join(command.split())
    return line if len(line) <= 60 else line[:57] + "..."


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


class SshTransport(DeployedTransport):
    """Puts an agent on a board that ssh reaches, starts it, and forwards its port.

    Args:
        host: As after `ssh`.
        bundle: Folder with `manifest.json`.
        options: More options of ssh.
        more: What `DeployedTransport` takes.
    """

    def __init__(self, host: str, bundle: Path, *, options: Sequence[str] = (), **more: Any) -> None:
        more.setdefault("folder", FOLDER)
        super().__init__(partial(SshShell, host, options=options), bundle, **more)
