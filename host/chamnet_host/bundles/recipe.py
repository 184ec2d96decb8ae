"""Which bundle: for what processor and system, and with what in it."""

import hashlib
import importlib.util
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import chamnet
from chamnet.errors import ConfigError
from chamnet_host.bundles.manifest import FORMAT

__all__ = ["ARCHES", "KINDS", "SYSTEMS", "Recipe", "our_files"]

KINDS = ("full", "onnx", "core")
ARCHES = ("aarch64", "x86_64")
SYSTEMS = ("android", "linux")

# by the first part of the path; `tests/host/bundles` tries whether an agent misses one
_NOT_FOR_AGENTS = {
    "chamnet": {"lut", "networks", "predictors", "search", "space", "testing.py", "train"},
    "chamnet_agent": {"testing.py"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A bundle to build.

    Attributes:
        kind: `full`; `onnx`: with ONNX Runtime alone; or `core`: without numpy and runtimes, an agent that answers and
            cannot measure.
        arch: Processor: `aarch64` or `x86_64`.
        os: `android` or `linux`.
    """

    kind: str = "full"
    arch: str = "aarch64"
    os: str = "android"

    def __post_init__(self) -> None:
        for what, value, known in (
            ("kind", self.kind, KINDS),
            ("arch", self.arch, ARCHES),
            ("os", self.os, SYSTEMS),
        ):
            if value not in known:
                raise ConfigError(f"unknown {what} {value!r}; known: {', '.join(known)}")

    @property
    def name(self) -> str:
        """Such as `android-aarch64-full`."""
        return f"{self.os}-{self.arch}-{self.kind}"

    def folder(self, cache: Path) -> Path:
        """Return where the bundle lies in a cache, or is to be built."""
        return cache / "bundles" / self.name

    @property
    def debian_arch(self) -> str:
        """Debian's word for the processor."""
        return {"aarch64": "arm64", "x86_64": "amd64"}[self.arch]

    @property
    def loader(self) -> str:
        """Name of the program that loads programs, `ld.so`."""
        return {"aarch64": "ld-linux-aarch64.so.1", "x86_64": "ld-linux-x86-64.so.2"}[self.arch]

    @property
    def library_folders(self) -> tuple[str, ...]:
        """Where Debian has libraries."""
        return (f"lib/{self.arch}-linux-gnu", f"usr/lib/{self.arch}-linux-gnu", "lib", "lib64")

    @property
    def shell(self) -> str:
        """Where the shell is."""
        return "/system/bin/sh" if self.os == "android" else "/bin/sh"

    @classmethod
    def read(cls, text: str, *, kind: str = "full") -> "Recipe":
        """Return the recipe that a device profile asks for.

        Args:
            text: System and processor, such as `android-aarch64`.
            kind: As above.

        Raises:
            ConfigError: It is of another form.
        """
        system, dash, arch = text.partition("-")
        if not dash:
            raise ConfigError(f"bundle {text!r}: expected SYSTEM-PROCESSOR, such as android-aarch64")
        return cls(kind=kind, arch=arch, os=system)

    @classmethod
    def of_this_machine(cls, *, kind: str = "full") -> "Recipe":
        """Return the recipe of a bundle that runs here, if this is Linux.

        Raises:
            ConfigError: There is none for this processor.
        """
        arch = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine().lower(), platform.machine())
        return cls(kind=kind, arch=arch, os="linux")

    def inputs(self, builder_magic: bytes, lock: Path) -> str:
        """Return a SHA-256 over all that decides what the bundle holds, but for the state of Debian's mirror.

        Args:
            builder_magic: Magic number of the building Python's bytecode.
            lock: File that pins the wheels.
        """
        digest = hashlib.sha256(f"{FORMAT} {self} {chamnet.__version__} {builder_magic.hex()}".encode())
        for path in (lock, *sorted(Path(__file__).parent.glob("*.py"))):
            _add(digest, path.name, path)
        for name, path in our_files():
            _add(digest, name, path)
        return digest.hexdigest()


def our_files() -> Iterator[tuple[str, Path]]:
    """Yield the files of ours that an agent needs: path to import from, and where they are now.

    Raises:
        ConfigError: The installation is broken.
    """
    for package, left_out in _NOT_FOR_AGENTS.items():
        spec = importlib.util.find_spec(package)  # the host imports nothing of the agent's
        if spec is None or spec.origin is None:
            raise ConfigError(f"{package} is not installed beside chamnet_host; install chamnet anew")
        folder = Path(spec.origin).parent
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if inside.parts[0] in left_out or "__pycache__" in inside.parts or path.suffix == ".pyi":
                continue
            if path.is_file():
                yield f"{package}/{inside.as_posix()}", path


def _add(digest: "hashlib._Hash", name: str, path: Path) -> None:
    content = path.read_bytes()
    digest.update(f"{name} {len(content)}\n".encode() + content)
