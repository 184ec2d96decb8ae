import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chamnet.errors import BundleError
from chamnet_host.bundles.elf import machine_of, needed_by

MakeElf = Callable[..., bytes]


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


def test_what_a_library_needs_is_read_in_order(make_elf: MakeElf, tmp_path: Path) -> None:
    path = write(tmp_path, make_elf("libz.so.1", "libc.so.6"))
    assert needed_by(path) == ["libz.so.1", "libc.so.6"]
    assert machine_of(path) == "aarch64"


def test_a_library_that_needs_nothing(make_elf: MakeElf, tmp_path: Path) -> None:
    assert needed_by(write(tmp_path, make_elf(machine=62))) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ELF is Linux's")
def test_the_interpreter_that_runs_this_needs_a_c_library() -> None:
    assert "libc.so.6" in needed_by(Path(sys.executable).resolve())


@pytest.mark.parametrize("content", [b"", b"\x7fEL", b"#!/bin/sh\n"])
def test_other_files_are_none(tmp_path: Path, content: bytes) -> None:
    assert machine_of(write(tmp_path, content)) is None


def test_other_processors_are_refused(make_elf: MakeElf, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="another kind of processor"):
        machine_of(write(tmp_path, make_elf(machine=8)))


@pytest.mark.parametrize("length", [30, 100, 180])
def test_damaged_files_are_named(make_elf: MakeElf, tmp_path: Path, length: int) -> None:
    with pytest.raises(BundleError, match="file: a damaged ELF file"):
        needed_by(write(tmp_path, make_elf("libc.so.6")[:length]))
