"""Files that others see whole or not at all."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import IO

__all__ = ["parts_of", "write_whole"]


def write_whole(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Write a file that others see whole or not at all; its folder is made.

    Args:
        path: Where to.
        fill: Writes what it holds. Whatever it raises leaves nothing behind.

    Raises:
        OSError: It cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            fill(file)
        part.replace(path)
    finally:
        with suppress(OSError):  # mostly it is gone; Ctrl-C may come half-way
            part.unlink()


def parts_of(path: Path) -> Iterator[Path]:
    """Return what processes that were killed have left of writing a file."""
    return path.parent.glob(f"{escape(path.name)}.*.part")
