"""This machine as a board that runs an SSH server: a real dropbear, fetched from Debian once.

It listens on loopback and lets one key in. Each connection has a server of its own, which ends with it.
"""

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from chamnet.errors import BundleError, ConfigError
from chamnet_host.bundles.debian import DebianMirror, unpack

__all__ = ["CannotFetchError", "SshdBoard"]

_SUITE, _PACKAGE, _ARCH = "trixie", "dropbear-bin", "amd64"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


class CannotFetchError(Exception):
    """The server cannot be had here; says why."""


@dataclass
class SshdBoard:
    """A board to connect to.

    Attributes:
        cache: Where the server is kept; nobody else may write to it or above, or dropbear trusts no key there.
        folder: For keys and configuration of one test.
    """

    cache: Path
    folder: Path
    _socket: socket.socket = field(init=False)
    _servers: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    _serving: threading.Lock = field(default_factory=threading.Lock)  # a server that runs is in the list

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    @property
    def connections(self) -> int:
        """How many were made since it was plugged in."""
        return len(self._servers)

    @property
    def options(self) -> list[str]:
        """What ssh needs to get in, and to touch nothing of the user's."""
        known = self.folder / "known_hosts"
        return [
            "-F", "none", "-p", str(self.port), "-i", str(self.folder / "id"), "-o", "IdentitiesOnly=yes",
            "-o", f"UserKnownHostsFile={known}", "-o", "GlobalKnownHostsFile=none", "-o", "IdentityAgent=none",
        ]  # fmt: skip

    def __enter__(self) -> Self:
        root = _root(self.cache)
        self._program = [
            str(root / _LIBRARIES / "ld-linux-x86-64.so.2"),
            "--library-path",
            str(root / _LIBRARIES),
        ]
        host_key = self.folder / "host_key"
        made = subprocess.run(
            [*self._program, str(root / "usr/bin/dropbearkey"), "-t", "ed25519", "-f", str(host_key)],
            check=True,
            capture_output=True,
            text=True,
        )
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / "id")], check=True
        )
        self._authorised = self.cache / f"authorised-{os.getpid()}-{id(self)}"
        self._authorised.mkdir(mode=0o700)
        shutil.copy(self.folder / "id.pub", self._authorised / "authorized_keys")
        self._serve = [
            *self._program, str(root / "usr/sbin/dropbear"), "-i", "-E", "-s", "-r", str(host_key), "-D", str(self._authorised),
        ]  # fmt: skip
        self._socket = socket.create_server(("127.0.0.1", 0))
        public = next(line for line in made.stdout.splitlines() if line.startswith("ssh-ed25519"))
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}\n")
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # or accept would not notice
        self._socket.close()
        self.unplug()
        shutil.rmtree(self._authorised)

    def unplug(self) -> None:
        """Cut every connection."""
        with self._serving:
            for server in self._servers:
                server.kill()
                server.wait()
            self._servers.clear()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, self._serving, (self.folder / "log").open("ab") as log:
                self._servers.append(
                    subprocess.Popen(self._serve, stdin=connection, stdout=connection, stderr=log)
                )


def _root(cache: Path) -> Path:
    """Return the unpacked server, fetched where it is not there.

    Raises:
        CannotFetchError: No network and nothing in the cache.
    """
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / f"{_PACKAGE}-{_SUITE}"
    with (cache / "lock-sshd").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.is_dir():
            part = cache / f"{root.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            try:
                mirror = DebianMirror(_SUITE, _ARCH)
                for package in mirror.closure([_PACKAGE]):
                    unpack(mirror.fetch(package), part)
            except (BundleError, ConfigError) as error:
                raise CannotFetchError(str(error)) from error
            part.rename(root)
    return root
