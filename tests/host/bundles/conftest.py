"""A Debian mirror in a folder, with a key of its own; tiny packages, libraries and wheels."""

import hashlib
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

pysequoia = pytest.importorskip("pysequoia")


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of a tar archive; `fields` are those of `TarInfo`."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def write_deb(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], suffix: str = ".xz") -> bytes:
    """Write a Debian package and return its content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{suffix.lstrip('.')}") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", f"data.tar{suffix}": buffer.getvalue()}
    whole = b"!<arch>\n"
    for name, content in parts.items():
        whole += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
        whole += b"\n" * (len(content) % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(whole)
    return whole


class FakeMirror:
    """A mirror of one suite, `bookworm`, for `arm64`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = pysequoia.Tsk.generate("Archive <archive@example.org>")
        self.keyring = folder / "keys.asc"
        self._stanzas: list[str] = []
        folder.mkdir()
        self.keyring.write_text(str(self.key.extract_certificate()))

    @property
    def uri(self) -> str:
        return self.folder.as_uri()

    def add(self, name: str, files: Mapping[str, bytes] | None = None, **fields: str) -> Path:
        """Add a package; `fields` such as `Depends` go into its stanza. Returns its file."""
        path = self.folder / "pool" / f"{name}_1_arm64.deb"
        held = files or {f"usr/share/{name}": name.encode()}
        content = write_deb(path, [member(f"./{key}", value, mode=0o755) for key, value in held.items()])
        facts = {
            "Package": name,
            "Version": "1",
            **{key.replace("_", "-"): value for key, value in fields.items()},
            "Filename": f"pool/{path.name}",
            "Size": len(content),
            "SHA256": hashlib.sha256(content).hexdigest(),
        }
        self._stanzas.append("".join(f"{key}: {value}\n" for key, value in facts.items()))
        return path

    def publish(self, codename: str = "bookworm", key: object = None) -> None:
        """Write the index and sign it."""
        suite = self.folder / "dists" / "bookworm"
        index = suite / "main" / "binary-arm64" / "Packages.xz"
        index.parent.mkdir(parents=True, exist_ok=True)
        packed = lzma.compress("\n".join(self._stanzas).encode())
        index.write_bytes(packed)
        sums = f" {hashlib.sha256(packed).hexdigest()} {len(packed)} main/binary-arm64/Packages.xz\n"
        text = f"Suite: oldstable\nCodename: {codename}\nMD5Sum:\n 0 1 x\nSHA256:\n{sums}"
        signer = (key or self.key).signer()
        clear = pysequoia.SignatureMode.CLEAR
        (suite / "InRelease").write_bytes(pysequoia.sign(signer, text.encode(), mode=clear))

    def index_file(self) -> Path:
        return self.folder / "dists" / "bookworm" / "main" / "binary-arm64" / "Packages.xz"

    def release_file(self) -> Path:
        return self.folder / "dists" / "bookworm" / "InRelease"


def elf(*needed: str, machine: int = 183) -> bytes:
    """Return an ELF file that needs libraries; by default for aarch64."""
    names, offsets = b"\0", []
    for name in needed:
        offsets.append(len(names))
        names += name.encode() + b"\0"
    start, base = 64 + 2 * 56, 0x400000  # headers; where it is loaded
    entries = [(5, base + start), *((1, offset) for offset in offsets), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    whole = start + len(names) + len(dynamic)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, whole, whole, 0x10000)
    at = start + len(names)
    table = struct.pack("<IIQQQQQQ", 2, 6, at, base + at, base + at, len(dynamic), len(dynamic), 8)
    return head + load + table + names + dynamic


def write_wheel(path: Path, files: Mapping[str, bytes]) -> dict[str, object]:
    """Write a wheel and return the facts that a lock file states of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name, version = path.name.split("-")[:2]
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    tag = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in {**files, f"{info}/METADATA": metadata, f"{info}/WHEEL": tag}.items():
            archive.writestr(zipfile.ZipInfo(key), value)
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return {"version": version, "file": path.name, "sha256": sha256, "size_bytes": len(content)}


@pytest.fixture
def mirror(tmp_path: Path) -> FakeMirror:
    """Return an empty mirror, not yet published."""
    return FakeMirror(tmp_path / "mirror")


@pytest.fixture
def make_deb(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a package of one member and returns its path."""

    def make(name: str, content: bytes = b"", *, suffix: str = ".xz", **fields: object) -> Path:
        path = tmp_path / "made.deb"
        write_deb(path, [member(name, content, **fields)], suffix)
        return path

    return make


@pytest.fixture
def make_elf() -> Callable[..., bytes]:
    """Return `elf`."""
    return elf


@pytest.fixture
def make_wheel() -> Callable[..., dict[str, object]]:
    """Return `write_wheel`."""
    return write_wheel
