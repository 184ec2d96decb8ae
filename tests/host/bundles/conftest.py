"""A Debian mirror in a folder, with a key of its own."""

import hashlib
import io
import lzma
import tarfile
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
