"""Files from mirrors, kept in a cache and checked against their sums."""

import hashlib
import http.client
import io
import logging
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeVar

from chamnet import files
from chamnet.errors import BundleError

__all__ = ["Downloads", "default_cache", "sha256_of", "write_whole"]

log = logging.getLogger(__name__)
T = TypeVar("T")

_TRIES = 3
_TIMEOUT_S = 60.0
_CHUNK_BYTES = 1 << 20
_UNKNOWN_BYTES = 4 << 20  # at most, of a file whose size nobody announced


def default_cache(environ: Mapping[str, str]) -> Path:
    """Return where downloads are kept unless told: `$XDG_CACHE_HOME/chamnet`, else `~/.cache/chamnet`."""
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "chamnet"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a part of a bundle, or all of one, that others see whole or not at all; its folder is made.

    Raises:
        BundleError: It cannot be written.
    """
    try:
        files.write_whole(path, fill)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written ({error.strerror or error})") from error


class Downloads:
    """Fetches files into a cache folder: a file there is whole, and was checked.

    Args:
        cache: Folder; made when something is kept.
        offline: Whether to use the cache alone.
    """

    def __init__(self, cache: Path, *, offline: bool = False) -> None:
        self.cache = cache
        self.offline = offline

    def file(self, url: str, name: str, *, sha256: str, size_bytes: int) -> Path:
        """Return a file of known content, from the cache or else from its address.

        Args:
            url: `http`, `https` or `file`.
            name: Path in the cache.
            sha256: Its sum, in hexadecimal.
            size_bytes: Its length.

        Raises:
            BundleError: It cannot be had, or is not what was announced.
        """
        kept = self.cache / name
        if kept.is_file() and kept.stat().st_size == size_bytes and sha256_of(kept) == sha256:
            return kept

        def fill(file: IO[bytes]) -> None:
            try:
                length, found = self._fetch(url, file, size_bytes)
            except _NotThereError as error:
                raise BundleError(str(error)) from error
            if length < size_bytes:
                raise BundleError(f"{url}: ended after {length:,} of {size_bytes:,} bytes; try again")
            if found != sha256:
                raise BundleError(
                    f"{url}: SHA-256 is {found[:12]}..., expected {sha256[:12]}...; the mirror is being updated, or"
                    " the file was changed on its way: try again later, or another mirror"
                )

        write_whole(kept, fill)
        return kept

    def latest(self, url: str, name: str, check: Callable[[bytes], T]) -> T:
        """Return what `check` makes of a file as it is now; of the copy in the cache if nobody answers.

        Args:
            url: `http`, `https` or `file`.
            name: Path in the cache.
            check: Raises if the content is not to be trusted: such content is not kept.

        Raises:
            BundleError: Nobody answers, and the cache holds none.
        """
        kept, buffer = self.cache / name, io.BytesIO()
        try:
            self._fetch(url, buffer, _UNKNOWN_BYTES)
        except _NotThereError as error:
            if not kept.is_file():
                raise BundleError(str(error)) from error
            if not self.offline:
                log.warning("%s; going on with what was fetched before", error)
            return check(kept.read_bytes())
        content = buffer.getvalue()
        checked = check(content)
        write_whole(kept, lambda file: file.write(content))
        return checked

    def _fetch(self, url: str, file: IO[bytes], limit_bytes: int) -> tuple[int, str]:
        """Write what lies at an address, and one byte more than the limit at most; return length and SHA-256."""
        if self.offline:
            raise _NotThereError(f"{url}: not in {self.cache}; it can be fetched without --offline")
        for left in reversed(range(_TRIES)):
            file.seek(0)
            file.truncate()
            try:
                return _copy(url, file, limit_bytes)
            except (OSError, http.client.HTTPException) as error:
                if left == 0 or getattr(error, "code", 500) < 500:
                    raise _NotThereError(
                        f"{url}: cannot be fetched ({error}); check the network, or name another mirror"
                        " (--mirror, $CHAMNET_DEBIAN_MIRROR)"
                    ) from error
                log.info("%s: %s; trying again", url, error)
        raise AssertionError("unreachable")


class _NotThereError(Exception):
    """Nobody answers, the mirror lacks the file, or nothing may be asked for."""


def _copy(url: str, file: IO[bytes], limit_bytes: int) -> tuple[int, str]:
    digest, length = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        while length <= limit_bytes and (chunk := answer.read(_CHUNK_BYTES)):
            file.write(chunk)
            digest.update(chunk)
            length += len(chunk)
    return length, digest.hexdigest()
