"""A device made of real adbd, in a chroot of its own; needs root or user namespaces, and Debian's packages once."""

import select
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from adbd_root import ADBD, EMULATOR

__all__ = ["AdbdDevice", "CannotRunError"]

_CELL = Path(__file__).with_name("adbd_cell.py")
_UNSHARE = ["unshare", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child"]
_START_S = 120.0
_END_S = 60.0


class CannotRunError(Exception):
    """A device cannot run here; says why."""


class AdbdDevice:
    """A device that runs; it ends with `close`, and with this process.

    Attributes:
        root: Its files, to be read and changed from outside at any time; deleted by whoever gave the folder.
        address: `HOST:PORT` where adbd answers, which is also its serial number.

    Args:
        template: From `adbd_root`.
        root: A folder that does not exist yet.
        auth: Whether hosts need a key that is in `authorise`.
        binds: Folders of this machine, and where the device has them.
    """

    def __init__(
        self, template: Path, root: Path, *, auth: bool = False, binds: dict[Path, str] | None = None
    ) -> None:
        self.root = root
        shutil.copytree(template, root, symlinks=True)
        if auth:
            (root / ADBD).with_name("adbd-auth").replace(root / ADBD)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = f"127.0.0.1:{listener.getsockname()[1]}"
            self._cell = self._start(listener.fileno(), binds or {})
        if self._heard() != "ready":
            raise CannotRunError(self._failure())

    def _start(self, listener: int, binds: dict[Path, str]) -> "subprocess.Popen[str]":
        inside = [f"{source}:{target}" for source, target in binds.items()]
        emulator = self.path(f"{EMULATOR}")
        if emulator.exists():
            inside = ["--emulator", str(emulator), *inside]
        try:
            return subprocess.Popen(
                [*_UNSHARE, sys.executable, "-I", str(_CELL), str(self.root), str(listener), *inside],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[listener],
                text=True,
            )
        except FileNotFoundError as error:
            raise CannotRunError("no unshare(1) here") from error

    def _heard(self) -> str:
        assert self._cell.stdout is not None
        readable, _, _ = select.select([self._cell.stdout], [], [], _START_S)
        return self._cell.stdout.readline().strip() if readable else "nothing"

    def _failure(self) -> str:
        assert self._cell.stderr is not None
        self._cell.kill()
        said = self._cell.stderr.read().strip().splitlines()
        self.close()
        return f"no adbd in namespaces of its own: {said[-1] if said else 'it does not start'}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the device and everything that runs on it."""
        for pipe in (self._cell.stdin, self._cell.stdout, self._cell.stderr):
            if pipe is not None:
                pipe.close()
        self._cell.wait(_END_S)

    def unplug(self) -> None:
        """Cut the cable; everything on the device goes on."""
        self._order("unplug")

    def freeze(self) -> None:
        """Let connections stand, and carry nothing."""
        self._order("freeze")

    def plug(self) -> None:
        """Undo `unplug` and `freeze`."""
        self._order("plug")

    def _order(self, order: str) -> None:
        assert self._cell.stdin is not None
        self._cell.stdin.write(f"{order}\n")
        self._cell.stdin.flush()
        assert self._heard() == "done"

    def path(self, inside: str) -> Path:
        """Return where a path of the device lies outside."""
        return self.root / inside.lstrip("/")

    def authorise(self, public_key: Path) -> None:
        """Accept a host's key from its next connection on, as a tap on the phone's screen would."""
        with self.path("/data/misc/adb/adb_keys").open("a") as keys:
            keys.write(public_key.read_text().strip() + "\n")

    def answer(self, call: str, text: str) -> None:
        """Set what a stub says, to these arguments (`getprop ro.product.model`) or to any (`dumpsys`)."""
        self.path(f"/stubs/{call}").write_text(text)

    def calls(self) -> list[str]:
        """Return which stubs were called, with their arguments, first to last."""
        log = self.path("/stubs/calls")
        return log.read_text().splitlines() if log.exists() else []

    def log(self) -> str:
        """Return what adbd said."""
        return self.path("/adbd.log").read_text(errors="replace")
