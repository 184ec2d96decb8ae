"""Synthetic visits whose latency follows known slopes of two probes."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

import numpy as np
import pytest

from chamnet.lut.regimes import Observed, Regimes
from chamnet.records import Conditions

SLOPES = {"compute": (0.95, 0.1), "memory": (0.2, 0.8)}
NOISE = 0.02
USUAL_NS = (40_000, 60_000)


def conditions(compute: float, memory: float) -> Conditions:
    """Return probes that take so many times what they usually take."""
    return Conditions(probe_ns=round(USUAL_NS[0] * compute), memory_probe_ns=round(USUAL_NS[1] * memory))


def visits(
    slopes: Mapping[str, tuple[float, float]] = SLOPES,
    *,
    items: int = 20,
    each: int = 9,
    outliers: float = 0.0,
) -> Iterator[Observed]:
    """Yield visits of items of 1, 2, 3 ... ms; some, a share of `outliers`, are disturbed by other causes."""
    rng = np.random.default_rng(0)
    for family, (a, b) in slopes.items():
        for number in range(items):
            for _ in range(each):
                compute, memory = np.exp(rng.normal(0, 0.3, 2))
                factor = compute**a * memory**b * np.exp(rng.normal(0, NOISE))
                if rng.random() < outliers:
                    factor *= rng.uniform(1.5, 6.0)
                held = conditions(compute, memory)
                yield Observed(family, f"{family}{number}", "ring", (number + 1) * factor, held)


def spread_of(made: list[Observed], regimes: Regimes | None) -> float:
    """Return the median over items of the deviation of their log latencies."""
    logs: dict[str, list[float]] = {}
    for visit in made:
        factor = regimes.factor(visit.family, visit.item, visit.mode, visit.conditions) if regimes else 1.0
        logs.setdefault(visit.item, []).append(np.log(visit.latency_ms * factor))
    return float(np.median([np.std(values, ddof=1) for values in logs.values()]))


def test_what_visits_share_with_the_probes_is_taken_out() -> None:
    made = list(visits())
    assert spread_of(made, None) > 10 * NOISE
    assert spread_of(made, Regimes.fit(made)) < 1.2 * NOISE


def test_each_family_has_its_own_slopes() -> None:
    found = Regimes.fit(visits()).slopes
    for family, slopes in SLOPES.items():
        assert found[family] == pytest.approx(slopes, abs=0.06)


def test_an_item_visited_often_has_slopes_of_its_own() -> None:
    often = list(visits({"heavy": (0.1, 1.0)}, items=1, each=40))
    made = [*visits({"mixed": (0.9, 0.1)}), *(replace(v, family="mixed") for v in often)]
    regimes = Regimes.fit(made)
    assert regimes.own["heavy0"] == pytest.approx((0.1, 1.0), abs=0.15)
    assert "mixed0" not in regimes.own, "nine visits say little"
    assert spread_of([v for v in made if v.item == "heavy0"], regimes) < 2 * NOISE


def test_latencies_hold_for_the_usual_speed() -> None:
    made = list(visits())
    regimes = Regimes.fit(made)
    assert regimes.reference["ring"] == pytest.approx(np.log(USUAL_NS), abs=0.1)
    compute_ns, memory_ns = np.exp(regimes.reference["ring"])
    usual = Conditions(probe_ns=round(compute_ns), memory_probe_ns=round(memory_ns))
    assert regimes.factor("compute", "new", "ring", usual) == pytest.approx(1, abs=1e-4)
    slow = Conditions(probe_ns=round(2 * compute_ns), memory_probe_ns=round(memory_ns))
    assert regimes.factor("compute", "new", "ring", slow) == pytest.approx(2**-0.95, abs=0.03)
    carried = [
        v.latency_ms * regimes.factor(v.family, v.item, v.mode, v.conditions)
        for v in made
        if v.item == "memory4"
    ]
    assert np.median(carried) == pytest.approx(5.0, rel=0.1)


def test_visits_can_be_carried_to_a_given_speed() -> None:
    given = (float(np.log(USUAL_NS[0])), float(np.log(2 * USUAL_NS[1])))
    regimes = Regimes.fit(visits(), reference={"ring": given})
    assert regimes.reference["ring"] == given
    assert regimes.factor("memory", "new", "ring", conditions(1, 1)) == pytest.approx(2**0.8, rel=0.05)


def test_a_ring_and_a_loop_leave_the_probes_other_caches() -> None:
    rings = list(visits())
    loops = [
        replace(
            v, mode="loop", family="network", item=f"n{v.item}", conditions=_twice_the_memory(v.conditions)
        )
        for v in rings
        if v.family == "memory"
    ]
    regimes = Regimes.fit([*rings, *loops])
    ring, loop = regimes.reference["ring"], regimes.reference["loop"]
    assert loop[1] - ring[1] == pytest.approx(np.log(2), abs=0.1)
    assert regimes.factor("network", "new", "loop", conditions(1, 2)) == pytest.approx(1, abs=0.1)
    assert regimes.factor("network", "new", "loop", conditions(1, 4)) == pytest.approx(2**-0.8, abs=0.1)


def _twice_the_memory(seen: Conditions) -> Conditions:
    assert seen.memory_probe_ns
    return replace(seen, memory_probe_ns=2 * seen.memory_probe_ns)


def test_a_mode_without_probes_is_left_alone() -> None:
    assert Regimes.fit(visits()).factor("network", "new", "loop", conditions(2, 2)) == 1


def test_disturbed_visits_do_not_spoil_the_slopes() -> None:
    made = list(visits(outliers=0.1))
    found = Regimes.fit(made).slopes
    for family, slopes in SLOPES.items():
        assert found[family] == pytest.approx(slopes, abs=0.08)


def test_a_family_seen_little_follows_what_holds_for_all() -> None:
    known = list(visits({"compute": (1.0, 0.0)}))
    rng = np.random.default_rng(1)
    few = [
        Observed("rare", "rare", "ring", 1.0, conditions(*np.exp(rng.normal(0, 0.01, 2)))) for _ in range(5)
    ]  # at one speed, so they say nothing
    assert Regimes.fit(known + few).slopes["rare"] == pytest.approx((1.0, 0.0), abs=0.06)


def test_latency_never_falls_as_the_machine_slows_down() -> None:
    for a, b in Regimes.fit(visits({"odd": (-0.5, 2.0)})).slopes.values():
        assert a >= 0
        assert 1 < b < 1.5, "nor does it rise much faster than the probe"


def test_without_probes_nothing_is_carried() -> None:
    bare = [Observed("unit", "u", "ring", latency_ms, Conditions()) for latency_ms in (1.0, 2.0, 3.0)]
    regimes = Regimes.fit(bare)
    assert not regimes.reference
    assert regimes.factor("unit", "new", "ring", Conditions()) == 1
    assert regimes.factor("unit", "new", "ring", conditions(2, 2)) == 1


@pytest.mark.parametrize(
    "half",
    [
        Conditions(),
        Conditions(probe_ns=9),
        Conditions(memory_probe_ns=9),
        Conditions(probe_ns=0, memory_probe_ns=9),
    ],
)
def test_a_visit_that_lacks_a_probe_stays_as_it_is(half: Conditions) -> None:
    made = list(visits())
    regimes = Regimes.fit([*made, Observed("compute", "compute0", "ring", 50.0, half)])
    assert regimes == Regimes.fit(made)
    assert regimes.factor("compute", "new", "ring", half) == 1


def test_an_unknown_family_is_carried_all_the_same() -> None:
    assert 0.3 < Regimes.fit(visits()).factor("never seen", "new", "ring", conditions(2, 2)) < 0.9


def test_items_visited_once_say_nothing() -> None:
    once = [Observed("f", str(i), "ring", 1.0 + i, conditions(1 + i, 1 + i)) for i in range(9)]
    assert Regimes.fit(once).slopes == Regimes.fit(once[:3]).slopes


def test_it_comes_back_from_plain_data() -> None:
    for regimes in (Regimes.fit(visits()), Regimes({}, {})):
        assert Regimes.from_dict(json.loads(json.dumps(asdict(regimes)))) == regimes
