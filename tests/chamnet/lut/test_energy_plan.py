"""Windows of energy: which are asked for, how long that takes, and what a verification asks again."""

from dataclasses import replace

import pytest

from chamnet.lut import EnergyBatch, EnergyTimes
from chamnet.networks import find
from chamnet.records import EnergyPolicy

NETWORKS = tuple(find(name).build() for name in ("chamnet-e", "chamnet-f"))
PROFILED = EnergyBatch(policy=EnergyPolicy(meter="rapl"), units=(), networks=NETWORKS, rounds=2)
VERIFIED = replace(PROFILED, run="r1")


def asked(batch: EnergyBatch, done: set[str], failed: set[tuple[str, str]] | None = None) -> list[str]:
    requests = batch.requests("p", done, failed or set())  # type: ignore[arg-type]
    return [item.visit_id for request in requests for item in request.items]


def test_networks_take_turns_and_what_is_stored_leaves_no_gap() -> None:
    (e, f), start = [network.digest for network in NETWORKS], "p/energy/rapl:"
    ids = [f"{start}/0/{e}", f"{start}/0/{f}", f"{start}/1/{e}", f"{start}/1/{f}"]
    assert asked(PROFILED, set()) == ids
    assert asked(PROFILED, {ids[0], ids[3]}) == ids[1:3]
    assert asked(PROFILED, set(), {("network", f)}) == [ids[0], ids[2]]


def test_a_verification_measures_anew_whatever_was_or_could_not_be_measured() -> None:
    stored = {*asked(PROFILED, set()), *asked(replace(PROFILED, run="r0"), set())}
    failed = {("network", network.digest) for network in NETWORKS}
    ids = asked(VERIFIED, stored, failed)
    assert len(ids) == VERIFIED.items == 4
    assert all(visit_id.startswith(VERIFIED.start("p")) for visit_id in ids)
    assert asked(VERIFIED, {*stored, ids[0]}, failed) == ids[1:]


def test_a_verification_gives_a_window_up_that_is_spoiled_each_time() -> None:
    first, *others = asked(VERIFIED, set())
    spoiled = {f"{first}!{attempt}" for attempt in (4, 5)}
    assert asked(VERIFIED, spoiled) == [first, *others]
    assert asked(VERIFIED, {*spoiled, f"{first}!6"}) == others


def test_time_is_that_of_windows_and_of_idling_and_a_loop_in_each_request() -> None:
    times = EnergyTimes(window_s=1.0, idle_s=2.0, guard_s=0.1)
    assert times.seconds(2, 1) == pytest.approx(3 * 1.2 + 4 * 2.15)
    assert times.seconds(2, 2) == pytest.approx(4 * 1.2 + 6 * 2.15)
