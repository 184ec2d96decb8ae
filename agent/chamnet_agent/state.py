"""The agent's state directory: lock, token, `agent.json` (`chamnet.wire.endpoint` draws it)."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chamnet.errors import ConfigError, DeviceBusyError
from chamnet.wire.endpoint import Endpoint

__all__ = ["StateDir", "held"]


class StateDir:
    """A state directory whose lock this process holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def token_file(self) -> Path:
        """Where the token is."""
        return self.path / "token"

    def new_token(self) -> str:
        """Write a fresh token that only the owner can read, and return it."""
        self.token_file.unlink(missing_ok=True)
        token = secrets.token_urlsafe(32)
        with os.fdopen(os.open(self.token_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token + "\n")
        return token


@contextmanager
def held(path: Path) -> Iterator[StateDir]:
    """Hold a state directory; token and `agent.json` are gone afterwards.

    Raises:
        DeviceBusyError: Another agent holds it; says which one.
        ConfigError: The directory cannot be made or written.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot keep the agent's files here ({error}); choose another --state-dir"
        ) from error
    try:
        _take(lock, path)
        state = StateDir(path)
        try:
            yield state
        finally:
            Endpoint.forget(path)
            state.token_file.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DeviceBusyError(_holder(lock, path)) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _holder(lock: int, path: Path) -> str:
    pid = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
    endpoint = Endpoint.load(path)
    where = f"listening on {endpoint.address}" if endpoint else "still starting"
    return (
        f"an agent already runs here: process {pid}, {where}, files in {path}; "
        f"use that one, or end it with: kill {pid}"
    )
