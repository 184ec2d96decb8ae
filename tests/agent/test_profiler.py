import gc
from collections.abc import Callable, Sequence

import pytest

from chamnet.records import Conditions, Item, Policy, Visit
from chamnet.testing import FakeClock
from chamnet_agent.board import NOBODY
from chamnet_agent.profiler import Bench, Profiler, ring_order
from chamnet_agent.testing import FakeBackend, Script

CONV = "conv:f32:1x8x4x4:o8:k3"
POINT = "conv:f32:1x8x4x4:o8"
POOL = "gap:f32:1x8x4x4:o8"


class Machine:
    """A bench on a fake clock that writes down what was marked."""

    def __init__(self, script: Script, *, threads: int = 1) -> None:
        self.clock = FakeClock()
        self.marks: list[int] = []
        self.switched = 0
        self.after_ns: Callable[[int], None] = lambda ns: None
        self.collected = False
        bench = Bench(
            clock=self.clock,
            conditions=lambda: Conditions(temperature_c=40.0),
            switches=lambda: self.switched,
            unix_ms=lambda: 1_700_000_000_000,
            mark=self.marks.append,
        )
        self.profiler = Profiler(FakeBackend(script=script, spend=self._spend), bench=bench, threads=threads)

    def _spend(self, duration_ns: int) -> None:
        self.clock.time_ns += duration_ns
        self.after_ns(duration_ns)

    def measure(self, keys: Sequence[str], policy: Policy) -> dict[str, Visit]:
        items = [Item(visit_id=key, blocks=(key,)) for key in keys]
        return {visit.visit_id: visit for visit in self.profiler.measure(items, policy)}


@pytest.mark.parametrize("mode", ["ring", "loop"])
def test_samples_are_exact_and_the_first_calls_are_dropped(mode: str) -> None:
    # One first call and two warm-up laps come before the three laps that count.
    machine = Machine(Script(run_ns={CONV: (900, 800, 700, 1, 2, 3), POINT: (90, 80, 70, 40, 50, 60)}))
    visits = machine.measure([CONV, POINT], Policy(mode=mode, laps=3, warmup_laps=2))  # type: ignore[arg-type]
    assert visits[CONV].samples_ns == (1, 2, 3)
    assert visits[CONV].cpu_samples_ns == (1, 2, 3)
    assert visits[POINT].samples_ns == (40, 50, 60)
    assert visits[POINT].status == "ok"
    assert visits[POINT].started_unix_ms == 1_700_000_000_000
    assert visits[POINT].conditions.temperature_c == 40.0


@pytest.mark.parametrize("mode", ["ring", "loop"])
def test_an_empty_model_is_timed_beside(mode: str) -> None:
    script = Script(run_ns={"noop": (100, 7)})  # the first call of each costs more
    visits = Machine(script).measure([CONV], Policy(mode=mode, laps=1, warmup_laps=0, noops=3))  # type: ignore[arg-type]
    assert visits[CONV].noop_ns == 7
    none = Machine(script).measure([CONV], Policy(mode=mode, laps=1, noops=0))  # type: ignore[arg-type]
    assert none[CONV].noop_ns is None


def test_a_ring_takes_turns_and_a_loop_does_not() -> None:
    ring, loop = Machine(Script()), Machine(Script())
    ring.measure([CONV, POINT], Policy(mode="ring", laps=2, warmup_laps=0, noops=0))
    loop.measure([CONV, POINT], Policy(mode="loop", laps=2, warmup_laps=0, noops=0))
    first, second = ring.marks[-3], ring.marks[-2]
    assert {first, second} == {0, 1}
    assert ring.marks[-5:] == [first, second, first, second, NOBODY]
    assert loop.marks == [0, 0, NOBODY, 0, 0, NOBODY, 1, 1, NOBODY, 1, 1, NOBODY]


def test_descheduled_samples_are_dropped_and_counted() -> None:
    machine = Machine(Script(run_ns={CONV: (10, 10, 99, 20)}))

    def deschedule(duration_ns: int) -> None:
        machine.switched += duration_ns == 99

    machine.after_ns = deschedule
    visit = machine.measure([CONV], Policy(mode="ring", laps=3, warmup_laps=0))[CONV]
    assert visit.samples_ns == (10, 20)
    assert visit.preempted == 1


