"""Waiting for what happens sooner or later, and the processes that it happens to."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

__all__ = ["alive", "children", "eventually", "workers"]

T = TypeVar("T")


def eventually(condition: Callable[[], T], within_s: float = 60.0) -> T:
    """Return what a condition gives once that is true; what it gives at the end if it never is.

    Args:
        condition: Asked every hundredth of a second.
        within_s: Long, for machines with much else to do; nobody waits longer than it takes.
    """
    deadline_s = time.monotonic() + within_s
    while not (found := condition()) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> Iterator[int]:
    """Yield the processes that one has started; looks at no others, so that it may be asked often."""
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            yield from map(int, (task / "children").read_text().split())
        except OSError:  # the thread has ended meanwhile
            continue


def workers(pid: int) -> Iterator[int]:
    """Yield the workers among them."""
    for child in children(pid):
        try:
            if b"chamnet_agent.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield child
        except OSError:  # it has ended meanwhile
            continue
