from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from chamnet.lut import EFFORTS, Batch, Effort, calibration_networks
from chamnet.networks import Network
from chamnet.space import CostTables, SearchSpace, load_space, unit_grid


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load_space("chamnet-res")  # the smaller grid


@pytest.fixture(scope="module")
def macs(space: SearchSpace) -> CostTables:
    grid = unit_grid(space)
    return grid.tables([unit.macs for unit in grid.units])


def draw(space: SearchSpace, count: int, seed: int) -> tuple[Network, ...]:
    levels = space.sample(count, np.random.default_rng(seed))
    return tuple(space.decode(genome) for genome in space.genomes(levels))


@pytest.fixture(scope="module")
def batch(tiny: SearchSpace) -> Batch:
    networks = draw(tiny, 3, 2)
    return Batch(
        number=4,
        walks=draw(tiny, 6, 1),
        granularity="op",
        laps=7,
        networks=networks,
        rounds=(8, 9),
        session=1,
    )


@pytest.mark.parametrize("name", ["quick", "normal"])
def test_batches_add_up_to_the_walks(name: str) -> None:
    effort = EFFORTS[name]
    assert sum(effort.batches()) == effort.walks


def test_any_number_of_walks_comes_out() -> None:
    for walks in (0, 1, 59, 60, 61, 500):
        sizes = list(Effort(walks=walks, network_visits=1).batches())
        assert sum(sizes) == walks
        assert all(sizes)


def test_more_effort_starts_with_what_less_effort_measures() -> None:
    quick, normal = (list(EFFORTS[name].batches()) for name in ("quick", "normal"))
    assert normal[: len(quick)] == quick
    assert list(islice(EFFORTS["full"].batches(), len(normal))) == normal


def test_every_visit_has_an_id_of_its_own(batch: Batch) -> None:
    asked = [item.visit_id for request in batch.requests("d", set(), set()) for item in request.items]
    assert len(asked) == len(set(asked))
    assert set(asked) == batch.visit_ids("d")
    per_kind = Counter(r.kind for r in batch.requests("d", set(), set()) for _ in r.items)
    assert per_kind["unit"] == sum(len(walk.units("op")) for walk in batch.walks)
    assert per_kind["network"] == len(batch.rounds) * len(batch.networks)


def test_ids_of_other_platforms_batches_and_sessions_differ(batch: Batch) -> None:
    assert not batch.visit_ids("a") & batch.visit_ids("b")
    other, anew = batch.visit_ids("d"), replace(batch, session=2).visit_ids("d")
    assert {i for i in other if "/whole/" not in i} == {i for i in anew if "/whole/" not in i}
    assert not {i for i in other if "/whole/" in i} & anew
    later = replace(batch, number=5).visit_ids("d")
    assert not {i for i in other if "/walk/" in i} & later
    blocks = replace(batch, granularity="block").visit_ids("d")
    assert not {i for i in other if "/walk/" in i} & blocks


def test_a_walk_is_a_ring_in_the_networks_own_order(batch: Batch) -> None:
    rings = [r for r in batch.requests("d", set(), set()) if r.kind == "unit"]
    for ring, walk in zip(rings, batch.walks, strict=True):
        assert ring.keys == tuple(unit.key for unit in walk.units("op"))
        assert [item.blocks for item in ring.items] == [(key,) for key in ring.keys]
        assert (ring.policy.mode, ring.policy.laps, ring.policy.isolated) == ("ring", 7, False)
        assert ring.policy.noops > 0


def test_where_nothing_can_walk_units_are_measured_alone_and_only_those_that_are_missing(
    batch: Batch,
) -> None:
    alone = replace(batch, alone=True)
    (first, *_) = alone.requests("d", set(), set())
    assert (first.policy.mode, first.policy.warmup_laps) == ("loop", 0)
    assert first.policy.noops > 0
    missing = first.items[3]
    (asked,) = alone.requests("d", alone.visit_ids("d") - {missing.visit_id}, set())
    assert (asked.items, asked.keys) == ((missing,), (first.keys[3],))


def test_whole_networks_are_visited_between_walks(batch: Batch) -> None:
    requests = list(batch.requests("d", set(), set()))
    loops = [i for i, request in enumerate(requests) if request.kind == "network"]
    assert len(loops) == 2
    assert requests[0].kind == requests[-1].kind == requests[loops[0] + 1].kind == "unit"
    for i in loops:
        assert requests[i].policy.mode == "loop"
        assert requests[i].keys == tuple(network.digest for network in batch.networks)
        assert [item.blocks for item in requests[i].items] == [
            tuple(block.key for block in network.blocks) for network in batch.networks
        ]