def test_a_loop_takes_descheduled_samples_again() -> None:
    machine = Machine(Script(run_ns={CONV: (10, 10, 99, 20)}))

    def deschedule(duration_ns: int) -> None:
        machine.switched += duration_ns == 99

    machine.after_ns = deschedule
    visit = machine.measure([CONV], Policy(mode="loop", laps=3, warmup_laps=0, noops=0))[CONV]
    assert visit.samples_ns == (10, 20, 10)
    assert visit.preempted == 1


def crowded(mode: str, threads: int) -> Visit:
    machine = Machine(Script(run_ns={CONV: (10,)}), threads=threads)

    def deschedule(duration_ns: int) -> None:
        machine.switched += 1

    machine.after_ns = deschedule
    return machine.measure([CONV], Policy(mode=mode, laps=3))[CONV]  # type: ignore[arg-type]


@pytest.mark.parametrize(("mode", "tries"), [("ring", 3), ("loop", 6)])
def test_where_every_sample_was_descheduled_cpu_time_still_counts(mode: str, tries: int) -> None:
    visit = crowded(mode, threads=1)
    assert visit.status == "ok"
    assert visit.cpu_samples_ns == (10,) * tries
    assert visit.preempted == tries
    assert "--cores" in visit.message


@pytest.mark.parametrize(("mode", "tries"), [("ring", 3), ("loop", 6)])
def test_without_cpu_time_such_a_visit_is_not_ok(mode: str, tries: int) -> None:
    visit = crowded(mode, threads=2)
    assert visit.status == "timeout"
    assert visit.samples_ns == ()
    assert visit.preempted == tries
    assert "--cores" in visit.message


@pytest.mark.parametrize("mode", ["ring", "loop"])
def test_what_is_unsupported_does_not_stop_the_others(mode: str) -> None:
    machine = Machine(Script(unsupported=frozenset({POOL}), run_ns={CONV: (5,)}))
    visits = machine.measure([POOL, CONV], Policy(mode=mode, laps=1))  # type: ignore[arg-type]
    assert visits[POOL].status == "unsupported"
    assert POOL in visits[POOL].message
    assert visits[CONV].samples_ns == (5,)


def test_a_ring_of_nothing_but_unsupported_items_runs_no_laps() -> None:
    machine = Machine(Script(unsupported=frozenset({POOL}), run_ns={"noop": (100,)}))
    visits = machine.measure([POOL], Policy(mode="ring", laps=50))
    assert visits[POOL].status == "unsupported"
    assert machine.clock.now_ns() == 300  # the first calls of the three empty models


def test_several_threads_have_no_cpu_time_of_one() -> None:
    visits = Machine(Script(), threads=2).measure([CONV], Policy(laps=2))
    assert len(visits[CONV].samples_ns) == 2
    assert visits[CONV].cpu_samples_ns == ()


def test_the_collector_rests_while_calls_are_timed() -> None:
    machine = Machine(Script())
    enabled: list[bool] = []
    machine.after_ns = lambda _: enabled.append(gc.isenabled())
    machine.measure([CONV], Policy(mode="ring", laps=2, warmup_laps=0, noops=0))
    assert enabled == [True, False, False]
    assert gc.isenabled()


def test_the_order_of_a_ring_follows_its_seed() -> None:
    policy = Policy(noops=3, seed=1)
    order = ring_order(60, policy)
    assert order == ring_order(60, policy)
    assert order != ring_order(60, Policy(noops=3, seed=2))
    assert sorted(order) == [NOBODY] * 3 + list(range(60))
    assert [i for i, index in enumerate(order) if index == NOBODY] == [0, 21, 42]


@pytest.mark.parametrize("noops", [0, 1, 5])
def test_every_item_is_in_a_ring_however_many_empty_models(noops: int) -> None:
    assert sorted(ring_order(2, Policy(noops=noops))) == [NOBODY] * noops + [0, 1]


def test_resolving_reports_each_item() -> None:
    machine = Machine(Script(unsupported=frozenset({POOL})))
    items = [Item(visit_id="net", blocks=(CONV, POINT)), Item(visit_id="pool", blocks=(POOL,))]
    network, pool = machine.profiler.resolve(items)
    assert network.executed == (f"fake:{CONV}", f"fake:{POINT}")
    assert pool.status == "unsupported"
    assert machine.marks == [0, NOBODY, 1, NOBODY]
