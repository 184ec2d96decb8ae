"""A page of memory that server and worker share: which item the worker is at.

A message per timed call would cost system calls and wake another process beside the call that is being timed; a
store into a shared page costs some 50 ns. The page outlives the worker, so it names the culprit of a crash.
"""

import mmap
import os
import tempfile
from pathlib import Path
from typing import Self

__all__ = ["NOBODY", "Board"]

NOBODY = -1  # between items

_SIZE_BYTES = 16
_ITEM, _BEATS = 0, 1


class Board:
    """Index of the item at work, and a counter that grows with every mark."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._page = mmap.mmap(fd, _SIZE_BYTES)
        self._cells = memoryview(self._page).cast("q")

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Make a board in an unnamed file; a worker that inherits its descriptor opens it with `Board(fd)`."""
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(_SIZE_BYTES)
            board = cls(os.dup(file.fileno()))
        board.mark(NOBODY)
        return board

    def mark(self, item: int) -> None:
        """Say that `item` is built or run next; `NOBODY` for none."""
        self._cells[_ITEM] = item
        self._cells[_BEATS] += 1

    def read(self) -> tuple[int, int]:
        """Return the item at work and the number of marks so far."""
        return self._cells[_ITEM], self._cells[_BEATS]

    def close(self) -> None:
        """Give page and descriptor back."""
        self._cells.release()
        self._page.close()
        os.close(self.fd)
