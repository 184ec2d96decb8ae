import threading
from collections.abc import Callable

import pytest

from chamnet.lut import Batch, Request
from chamnet.networks import find
from chamnet.testing import make_visit
from chamnet_host.measuring.work import Work

NETWORK = find("chamnet-a").build()
BATCH = Batch(
    number=0, walks=(), granularity="op", laps=1, networks=(NETWORK,), rounds=tuple(range(9)), session=0
)
REQUESTS = list(BATCH.requests("d", set(), set()))
OWN = list(BATCH.anchors("d", "A", set(), set()))


def in_thread(call: Callable[[], Request | None]) -> "tuple[threading.Thread, list[Request | None]]":
    results: list[Request | None] = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    return thread, results


def test_each_request_is_taken_once() -> None:
    work, taken = Work(REQUESTS), []
    for serial in "ABAABABBA":
        taken.append(work.take(serial))
        work.done(serial)
    assert taken == REQUESTS
    assert work.take("A") is None
    assert work.is_over


def test_what_a_device_measures_alone_is_spread_between_the_others() -> None:
    work, taken = Work(REQUESTS, {"A": OWN}), []
    while (request := work.take("A")) is not None:
        taken.append(request)
        work.done("A")
    assert [taken.index(own) for own in OWN] == [0, 4, 8]
    assert len(taken) == len(REQUESTS) + len(OWN)


def test_what_is_a_devices_own_stays_its_own() -> None:
    work = Work(REQUESTS, {"A": OWN})
    assert work.take("A") == OWN[0]
    assert work.take("B") == REQUESTS[0]
    work.give_back("A")
    work.done("B")
    assert [work.take("B"), work.take("A")] == [REQUESTS[1], OWN[0]]


def test_what_is_given_back_is_taken_next() -> None:
    work = Work(REQUESTS)
    work.take("A")
    work.give_back("A")
    assert work.take("B") == REQUESTS[0]


def test_whoever_has_nothing_left_waits_for_what_others_may_give_back() -> None:
    work = Work(REQUESTS[:1])
    work.take("A")
    thread, taken = in_thread(lambda: work.take("B"))
    thread.join(0.05)
    assert thread.is_alive()
    work.give_back("A")
    thread.join(60)
    assert taken == [REQUESTS[0]]


@pytest.mark.parametrize("end", ["done", "stop"])
def test_and_ends_when_they_are_done_or_nobody_listens(end: str) -> None:
    work = Work(REQUESTS[:1])
    work.take("A")
    thread, taken = in_thread(lambda: work.take("B"))
    work.done("A") if end == "done" else work.stop()
    thread.join(60)
    assert taken == [None]


def test_nobody_waits_for_what_a_lost_device_would_measure_alone() -> None:
    work = Work(REQUESTS[:1], {"A": OWN})
    work.take("A")
    work.give_back("A")
    work.take("B")
    assert not work.is_over
    work.done("B")
    assert work.is_over


def test_a_visit_is_news_once_and_only_if_it_was_asked_for_and_did_not_fail_by_chance() -> None:
    work, visit_id = Work(REQUESTS), REQUESTS[0].items[0].visit_id
    assert not work.is_news(make_visit("another"))
    assert not work.is_news(make_visit(visit_id, status="crashed"))
    assert work.is_news(make_visit(visit_id))
    assert not work.is_news(make_visit(visit_id))
