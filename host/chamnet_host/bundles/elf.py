"""ELF files, as far as a bundle asks: what processor they are for, and which libraries they need [elf(5)]."""

import struct
from collections.abc import Iterator
from pathlib import Path

from chamnet.errors import BundleError

__all__ = ["MACHINES", "machine_of", "needed_by"]

MACHINES = {62: "x86_64", 183: "aarch64"}  # e_machine
_LOAD, _DYNAMIC = 1, 2  # p_type
_NEEDED, _STRTAB = 1, 5  # d_tag


def machine_of(path: Path) -> str | None:
    """Return the processor a file is for, such as `aarch64`; None if it is not ELF.

    Raises:
        BundleError: An ELF file for none that is known.
    """
    with path.open("rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF":
        return None
    machine = int.from_bytes(head[18:20], "little")
    if head[4:6] != b"\x02\x01" or machine not in MACHINES:
        raise BundleError(f"{path}: for another kind of processor than {', '.join(MACHINES.values())}")
    return MACHINES[machine]


def needed_by(path: Path) -> list[str]:
    """Return the names of the libraries that an ELF file needs (DT_NEEDED).

    Raises:
        BundleError: It is damaged.
    """
    content = path.read_bytes()
    try:
        segments = list(_segments(content))
        entries = [
            entry
            for kind, offset, _, length in segments
            if kind == _DYNAMIC
            for entry in struct.iter_unpack("<qQ", content[offset : offset + length])
        ]
        names = next((value for tag, value in entries if tag == _STRTAB), 0)
        start = _offset_of(names, segments)
        return [_text(content, start + value) for tag, value in entries if tag == _NEEDED]
    except (struct.error, ValueError) as error:
        raise BundleError(f"{path}: a damaged ELF file") from error


def _segments(content: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield kind, place in the file, address, and length in the file of each segment."""
    (table,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for i in range(count):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", content, table + i * size)
        if kind in (_LOAD, _DYNAMIC) and offset + length > len(content):
            raise ValueError("it ends within a segment")
        yield kind, offset, address, length


def _offset_of(address: int, segments: list[tuple[int, int, int, int]]) -> int:
    """Return where in the file an address lies; 0 for a file that is linked with nothing."""
    inside = (
        address - begin + offset
        for kind, offset, begin, length in segments
        if kind == _LOAD and begin <= address < begin + length
    )
    return next(inside, 0)


def _text(content: bytes, start: int) -> str:
    return content[start : content.index(b"\0", start)].decode("ascii")
