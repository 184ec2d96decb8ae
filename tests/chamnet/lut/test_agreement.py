import math
from collections.abc import Iterator

import numpy as np
import pytest

from chamnet.lut import Batch, StoredVisit
from chamnet.lut.agreement import Standing, compare_devices
from chamnet.networks import find
from chamnet.records import Visit
from chamnet.testing import make_visit

NETWORKS = tuple(find(name).build() for name in ("chamnet-a", "chamnet-c", "chamnet-e"))
DIGESTS = [network.digest for network in NETWORKS]


def measured(
    serial: str,
    slower: float = 1.0,
    *,
    batches: int = 2,
    noise: float = 0.0,
    session: int = 0,
    probe: float = 1.0,
    seed: int = 0,
) -> Iterator[StoredVisit]:
    """Yield what a device measures; `noise` is of each round, which all its networks share."""
    rng = np.random.default_rng((seed, *serial.encode()))
    for number in range(batches):
        batch = Batch(
            number=number, walks=(), granularity="op", laps=1, networks=NETWORKS, rounds=(0,), session=session
        )
        for request in batch.anchors("d", serial, set(), set()):
            moment = math.exp(rng.normal(0, noise))
            for i, (item, key) in enumerate(zip(request.items, request.keys, strict=True)):
                took_ms = (i + 1) * slower * moment
                visit = make_visit(item.visit_id, took_ms, probes_ns=(round(1e6 * probe), 1_000_000))
                yield StoredVisit("network", key, "", "loop", visit, serial)


def standings(*devices: Iterator[StoredVisit], session: int = 0) -> dict[str, Standing]:
    visits = [visit for device in devices for visit in device]
    serials = list(dict.fromkeys(visit.serial for visit in visits))
    return {each.serial: each for each in compare_devices(visits, serials, DIGESTS, session=session)}


def test_devices_that_take_the_same_agree() -> None:
    found = standings(measured("A", 1.01), measured("B", 1.0), measured("C", 0.99))
    assert [each.verdict for each in found.values()] == ["agrees"] * 3
    assert {each.rounds for each in found.values()} == {6}


def test_of_three_devices_the_odd_one_differs() -> None:
    found = standings(measured("A"), measured("B"), measured("C", 1.1, probe=1.08))
    assert [each.verdict for each in found.values()] == ["agrees", "agrees", "differs"]
    assert found["C"].ratio == pytest.approx(1.1)
    assert found["C"].probe_ratio == pytest.approx(1.08)


def test_of_two_devices_both_are_off_what_they_share() -> None:
    found = standings(measured("A"), measured("B", 1.1))
    assert [each.verdict for each in found.values()] == ["differs", "differs"]
    assert found["B"].ratio == pytest.approx(math.sqrt(1.1))
    assert found["A"].ratio == pytest.approx(1 / math.sqrt(1.1))


def test_noise_between_rounds_is_no_difference() -> None:
    wrong = 0
    for seed in range(60):
        found = standings(
            measured("A", noise=0.03, batches=3, seed=seed), measured("B", noise=0.03, batches=3, seed=seed)
        )
        wrong += any(each.verdict == "differs" for each in found.values())
    assert wrong <= 3


def test_a_true_difference_is_found_in_noise() -> None:
    found = [
        standings(
            measured("A", noise=0.03, batches=3, seed=seed),
            measured("B", 1.12, noise=0.03, batches=3, seed=seed),
        )["B"]
        for seed in range(60)
    ]
    assert sum(each.verdict == "differs" for each in found) >= 50
    assert np.median([each.ratio for each in found if each.ratio]) == pytest.approx(math.sqrt(1.12), rel=0.01)


def test_few_or_wild_rounds_are_told_as_such() -> None:
    few = [visit for visit in measured("B", 1.2) if "/0.0/" in visit.visit.visit_id]
    assert standings(measured("A"), iter(few))["B"].verdict == "unsure"
    wild = standings(measured("A", noise=0.5), measured("B", noise=0.5))
    assert {each.verdict for each in wild.values()} == {"unsure"}


def test_a_device_alone_has_nothing_to_be_compared_with() -> None:
    assert standings(measured("A"))["A"] == Standing(serial="A")


def test_only_the_calibration_that_counts_is_compared() -> None:
    old = (measured("A"), measured("B", 1.3))
    new = (measured("A", session=1), measured("B", session=1))
    assert standings(*old, *new, session=1)["B"].ratio == 1.0


def test_what_failed_or_was_made_once_more_does_not_count() -> None:
    def spoilt(visit: Visit) -> Iterator[Visit]:
        yield make_visit(f"{visit.visit_id}!slow17", 50.0)
        yield make_visit(visit.visit_id.replace("/0.1/", "/0.7/"), status="crashed")

    good = list(measured("B"))
    bad = [StoredVisit("network", v.key, "", "loop", s, "B") for v in good for s in spoilt(v.visit)]
    assert standings(measured("A"), iter(good + bad))["B"].ratio == 1.0
