"""Wheels for another machine: fetched by pip from the user's own indexes, in pinned versions with known sums."""

import logging
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from chamnet.errors import BundleError, ConfigError
from chamnet_host.bundles.downloads import sha256_of

__all__ = ["LOCK", "PYTHON", "Wheel", "fetch_wheels", "locked_wheels", "target_options", "unpack_wheel"]

log = logging.getLogger(__name__)

LOCK = Path(__file__).with_name("wheels.toml")
PYTHON = "3.11"  # that of the Debian suite and of wheels.toml
_PLATFORMS = (
    "manylinux_2_17",
    "manylinux2014",
    "manylinux_2_27",
    "manylinux_2_28",
)  # pip takes none for granted
_TIMEOUT_S = 1_800.0
_LAST_CHARS = 600

# What an agent never loads. Libraries are never stripped: `strip` breaks those that auditwheel moved about.
_LEFT_OUT = (
    "*.a", "*.h", "*.pxd", "*.pyi", "*.pyx", "*/tests/*", "*.dist-info/RECORD",
    "grpc/_cython/_credentials/roots.pem",  # an agent calls nobody
    "ai_edge_litert/aot/*", "ai_edge_litert/tools/*", "ai_edge_litert/vendors/*", "ai_edge_litert/tflite/converter/*",
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",  # 17 MB
    "numpy/distutils/*", "numpy/f2py/*", "numpy/_pyinstaller/*", "numpy/_core/*_tests.*", "numpy/_core/_simd.*",
    "onnxruntime/capi/libonnxruntime.so*",  # 25 MB; the Python module holds all of it and does not link it
    "onnxruntime/datasets/*", "onnxruntime/quantization/*", "onnxruntime/tools/*", "onnxruntime/transformers/*",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A pinned wheel.

    Attributes:
        name: Of the package, normalised.
        version: Of the package.
        file: Name of the file.
        sha256: Of the file, in hexadecimal.
        size_bytes: Of the file.
    """

    name: str
    version: str
    file: str
    sha256: str
    size_bytes: int


def locked_wheels(kind: str, arch: str, lock: Path = LOCK) -> list[Wheel]:
    """Return the wheels of a bundle, by name.

    Args:
        kind: `full`, `onnx` or `core`.
        arch: `aarch64` or `x86_64`.
        lock: File that pins them.
    """
    pinned = tomllib.loads(lock.read_text(encoding="utf-8"))
    wheels = [Wheel(name=name, **facts) for name, facts in pinned[arch].items()]
    return [wheel for wheel in wheels if kind == "full" or wheel.name in pinned[kind]]


def fetch_wheels(
    wheels: Sequence[Wheel], arch: str, cache: Path, *, offline: bool = False
) -> dict[str, Path]:
    """Return the file of each wheel by package name; pip downloads what the cache lacks.

    Args:
        wheels: To have.
        arch: They are for.
        cache: Folder of downloads.
        offline: Whether to use the cache alone.

    Raises:
        BundleError: They cannot be had, or are not those that were pinned.
        ConfigError: There is no pip.
    """
    folder = cache / "wheels"
    lacking = [wheel for wheel in wheels if not _is_whole(folder / wheel.file, wheel)]
    if lacking and offline:
        names = ", ".join(wheel.file for wheel in lacking)
        raise BundleError(f"{folder} lacks {names}; they can be fetched without --offline")
    if lacking:
        _download(lacking, arch, folder)
    for wheel in lacking:
        if not _is_whole(folder / wheel.file, wheel):
            raise BundleError(f"pip brought no {wheel.file} with SHA-256 {wheel.sha256[:12]}...; try again")
    return {wheel.name: folder / wheel.file for wheel in wheels}


def unpack_wheel(path: Path, site: Path) -> None:
    """Unpack what an agent may load of a wheel.

    Args:
        path: The wheel.
        site: Folder that Python imports from.

    Raises:
        BundleError: It is damaged, or would write outside of the folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                place = _place(info.filename, path.name)
                if place is None or info.is_dir() or any(fnmatchcase(place, each) for each in _LEFT_OUT):
                    continue
                target = site / place
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(info))
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise BundleError(f"{path.name}: cannot be unpacked ({error})") from error


def _place(name: str, wheel: str) -> str | None:
    """Return where a member goes below the site folder; None if nowhere (scripts, headers).

    Raises:
        BundleError: Outside of it.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise BundleError(f"{wheel}: {name!r} would lie outside of the folder")
    if not path.parts[0].endswith(".data"):
        return str(path)
    return str(PurePosixPath(*path.parts[2:])) if path.parts[1] in ("purelib", "platlib") else None


def _is_whole(path: Path, wheel: Wheel) -> bool:
    return path.is_file() and path.stat().st_size == wheel.size_bytes and sha256_of(path) == wheel.sha256


def _download(wheels: Sequence[Wheel], arch: str, folder: Path) -> None:
    if find_spec("pip") is None:
        raise ConfigError("wheels are fetched by pip, which is missing here: pip install 'chamnet[bundle]'")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "requirements.txt"
        lines = (f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels)
        wanted.write_text("".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", *target_options(arch), "--no-deps"]
        options = ["--require-hashes", "--dest", str(folder), "--requirement", str(wanted)]
        _run([*command, *options], [wheel.file for wheel in wheels])


def target_options(arch: str) -> list[str]:
    """Return the options that make pip look for the wheels of a bundle's Python on another machine.

    Args:
        arch: Of that machine: `aarch64` or `x86_64`.
    """
    tags = {"--platform": [f"{each}_{arch}" for each in _PLATFORMS], "--abi": ["cp311", "abi3", "none"]}
    options = ["--no-input", "--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON]
    return options + [word for key, values in tags.items() for value in values for word in (key, value)]


def _run(command: Sequence[str], files: Sequence[str]) -> None:
    log.info("%s", " ".join(command))
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"pip did not bring the wheels within {_TIMEOUT_S:.0f} s; try again") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        words = "\n".join(errors or done.stderr.splitlines())[-_LAST_CHARS:]
        raise BundleError(
            f"pip cannot fetch {', '.join(files)}; it says:\n{words}\nIndexes are those of `pip config list`"
        )
