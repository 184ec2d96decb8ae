"""Windows of energy: when items run and when the device idles, on a fake clock."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from chamnet.records import Conditions, EnergyPolicy, EnergySpans, Item, Policy, Visit
from chamnet.testing import FakeClock
from chamnet.units import Unit
from chamnet_agent.backends.base import Workload
from chamnet_agent.board import NOBODY
from chamnet_agent.profiler import Bench
from chamnet_agent.testing import FakeBackend, FakeModel, Script
from chamnet_agent.windows import Windows, copies_of

CONV = "conv:f32:1x8x4x4:o8:k3"
POINT = "conv:f32:1x8x4x4:o8"
TIMES = EnergyPolicy(window_s=1.0, idle_s=0.8, guard_s=0.1)
CALL_S = 0.004


def windows(script: Script, keys: Sequence[str] = (CONV, POINT)) -> tuple[list[Visit], list[tuple[int, int]]]:
    """Run items; return their visits, and each mark with the time at which it was made."""
    clock = FakeClock()
    marks: list[tuple[int, int]] = []
    spent = 0

    def spend(duration_ns: int) -> None:
        nonlocal spent
        clock.time_ns += duration_ns
        spent += 1

    def mark(index: int) -> None:
        clock.time_ns += 1_000  # time passes in a loop that computes nothing, too
        marks.append((clock.time_ns, index))

    bench = Bench(
        clock=clock,
        conditions=lambda: Conditions(temperature_c=40.0),
        switches=lambda: 0,
        unix_ms=lambda: 1_700_000_000_000,
        mark=mark,
    )
    backend = FakeBackend(script=script, spend=spend)
    items = [Item(visit_id=key, blocks=(key,)) for key in keys]
    return list(Windows(backend, bench=bench).run(items, Policy(mode="energy", energy=TIMES))), marks


SCRIPT = Script(run_ns={CONV: (round(CALL_S * 1e9),), POINT: (round(CALL_S * 1e9 / 4),)})


def spans_of(visit: Visit) -> EnergySpans:
    assert visit.spans is not None
    return visit.spans


def test_a_window_is_as_long_as_asked_and_counts_its_calls() -> None:
    (conv, point), _ = windows(SCRIPT)
    for visit, call_s in ((conv, CALL_S), (point, CALL_S / 4)):
        spans = spans_of(visit)
        start_ns, end_ns = spans.window_ns
        assert 1.0 <= (end_ns - start_ns) / 1e9 <= 1.0 + 2 * CALL_S
        assert spans.calls == pytest.approx(1.0 / call_s, rel=0.01)
        assert visit.status == "ok"
        assert visit.samples_ns == ()  # its times are no latencies
        assert visit.conditions.temperature_c == 40.0


def test_neighbours_share_idling_and_nothing_touches_what_counts() -> None:
    (conv, point), marks = windows(SCRIPT)
    first, second = spans_of(conv), spans_of(point)
    assert first.after_ns == second.before_ns
    assert first.spin_ns == second.spin_ns
    spans = [
        first.spin_ns,
        first.before_ns,
        first.window_ns,
        first.after_ns,
        second.window_ns,
        second.after_ns,
    ]
    ends = [time for span in spans if span for time in span]
    assert ends == sorted(ends)
    for start_ns, end_ns in (first.before_ns, first.after_ns, second.after_ns):
        assert (end_ns - start_ns) / 1e9 == pytest.approx(0.8, rel=0.01)
        assert {index for time, index in marks if start_ns < time <= end_ns} == {NOBODY}
    for index, spans_ in enumerate((first, second)):
        start_ns, end_ns = spans_.window_ns
        guard_ns = round(0.09e9)
        during = {which for time, which in marks if start_ns - guard_ns < time < end_ns + guard_ns}
        assert during == {index}, (
            "it runs before and after what counts, so that a late update is of the same power"
        )


def test_idling_is_never_twice_as_long() -> None:
    visits, _ = windows(SCRIPT, (CONV,) * 1)
    spans = spans_of(visits[0])
    gaps = [spans.before_ns[0] - (spans.spin_ns or (0, 0))[1], spans.after_ns[0] - spans.window_ns[1]]
    assert len(set(gaps)) == len(gaps)


def test_the_supervisor_hears_of_an_idling_worker() -> None:
    _, marks = windows(SCRIPT)
    times = [time for time, _ in marks]
    assert max(b - a for a, b in pairwise(times)) <= 0.51e9


def test_what_the_backend_refuses_has_no_window() -> None:
    visits, _ = windows(Script(run_ns=SCRIPT.run_ns, unsupported=frozenset({CONV})))
    assert {visit.visit_id: visit.status for visit in visits} == {CONV: "unsupported", POINT: "ok"}
    visits, marks = windows(Script(unsupported=frozenset({CONV, POINT})))
    assert [visit.status for visit in visits] == ["unsupported", "unsupported"]
    assert max(time for time, _ in marks) < 1e9, "nobody waits for nothing"


def test_a_program_that_starts_anew_has_no_energy_of_its_own() -> None:
    class Apart(FakeModel):
        runs_apart = True

        def device_ns(self) -> int:
            return 1

    class Tool(FakeBackend):
        def prepare(self, workload: Workload, *, seed: int, slot: int) -> FakeModel:
            return Apart(set(), Script(), lambda duration_ns: None)

    bench = Bench(
        clock=FakeClock(),
        conditions=Conditions,
        switches=lambda: 0,
        unix_ms=lambda: 0,
        mark=lambda index: None,
    )
    policy = Policy(mode="energy", energy=TIMES)
    (visit,) = Windows(Tool(), bench=bench).run([Item(visit_id="a", blocks=(CONV,))], policy)
    assert visit.status == "unsupported"
    assert "starts anew" in visit.message


def test_copies_of_a_unit_hold_as_many_weights_as_a_network() -> None:
    small, large = Unit.parse(CONV), Unit.parse("linear:f32:1x1280x1x1:o1000")
    assert copies_of(Workload(blocks=(small,))) == 32
    assert copies_of(Workload(blocks=(large,))) == 4
    assert copies_of(Workload(blocks=(small, small))) == 1
    assert copies_of(Workload(model=b"file")) == 1


def test_a_policy_without_times_is_a_bug() -> None:
    bench = Bench(
        clock=FakeClock(),
        conditions=Conditions,
        switches=lambda: 0,
        unix_ms=lambda: 0,
        mark=lambda index: None,
    )
    with pytest.raises(ValueError, match="no times"):
        list(Windows(FakeBackend(), bench=bench).run([], Policy(mode="energy", energy=EnergyPolicy())))
