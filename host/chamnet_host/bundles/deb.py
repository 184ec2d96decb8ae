"""Debian packages as files: an `ar` archive that holds a tar archive (deb(5)), unpacked without dpkg."""

import io
import lzma
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO

from chamnet.errors import BundleError

__all__ = ["unpack"]

_MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60
_MODES = {"": "r:", ".gz": "r:gz", ".xz": "r:xz", ".bz2": "r:bz2"}


def unpack(deb: Path, root: Path, *, wanted: Callable[[str], bool] = lambda _path: True) -> None:
    """Unpack the files of a package; none of its scripts is run, owners and times are not kept.

    Symbolic links that are absolute become relative to the root. Device files are refused.

    Args:
        deb: The package.
        root: Folder; made if absent. What it holds already is replaced where names are the same.
        wanted: Chooses by path, such as `usr/bin/python3.11`; folders are made as needed.

    Raises:
        BundleError: Not a package, damaged, compressed in an unknown way, or it would write outside of the root.
    """
    root.mkdir(parents=True, exist_ok=True)
    root = root.resolve()
    try:
        with _data(deb) as archive:
            for member in archive:
                path = _inside(member.name)
                if path is None:
                    raise tarfile.ExtractError(f"{member.name!r} would lie outside of the folder")
                if not member.isdir() and wanted(str(path)):
                    _write(archive, member, root, path)
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError) as error:
        raise BundleError(f"{deb.name}: cannot be unpacked ({error})") from error


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, path: PurePosixPath) -> None:
    """Write one member that is no folder.

    Raises:
        ExtractError: It would lie, or lead, outside of the root.
    """
    place = root / path
    _check_within(place.parent, root, member)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or place.is_file():
        place.unlink()
    if member.issym():
        target = _relative_target(member.linkname, path)
        _check_within(place.parent / target, root, member)
        place.symlink_to(target)
    elif member.islnk():
        source = root / (_inside(member.linkname) or "")
        _check_within(source, root, member)
        shutil.copyfile(source, place)
        place.chmod(source.stat().st_mode & 0o777)
    elif member.isfile():
        content = archive.extractfile(member)
        assert content is not None
        with place.open("wb") as file:
            shutil.copyfileobj(content, file)
        place.chmod(member.mode & 0o777)
    else:
        raise tarfile.ExtractError(f"{member.name!r} is neither a file nor a link")


def _inside(name: str) -> PurePosixPath | None:
    """Return a member's path below the root, such as `usr/bin/x` of `./usr/bin/x`; None if it is not below."""
    path = PurePosixPath(name)
    return None if path.is_absolute() or ".." in path.parts else path


def _relative_target(target: str, link: PurePosixPath) -> str:
    if not target.startswith("/"):
        return target
    return "../" * (len(link.parts) - 1) + target.lstrip("/")


def _check_within(path: Path, root: Path, member: tarfile.TarInfo) -> None:
    """Refuse a path that leaves the root, links followed.

    Raises:
        ExtractError: It does.
    """
    if not Path(os.path.realpath(path)).is_relative_to(root):
        raise tarfile.ExtractError(f"{member.name!r} would lead outside of the folder")


@contextmanager
def _data(deb: Path) -> Iterator[tarfile.TarFile]:
    """Open the archive of the files that a package installs."""
    with deb.open("rb") as file:
        for name, length in _members(file, deb.name):
            if name.startswith("data.tar"):
                content = io.BytesIO(file.read(length))
                if len(content.getbuffer()) < length:
                    break
                with _open(content, name.removeprefix("data.tar"), deb.name) as archive:
                    yield archive
                return
    raise BundleError(f"{deb.name}: cannot be unpacked (it ends before its files)")


def _members(file: IO[bytes], name: str) -> Iterator[tuple[str, int]]:
    """Yield name and length in bytes of each member of an `ar` archive, the file standing at its content."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise BundleError(f"{name}: not a Debian package")
    while len(header := file.read(_HEADER_BYTES)) == _HEADER_BYTES:
        length, start = int(header[48:58]), file.tell()
        yield header[:16].decode("ascii").strip().rstrip("/"), length
        file.seek(start + length + length % 2)


def _open(content: IO[bytes], suffix: str, name: str) -> tarfile.TarFile:
    if suffix == ".zst":
        return tarfile.open(fileobj=_unzstd(content, name), mode="r:")
    if suffix not in _MODES:
        raise BundleError(f"{name}: compressed as {suffix}; known: {', '.join(filter(None, _MODES))}, .zst")
    return tarfile.open(fileobj=content, mode=_MODES[suffix])  # type: ignore[call-overload, no-any-return]


def _unzstd(content: IO[bytes], name: str) -> IO[bytes]:
    if find_spec("zstandard") is None:
        raise BundleError(f"{name}: compressed with zstd; pip install zstandard reads it")
    import zstandard

    return io.BytesIO(zstandard.ZstdDecompressor().stream_reader(content).read())
