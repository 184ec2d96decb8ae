"""Programs and libraries that users bring: whether they are there, and which they are."""

import hashlib
from functools import lru_cache
from pathlib import Path

__all__ = ["digest_of", "why_no_file"]

_SHOWN = 12  # hexadecimal digits: enough to tell two builds apart


def why_no_file(path: Path) -> str | None:
    """Return None if there is a file that can be read, else what is wrong."""
    try:
        with path.open("rb"):
            return None
    except OSError as error:
        return f"{path}: {error.strerror or error}; put it there, on the device itself"


def digest_of(path: Path) -> str:
    """Return the begin of a file's SHA-256: its version, for nobody else gives it one."""
    facts = path.stat()
    return _digest(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=8)  # a server describes its backends several times
def _digest(path: Path, size_bytes: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_SHOWN]
