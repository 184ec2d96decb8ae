"""What a bundle holds: `manifest.json`, against which a folder can be checked, here or on a device."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, Self

from chamnet.errors import BundleError
from chamnet_host.bundles.downloads import sha256_of

__all__ = ["COMPILED", "FORMAT", "NAME", "WRITABLE", "FileFacts", "Manifest", "facts_of"]

FORMAT = 1
NAME = "manifest.json"
WRITABLE = "var"  # a device writes below this folder and nowhere else
COMPILED = f"{WRITABLE}/pycache"  # what its Python has compiled
_SHOWN = 3  # differences that an error names


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file has to be.

    Attributes:
        sha256: In hexadecimal.
        size_bytes: Its length.
        mode: Its permissions, such as `0755`.
    """

    sha256: str
    size_bytes: int
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle is and holds.

    Attributes:
        kind: `full`; `onnx`: with ONNX Runtime alone; or `core`: without numpy and runtimes.
        arch: `aarch64` or `x86_64`.
        os: `android` or `linux`.
        chamnet: Its version.
        python: Version of CPython.
        bytecode: Whether modules are compiled; if not, a device does it when they are first imported.
        debian: Version of each Debian package that files come from.
        wheels: Version of each wheel.
        files: Facts of every file but the manifest, by path.
        inputs: SHA-256 of what the bundle was made from, as far as it can be known without asking a mirror.
    """

    kind: str
    arch: str
    os: str
    chamnet: str
    python: str
    bytecode: bool
    debian: Mapping[str, str]
    wheels: Mapping[str, str]
    files: Mapping[str, FileFacts]
    inputs: str

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(facts.size_bytes for facts in self.files.values())

    @property
    def digest(self) -> str:
        """SHA-256 over everything that a device gets; equal for equal bundles."""
        body = {key: value for key, value in asdict(self).items() if key != "inputs"}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write `manifest.json` into a bundle."""
        body = {"format": FORMAT, "digest": self.digest, **asdict(self)}
        (folder / NAME).write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the manifest of a bundle; the files are not looked at.

        Raises:
            BundleError: There is none, it is of another format, or it was changed.
        """
        path = folder / NAME
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw["format"] != FORMAT:
                raise BundleError(f"{path}: format {raw['format']}, expected {FORMAT}; build the bundle anew")
            manifest = cls._read(raw)
        except FileNotFoundError as error:
            raise BundleError(
                f"{folder}: not a bundle, for {NAME} is missing; `chamnet-host bundle` makes one"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{path}: cannot be read ({error!r}); build the bundle anew") from error
        if manifest.digest != raw["digest"]:
            raise BundleError(f"{path}: was changed; build the bundle anew")
        return manifest

    @classmethod
    def _read(cls, raw: Mapping[str, Any]) -> Self:
        files = {path: FileFacts(**facts) for path, facts in raw["files"].items()}
        for path in files:
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise ValueError(path)
        own = {field.name: raw[field.name] for field in fields(cls)}
        return cls(**{**own, "files": files})

    def verify(self, folder: Path) -> None:
        """Check that a folder holds these files as they were, and nothing else; `var` is the device's.

        Raises:
            BundleError: It does not; names files.
        """
        wrong = list(self._differences(folder))
        if wrong:
            more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            raise BundleError(f"{folder}: {', '.join(wrong[:_SHOWN])}{more}; build the bundle anew")

    def _differences(self, folder: Path) -> Iterator[str]:
        there = _files_in(folder)
        for path, facts in self.files.items():
            if path not in there:
                yield f"{path} is missing"
            elif facts_of(there[path]) != facts:
                yield f"{path} was changed"
        yield from (f"{path} is not part of it" for path in there if path not in self.files)


def facts_of(path: Path) -> FileFacts:
    """Return the facts of a file; of a link, that it is one: bundles hold none.

    Raises:
        BundleError: It cannot be read.
    """
    if path.is_symlink():
        return FileFacts("link", 0, "")
    try:
        status = path.stat()
        return FileFacts(sha256_of(path), status.st_size, f"{status.st_mode & 0o777:04o}")
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error


def _files_in(folder: Path) -> dict[str, Path]:
    """Return the files of a bundle, links too, by path; in alphabetical order."""
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }
    ignored = re.compile(rf"{NAME}|{WRITABLE}/.*")
    return {name: path for name, path in files.items() if not ignored.fullmatch(name)}
