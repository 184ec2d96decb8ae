"""What the benchmarks share: one core, CPU time, plain lines."""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Timed", "options", "pin", "timed", "write"]

Made = TypeVar("Made")


class Timed(Generic[Made]):
    """What a call returned, and the median CPU time of its runs in s."""

    def __init__(self, value: Made, cpu_s: float) -> None:
        self.value, self.cpu_s = value, cpu_s


def timed(call: Callable[[], Made], repeats: int = 1) -> Timed[Made]:
    """Call something a number of times, and time it."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        value = call()
        taken.append(time.process_time() - start)
    return Timed(value, statistics.median(taken))


def pin() -> None:
    """Stay on one core, where the system lets us choose it: the last that we may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def options(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is a script's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def write(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
