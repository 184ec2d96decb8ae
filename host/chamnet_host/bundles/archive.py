"""A bundle in one file: a tar archive, the same bytes for the same bundle."""

import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from chamnet.errors import BundleError, ConfigError
from chamnet_host.bundles.downloads import write_whole
from chamnet_host.bundles.manifest import NAME, Manifest

__all__ = ["SUFFIXES", "check_archive_name", "write_archive"]

SUFFIXES = (".tar.xz", ".tar.gz")
_TOP = "chamnet"  # the folder that it unpacks to


def check_archive_name(path: Path) -> None:
    """Refuse a name that tells no known compression.

    Raises:
        ConfigError: It does not.
    """
    if not path.name.endswith(SUFFIXES):
        raise ConfigError(f"--archive {path}: expected a name that ends in {' or '.join(SUFFIXES)}")


def write_archive(
    folder: Path,
    manifest: Manifest,
    path: Path,
    *,
    progress: Callable[[int, int, str], None] = lambda _done, _total, _remark: None,
) -> None:
    """Pack a bundle; it unpacks to the folder `chamnet`.

    Args:
        folder: The bundle.
        manifest: Of it.
        path: File to write, `.tar.xz` or `.tar.gz`.
        progress: Told files packed, files in all, and the name of one.

    Raises:
        ConfigError: Another kind of name.
        BundleError: It cannot be written.
    """
    check_archive_name(path)

    def fill(file: IO[bytes]) -> None:
        with _compressing(file, path) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
            names = [*manifest.files, NAME]
            for done, name in enumerate(names):
                progress(done, len(names), name)
                _add(archive, name, folder, mode=int(manifest.files[name].mode, 8) if name != NAME else 0o644)

    write_whole(path, fill)


def _add(archive: tarfile.TarFile, name: str, folder: Path, *, mode: int) -> None:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(f"{folder / name}: cannot be read ({error.strerror})") from error
    info = tarfile.TarInfo(f"{_TOP}/{name}")  # no owner
    info.size, info.mode = len(content), mode
    info.mtime = _date_s(content)
    archive.addfile(info, io.BytesIO(content))


def _date_s(content: bytes) -> int:
    """Return a time, between 1970 and 1978, that changes with a file and with nothing else.

    Python tells by size and time whether what it compiled before is of the file that is there: one without a time would be taken
    for that of a bundle which was unpacked there earlier.
    """
    return int.from_bytes(hashlib.sha256(content).digest()[:4]) >> 4


def _compressing(file: IO[bytes], path: Path) -> lzma.LZMAFile | gzip.GzipFile:
    if path.name.endswith(".xz"):
        return lzma.LZMAFile(file, "wb", preset=6)
    return gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0)
