"""Pack frozen dataclasses as FlatBuffers tables, and read them back.

A dataclass is a table; each field says with `slot` where it lies in the schema and what it holds. Only what
`chamnet.models.tflite_schema` needs is here, so that neither writing nor reading takes another package. The format:
https://flatbuffers.dev/internals/
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

__all__ = ["BOOL", "FLOAT32", "INT8", "INT32", "INT64", "UINT32", "Union", "pack", "slot", "unpack"]

# Scalars are named by their letter in `struct`. Whole 64-bit numbers only come in vectors.
INT8, INT32, UINT32, INT64, FLOAT32, BOOL = "b", "i", "I", "q", "f", "?"

_REFERENCE = "I"
_UNION_TYPE = "B"
_IDENTIFIER = slice(4, 8)  # behind the reference to the root table
_BYTES_ALIGNMENT = 16  # what TFLite's schema demands of constants, for vector loads

T = TypeVar("T")


@dataclass(frozen=True)
class Union:
    """A field that holds one of several tables; the slot before says which.

    Attributes:
        tables: By their number in the schema.
    """

    tables: Mapping[int, type]


Kind = str | type[Any] | tuple[str] | tuple[type[Any]] | Union


def slot(number: int, kind: Kind, default: Any = None) -> Any:
    """Declare a field of a table.

    Args:
        number: Its place in the schema.
        kind: A scalar's letter, `str`, `bytes`, another table, a `Union`, or a tuple of a letter or table for a
            vector of them.
        default: The schema's; a file leaves a field out that equals it.
    """
    return field(default=default, metadata={"slot": number, "kind": kind})


def pack(root: object, identifier: bytes) -> bytes:
    """Return a file with a root table.

    Args:
        root: A dataclass whose fields are slots.
        identifier: Four bytes that tell the kind of file.
    """
    writer = _Writer(identifier)
    writer.refer(0, writer.table(root))
    return bytes(writer.data)


def unpack(root: type[T], data: bytes, identifier: bytes) -> T:
    """Read the root table of a file; fields that its class lacks are skipped.

    Raises:
        ValueError: Another kind of file, or a broken one.
    """
    if data[_IDENTIFIER] != identifier:
        raise ValueError(f"the header lacks {identifier.decode()}")
    try:
        return _table(root, data, _target(data, 0))
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"the file is broken: {error}") from error


class _Writer:
    """A file that grows at its end: what a table refers to lies behind it."""

    def __init__(self, identifier: bytes) -> None:
        self.data = bytearray(4) + identifier

    def refer(self, at: int, target: int) -> None:
        """Write a reference; it counts from itself."""
        struct.pack_into(f"<{_REFERENCE}", self.data, at, target - at)

    def table(self, table: Any) -> int:
        """Write a table and what it refers to; return its place."""
        scalars: list[tuple[int, str, Any]] = []
        references: dict[int, tuple[Kind, Any]] = {}
        for number, kind, value in _held(table):
            if isinstance(kind, str):
                scalars.append((number, kind, value))
            elif isinstance(kind, Union):
                scalars.append((number - 1, _UNION_TYPE, _code(kind, value)))
                references[number] = type(value), value
            else:
                references[number] = kind, value
        inline = [*((number, _REFERENCE, 0) for number in references), *scalars]
        at, offsets = self._inline(inline)
        for number, (kind, value) in references.items():
            self.refer(at + offsets[number], self._referred(kind, value))
        return at

    def _inline(self, inline: list[tuple[int, str, Any]]) -> tuple[int, dict[int, int]]:
        """Write a table's own bytes behind its table of offsets; return its place and the offsets by slot."""
        body = bytearray(4)
        offsets = {}
        inline.sort(key=lambda each: -struct.calcsize(f"<{each[1]}"))  # wide ones first: none needs padding
        for number, letter, value in inline:
            offsets[number] = len(body)
            body += struct.pack(f"<{letter}", value)
        slots = range(max(offsets, default=-1) + 1)
        header = [4 + 2 * len(slots), len(body), *(offsets.get(number, 0) for number in slots)]
        vtable = struct.pack(f"<{len(header)}H", *header)
        struct.pack_into("<i", body, 0, len(vtable))
        self._align(4, len(vtable))
        at = len(self.data) + len(vtable)
        self.data += vtable + body
        return at, offsets

    def _referred(self, kind: Kind, value: Any) -> int:
        """Write what a reference refers to; return its place."""
        if kind is str:
            return self._vector(len(value.encode()), value.encode() + b"\0", 1)
        if kind is bytes:
            return self._vector(len(value), value, _BYTES_ALIGNMENT)
        if not isinstance(kind, tuple):
            return self.table(value)
        if isinstance(kind[0], str):
            letters = f"<{len(value)}{kind[0]}"
            return self._vector(len(value), struct.pack(letters, *value), struct.calcsize(f"<{kind[0]}"))
        at = self._vector(len(value), bytes(4 * len(value)), 4)
        for i, each in enumerate(value):
            self.refer(at + 4 + 4 * i, self.table(each))
        return at

    def _vector(self, length: int, data: bytes, alignment: int) -> int:
        self._align(max(alignment, 4), 4)
        at = len(self.data)
        self.data += struct.pack("<I", length)
        self.data += data
        return at

    def _align(self, alignment: int, before: int) -> None:
        """Add zeros so that what follows the next `before` bytes is aligned."""
        self.data += bytes(-(len(self.data) + before) % alignment)


