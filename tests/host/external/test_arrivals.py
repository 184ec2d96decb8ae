import threading
import time
from collections.abc import Iterator

import pytest

from chamnet.clock import SystemClock
from chamnet.errors import DeviceLostError
from chamnet_host.external.arrivals import Arrivals

S = 1_000_000_000


def test_each_is_told_with_when_it_came_not_with_when_it_was_asked_for() -> None:
    clock = SystemClock()
    yielded_ns: list[int] = []

    def source() -> Iterator[str]:
        for each in "abc":
            yielded_ns.append(clock.now_ns())
            yield each

    came: list[tuple[int, str]] = []
    with Arrivals(source(), clock) as arrivals:
        for each in arrivals:
            time.sleep(0.3)  # busy with it
            came.append(each)
    assert [what for _, what in came] == ["a", "b", "c"]
    for (came_ns, _), true_ns in zip(came, yielded_ns, strict=True):
        assert 0 <= came_ns - true_ns < 0.25 * S


def test_what_the_source_raises_is_raised_after_what_came_before() -> None:
    def source() -> Iterator[str]:
        yield "a"
        raise DeviceLostError("the agent went away")

    with Arrivals(source(), SystemClock()) as arrivals:
        come = iter(arrivals)
        assert next(come)[1] == "a"
        with pytest.raises(DeviceLostError, match="the agent went away"):
            next(come)


def test_leaving_leaves_the_source_with_the_next_it_yields() -> None:
    left, go_on = threading.Event(), threading.Event()

    def source() -> Iterator[str]:
        try:
            yield "a"
            go_on.wait(5)
            yield "b"
            raise AssertionError("nobody asked for more")
        finally:
            left.set()

    with Arrivals(source(), SystemClock()) as arrivals:
        assert next(iter(arrivals))[1] == "a"
    go_on.set()
    assert left.wait(5)
