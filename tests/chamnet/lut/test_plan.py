from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from chamnet.lut import EFFORTS, Effort, Plan, calibration_networks, make_plan
from chamnet.space import SearchSpace, UnitGrid, load_space, unit_grid

SMALL = Effort(units=60, visits=3, network_visits=6)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load_space("chamnet-res")  # the smaller grid


@pytest.fixture(scope="module")
def grid(space: SearchSpace) -> UnitGrid:
    return unit_grid(space, "block")


@pytest.fixture(scope="module")
def plan(grid: UnitGrid) -> Plan:
    return make_plan(grid, SMALL, seed=3)


def test_every_kind_of_unit_is_measured(plan: Plan, grid: UnitGrid) -> None:
    assert {unit.signature for unit in plan.units} == {unit.signature for unit in grid.units}
    assert len(set(plan.units)) == len(plan.units)


def test_full_effort_takes_the_whole_grid(grid: UnitGrid) -> None:
    assert make_plan(grid, EFFORTS["full"]).units == grid.units


def test_every_visit_is_asked_for_once(plan: Plan) -> None:
    asked = [item.visit_id for request in plan.requests("d", set(), set()) for item in request.items]
    assert len(asked) == len(set(asked))
    assert set(asked) == plan.visit_ids("d")
    per_kind = Counter(r.kind for r in plan.requests("d", set(), set()) for _ in r.items)
    assert per_kind["unit"] == 3 * len(plan.units)
    assert per_kind["network"] == 6 * len(plan.networks)


def test_what_is_stored_is_not_asked_again(plan: Plan) -> None:
    done = {item.visit_id for r in islice(plan.requests("d", set(), set()), 4) for item in r.items}
    asked = {item.visit_id for request in plan.requests("d", done, set()) for item in request.items}
    assert asked == plan.visit_ids("d") - done
    assert not list(plan.requests("d", plan.visit_ids("d"), set()))


def test_failed_items_are_left_out(plan: Plan) -> None:
    broken = plan.units[0].key
    requests = plan.requests("d", set(), {("unit", broken), ("network", plan.networks[0].digest)})
    keys = {key for request in requests for key in request.keys}
    assert broken not in keys
    assert plan.networks[0].digest not in keys


def test_rings_are_of_one_resolution_class_and_recomposed(plan: Plan) -> None:
    rings = [r for r in plan.requests("d", set(), set()) if r.kind == "unit"]
    assert all(len(ring.items) <= 60 for ring in rings)
    assert len({ring.keys for ring in rings}) == len(rings)
    assert all(ring.policy.mode == "ring" for ring in rings)


def test_networks_are_visited_between_rings(plan: Plan) -> None:
    kinds = [request.kind for request in plan.requests("d", set(), set())]
    assert kinds[0] == "unit"
    assert "unit" in kinds[kinds.index("network") :]


def test_same_seed_same_plan(grid: UnitGrid, plan: Plan) -> None:
    assert make_plan(grid, SMALL, seed=3) == plan
    assert make_plan(grid, SMALL, seed=4).units != plan.units


def test_another_platform_has_other_visits(plan: Plan) -> None:
    assert not plan.visit_ids("a") & plan.visit_ids("b")


def test_calibration_networks_span_the_space(space: SearchSpace) -> None:
    networks = calibration_networks(space)
    macs = [network.macs for network in networks]
    assert 5 <= len(networks) <= 10
    assert max(macs) > 20 * min(macs)


def test_batch_and_classes_make_other_visits(plan: Plan) -> None:
    other = make_plan(unit_grid(load_space("chamnet-res", classes=10), "block"), SMALL, seed=3)
    assert plan.visit_ids("d") != other.visit_ids("d")
    assert replace(plan, seed=9).visit_ids("d") == plan.visit_ids("d")
