"""When visits come, however long whoever takes them is busy with the last one."""

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from chamnet.clock import Clock

__all__ = ["Arrivals"]

Each = TypeVar("Each")


class Arrivals(Generic[Each]):
    """Takes what an iterator yields in a thread of its own, while it is entered, and says when each came.

    Args:
        source: It is left when this is: at once if it waits for nothing, else with the next that it yields.
        clock: Tells the times.
    """

    def __init__(self, source: Iterator[Each], clock: Clock) -> None:
        self._source, self._clock = source, clock
        self._come: queue.SimpleQueue[tuple[int, Each] | BaseException | None] = queue.SimpleQueue()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._take, name="arrivals", daemon=True)

    def __enter__(self) -> Self:
        """Start to take."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the source."""
        self._left.set()

    def __iter__(self) -> Iterator[tuple[int, Each]]:
        """Yield when each came, and what; raise what the source raises."""
        while (come := self._come.get()) is not None:
            if isinstance(come, BaseException):
                raise come
            yield come

    def _take(self) -> None:
        try:
            for each in self._source:
                self._come.put((self._clock.now_ns(), each))
                if self._left.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - raised where it is iterated
            self._come.put(error)
        finally:
            if close := getattr(self._source, "close", None):
                close()
            self._come.put(None)