def test_rounds_without_walks_are_made_all_the_same(batch: Batch) -> None:
    for walks in ((), batch.walks[:1]):
        kinds = Counter(r.kind for r in replace(batch, walks=walks).requests("d", set(), set()))
        assert kinds["network"] == 2


def test_a_walk_that_lacks_one_visit_is_asked_for_whole(batch: Batch) -> None:
    (walk, *_) = batch.requests("d", set(), set())
    done = batch.visit_ids("d") - {walk.items[3].visit_id}
    assert list(batch.requests("d", done, set())) == [walk]


def test_a_round_that_lacks_one_network_asks_for_that_one(batch: Batch) -> None:
    loop = next(r for r in batch.requests("d", set(), set()) if r.kind == "network")
    (missing,) = batch.requests("d", batch.visit_ids("d") - {loop.items[1].visit_id}, set())
    assert (missing.items, missing.keys) == ((loop.items[1],), (loop.keys[1],))


def test_what_is_finished_is_not_asked_for(batch: Batch) -> None:
    assert not list(batch.requests("d", batch.visit_ids("d"), set()))
    first, *rest = batch.requests("d", set(), set())
    assert list(batch.requests("d", {item.visit_id for item in first.items}, set())) == rest


def test_failed_items_are_left_out(batch: Batch) -> None:
    whole = list(batch.requests("d", set(), set()))
    broken, network = whole[0].keys[2], batch.networks[0].digest
    kept = list(batch.requests("d", set(), {("unit", broken), ("network", network)}))
    keys = [key for request in kept for key in request.keys]
    assert broken not in keys
    assert network not in keys
    assert len(keys) == sum(key not in (broken, network) for request in whole for key in request.keys)
    assert all(len(request.items) == len(request.keys) for request in kept)


def test_a_walk_of_which_only_failed_items_are_missing_is_finished(batch: Batch) -> None:
    broken = batch.walks[0].units("op")[2].key
    asked = batch.requests("d", set(), set())
    done = {i.visit_id for r in asked for i, key in zip(r.items, r.keys, strict=True) if key != broken}
    assert not list(batch.requests("d", done, {("unit", broken)}))


def test_calibration_networks_differ_and_span_the_space(space: SearchSpace, macs: CostTables) -> None:
    networks = calibration_networks(space, macs)
    assert len({network.digest for network in networks}) == len(networks) == 10
    sizes = np.sort([network.macs for network in networks])
    largest = macs.bounds()[1].max()
    assert sizes[-1] > 0.6 * largest
    assert 0.01 * largest < sizes[0] < 0.05 * largest
    assert (np.diff(np.log(sizes)) < 1.2).all(), "no gap"
    assert all(space.holds(network.architecture) for network in networks)


def test_calibration_networks_repeat_by_seed(space: SearchSpace, macs: CostTables) -> None:
    assert calibration_networks(space, macs) == calibration_networks(space, macs)
    assert calibration_networks(space, macs, seed=1) != calibration_networks(space, macs)


def test_each_device_of_several_measures_the_networks_beside_the_batch(batch: Batch) -> None:
    asked = {
        serial: [
            item.visit_id for request in batch.anchors("d", serial, set(), set()) for item in request.items
        ]
        for serial in ("A", "B")
    }
    assert len(asked["A"]) == len(asked["B"]) == 3 * len(batch.networks)
    every = {*asked["A"], *asked["B"], *batch.visit_ids("d")}
    assert len(every) == 6 * len(batch.networks) + len(batch.visit_ids("d"))
    assert {item.rpartition("/")[0].replace("/A/", "/B/") for item in asked["A"]} == {
        item.rpartition("/")[0] for item in asked["B"]
    }


def test_anchors_stored_or_given_up_are_not_asked_again(batch: Batch) -> None:
    first, *rest = batch.anchors("d", "A", set(), set())
    done = {item.visit_id for item in first.items}
    assert list(batch.anchors("d", "A", done, set())) == rest
    given_up = {("network", key): "why" for key in first.keys}
    assert not list(batch.anchors("d", "A", set(), given_up))
    assert not list(replace(batch, networks=()).anchors("d", "A", set(), set()))
