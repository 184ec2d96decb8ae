"""The requests of a batch, shared out among the devices that measure them."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence

from chamnet.lut import PASSING, Request
from chamnet.records import Visit

__all__ = ["Work"]


class Work:
    """Requests that several devices take, one after the other, each by the serial it goes by. Thread-safe.

    Args:
        requests: For whichever device is free.
        own: Serial -> what that device alone measures, spread evenly between the others.
    """

    def __init__(
        self, requests: Sequence[Request], own: Mapping[str, Sequence[Request]] | None = None
    ) -> None:
        own = own or {}
        self._shared = deque(requests)
        self._own = {
            serial: deque((len(requests) * i // len(each), request) for i, request in enumerate(each))
            for serial, each in own.items()
        }
        every = (request for part in (requests, *own.values()) for request in part)
        self._missing = {item.visit_id for request in every for item in request.items}
        self._lent: dict[str, Request] = {}  # of the shared ones
        self._lent_own: dict[str, Request] = {}
        self._taken = 0
        self._stopped = False
        self._changed = threading.Condition()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left for which a device would be waited for."""
        with self._changed:
            return self._stopped or not (self._shared or self._lent)

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stopped

    def take(self, serial: str) -> Request | None:
        """Return what a device is to measure next, waiting while another one may still give back what it took.

        Returns:
            None where nothing is left.
        """
        own = self._own.get(serial, deque())
        with self._changed:
            while not self._stopped:
                if own and (own[0][0] <= self._taken or not self._shared):
                    return self._lent_own.setdefault(serial, own.popleft()[1])
                if self._shared:
                    self._taken += 1
                    return self._lent.setdefault(serial, self._shared.popleft())
                if not self._lent:
                    return None
                self._changed.wait()
        return None

    def done(self, serial: str) -> None:
        """Say that a device has measured what it took."""
        with self._changed:
            self._lent_own.pop(serial, None)
            self._lent.pop(serial, None)
            self._changed.notify_all()

    def give_back(self, serial: str) -> None:
        """Leave what a device took to whoever takes it next."""
        with self._changed:
            if (own := self._lent_own.pop(serial, None)) is not None:
                self._own[serial].appendleft((0, own))
            if (shared := self._lent.pop(serial, None)) is not None:
                self._shared.appendleft(shared)
            self._changed.notify_all()

    def is_news(self, visit: Visit) -> bool:
        """Return whether a visit is one that was asked for and had not come yet."""
        with self._changed:
            news = visit.visit_id in self._missing and visit.status not in PASSING
            self._missing.discard(visit.visit_id if news else "")
        return news

    def stop(self) -> None:
        """Let every device end."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