def _held(table: Any) -> Iterator[tuple[int, Kind, Any]]:
    """Give slot, kind and value of the fields that are not at their defaults."""
    for part in fields(table):
        if (value := getattr(table, part.name)) != part.default:
            yield part.metadata["slot"], part.metadata["kind"], value


def _code(union: Union, value: object) -> int:
    return next(code for code, table in union.tables.items() if type(value) is table)


def _table(cls: type[T], data: bytes, at: int) -> T:
    vtable = at - _number("i", data, at)
    length = _number("H", data, vtable)

    def find(number: int) -> int:
        """Return where a slot's value lies; 0 if it is left out."""
        entry = 4 + 2 * number
        offset = _number("H", data, vtable + entry) if entry < length else 0
        return at + offset if offset else 0

    values = {}
    for part in fields(cls):  # type: ignore[arg-type]
        number, kind = part.metadata["slot"], part.metadata["kind"]
        if isinstance(kind, Union) and (found := find(number - 1)):
            kind = kind.tables.get(_number(_UNION_TYPE, data, found), kind)
        if found := find(number):
            values[part.name] = _value(kind, data, found)
    return cls(**values)


def _value(kind: Kind, data: bytes, at: int) -> Any:
    if isinstance(kind, str):
        return _number(kind, data, at)
    target = _target(data, at)
    if kind is str:
        return _items(data, target, 1).decode()
    if kind is bytes:
        return _items(data, target, 1)
    if isinstance(kind, type):
        return _table(kind, data, target)
    if isinstance(kind, Union):  # of a table that this subset lacks
        return None
    if isinstance(kind[0], str):
        width = struct.calcsize(f"<{kind[0]}")
        items = _items(data, target, width)
        return struct.unpack(f"<{len(items) // width}{kind[0]}", items)
    places = range(target + 4, target + 4 + len(_items(data, target, 4)), 4)
    return tuple(_table(kind[0], data, _target(data, place)) for place in places)


def _items(data: bytes, at: int, width: int) -> bytes:
    """Return the bytes of a vector."""
    end = at + 4 + width * _number("I", data, at)
    if end > len(data):
        raise ValueError("the file is broken: a vector reaches past its end")
    return data[at + 4 : end]


def _target(data: bytes, at: int) -> int:
    distance: int = _number(_REFERENCE, data, at)
    return at + distance


def _number(letter: str, data: bytes, at: int) -> Any:
    (number,) = struct.unpack_from(f"<{letter}", data, at)
    return number
