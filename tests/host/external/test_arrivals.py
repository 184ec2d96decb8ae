import threading
from collections.abc import Iterator

import pytest

from chamnet.clock import SystemClock
from chamnet.errors import DeviceLostError
from chamnet_host.external.arrivals import Arrivals

PATIENCE_S = 60  # at most, on a machine however busy


def test_each_is_told_with_when_it_came_not_with_when_it_was_asked_for() -> None:
    clock = SystemClock()
    yielded_ns: list[int] = []
    all_came = threading.Event()

    def source() -> Iterator[str]:
        for each in "abc":
            yielded_ns.append(clock.now_ns())
            yield each
        all_came.set()

    with Arrivals(source(), clock) as arrivals:
        assert all_came.wait(PATIENCE_S)
        asked_ns = clock.now_ns()
        came = list(arrivals)
    assert [what for _, what in came] == ["a", "b", "c"]
    for (came_ns, _), true_ns, next_ns in zip(came, yielded_ns, [*yielded_ns[1:], asked_ns], strict=True):
        assert true_ns <= came_ns <= next_ns


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
    more: list[str] = []

    def source() -> Iterator[str]:
        try:
            yield "a"
            go_on.wait(PATIENCE_S)
            yield "b"
            more.append("c")
        finally:
            left.set()

    with Arrivals(source(), SystemClock()) as arrivals:
        assert next(iter(arrivals))[1] == "a"
    go_on.set()
    assert left.wait(PATIENCE_S)
    assert not more, "nobody asked for it"
