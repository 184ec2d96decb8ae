import gc
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chamnet.errors import UnsupportedOpError
from chamnet.records import Conditions, Item, Policy, Visit
from chamnet.testing import FakeClock
from chamnet_agent.backends.base import Workload
from chamnet_agent.board import NOBODY
from chamnet_agent.probes import Work
from chamnet_agent.profiler import Bench, Profiler, ring_order
from chamnet_agent.testing import FakeBackend, Script

CONV = "conv:f32:1x8x4x4:o8:k3"
POINT = "conv:f32:1x8x4x4:o8"
POOL = "gap:f32:1x8x4x4:o8"


class Machine:
    """A bench on a fake clock that writes down what was marked.

    Args:
        script: What the backend does.
        threads: It computes with.
        probes_ns: Say what the computation and the pass over memory take now; none are timed without.
        wrap: Makes another backend of the fake one.
    """

    def __init__(
        self,
        script: Script,
        *,
        threads: int = 1,
        probes_ns: Sequence[Callable[[], int]] = (),
        wrap: Callable[[FakeBackend], Any] = lambda backend: backend,
    ) -> None:
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
            work=[self._probe(takes_ns) for takes_ns in probes_ns],
        )
        backend = wrap(FakeBackend(script=script, spend=self._spend))
        self.profiler = Profiler(backend, bench=bench, threads=threads)

    def _spend(self, duration_ns: int) -> None:
        self.clock.time_ns += duration_ns
        self.after_ns(duration_ns)

    def _probe(self, takes_ns: Callable[[], int]) -> Work:
        return Work(lambda: self.clock.sleep_s(takes_ns() / 1e9), warmed=True)

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


@pytest.mark.parametrize(("items", "noops"), [(1, 0), (2, 5), (4, 1), (20, 6), (60, 3)])
def test_a_ring_keeps_the_order_of_its_items_and_spreads_empty_models(items: int, noops: int) -> None:
    order = ring_order(items, noops)
    assert [index for index in order if index != NOBODY] == list(range(items))
    assert order.count(NOBODY) == noops
    gaps = [len(gap) for gap in "".join("n" if i == NOBODY else "i" for i in order).split("n")]
    assert max(gaps) - min(gaps) <= 1


def test_resolving_reports_each_item() -> None:
    machine = Machine(Script(unsupported=frozenset({POOL})))
    items = [Item(visit_id="net", blocks=(CONV, POINT)), Item(visit_id="pool", blocks=(POOL,))]
    network, pool = machine.profiler.resolve(items)
    assert network.executed == (f"fake:{CONV}", f"fake:{POINT}")
    assert pool.status == "unsupported"
    assert machine.marks == [0, NOBODY, 1, NOBODY]


def test_probes_are_timed_between_laps_and_their_medians_go_with_each_visit() -> None:
    # The machine is slow until the laps of warming up are over: forgotten, though there are more of them.
    machine = Machine(Script(run_ns={CONV: (1,)}), probes_ns=(lambda: slow(70), lambda: slow(90)))

    def slow(usual_ns: int) -> int:
        return usual_ns if machine.marks.count(0) >= 2 + 9 else 9_999

    visits = machine.measure([CONV, POINT], Policy(mode="ring", laps=3, warmup_laps=9, noops=0))
    for visit in visits.values():
        assert (visit.conditions.probe_ns, visit.conditions.memory_probe_ns) == (70, 90)
        assert visit.conditions.temperature_c == 40.0
    assert visits[CONV].samples_ns == (1, 1, 1)


def test_an_item_alone_has_probes_of_its_own() -> None:
    machine = Machine(Script(), probes_ns=(lambda: 9 if 1 in machine.marks else 4,))
    visits = machine.measure([CONV, POINT], Policy(mode="loop", laps=2, warmup_laps=0, noops=3))
    assert visits[CONV].conditions.probe_ns == 4
    assert visits[POINT].conditions.probe_ns == 9


def test_without_reference_work_there_is_no_probe() -> None:
    conditions = Machine(Script()).measure([CONV], Policy(laps=2))[CONV].conditions
    assert (conditions.probe_ns, conditions.memory_probe_ns) == (None, None)


class Watched:
    """A fake backend that remembers what it was asked to build."""

    def __init__(self, inner: FakeBackend) -> None:
        self._inner = inner
        self.built: list[tuple[Workload, int]] = []

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> Any:
        self.built.append((workload, slot))
        return self._inner.prepare(workload, seed=seed, slot=slot)


def watched(keys: Sequence[str], policy: Policy, script: Script | None = None) -> list[tuple[Workload, int]]:
    machine = Machine(script or Script(), wrap=Watched)
    machine.measure(keys, policy)
    backend: Watched = machine.profiler._backend  # type: ignore[assignment]
    return backend.built


def test_neighbours_swap_buffers_across_empty_models() -> None:
    built = watched([CONV, POINT, POOL, "linear:f32:1x8x1x1:o4"], Policy(noops=3, laps=1))
    slots = [slot for workload, slot in built if workload.blocks]
    assert len(built) == 7
    assert slots == [0, 1, 2, 3]


def test_what_is_refused_takes_no_place_in_the_ring() -> None:
    built = watched([CONV, POOL, POINT], Policy(noops=0, laps=1), Script(unsupported=frozenset({POOL})))
    slots = [slot for workload, slot in built if POOL not in {unit.key for unit in workload.blocks}]
    assert slots == [0, 1]


@pytest.mark.parametrize("mode", ["ring", "loop"])
@pytest.mark.parametrize("isolated", [True, False])
def test_whether_units_are_isolated_reaches_the_backend(mode: str, isolated: bool) -> None:
    built = watched([CONV], Policy(mode=mode, laps=1, isolated=isolated))  # type: ignore[arg-type]
    assert [workload.isolated for workload, _ in built if workload.blocks] == [isolated]


class Wrapping:
    """A fake backend whose models are wrapped."""

    def __init__(self, inner: FakeBackend, model: Callable[[Any], Any]) -> None:
        self._inner = inner
        self._model = model

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> Any:
        return self._model(self._inner.prepare(workload, seed=seed, slot=slot))


@pytest.mark.parametrize("mode", ["ring", "loop"])
def test_memory_of_its_own_is_warmed_before_each_call_untimed(mode: str) -> None:
    happened: list[str] = []

    class Warming:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def run(self) -> None:
            happened.append("run")
            self._inner.run()

        def warm(self) -> None:
            happened.append("warm")
            machine.clock.time_ns += 1_000

    machine = Machine(Script(run_ns={CONV: (5,)}), wrap=lambda backend: Wrapping(backend, Warming))
    policy = Policy(mode=mode, laps=2, warmup_laps=1, noops=0)  # type: ignore[arg-type]
    visit = machine.measure([CONV], policy)[CONV]
    assert visit.samples_ns == visit.cpu_samples_ns == (5, 5)
    assert happened == ["run", *["warm", "run"] * 3]  # the first call only builds


@pytest.mark.parametrize("mode", ["ring", "loop"])
def test_a_device_that_keeps_its_own_time_is_believed(mode: str) -> None:
    class OnDevice:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def run(self) -> None:
            self._inner.run()

        def device_ns(self) -> int:
            return 3

    machine = Machine(
        Script(run_ns={CONV: (50,), "noop": (20,)}), wrap=lambda backend: Wrapping(backend, OnDevice)
    )
    visit = machine.measure([CONV], Policy(mode=mode, laps=2, noops=1))[CONV]  # type: ignore[arg-type]
    assert visit.samples_ns == (3, 3)
    assert visit.cpu_samples_ns == ()
    assert visit.noop_ns == 3


def test_where_every_sample_was_descheduled_a_devices_own_time_does_not_count() -> None:
    class OnDevice:
        def __init__(self, inner: Any) -> None:
            self.run = inner.run

        def device_ns(self) -> int:
            return 3

    machine = Machine(Script(), wrap=lambda backend: Wrapping(backend, OnDevice))

    def deschedule(duration_ns: int) -> None:
        machine.switched += 1

    machine.after_ns = deschedule
    assert machine.measure([CONV], Policy(laps=3))[CONV].status == "timeout"


def test_the_empty_model_is_timed_like_the_rows() -> None:
    """With several threads rows are wall-clock times, so the empty model must be too."""
    for threads, noop_ns in ((1, 8), (2, 20)):
        machine = Machine(Script(run_ns={"noop": (20,)}), threads=threads)
        machine.clock.cpu_ns = lambda clock=machine.clock: clock.time_ns * 2 // 5  # type: ignore[method-assign, misc]
        assert machine.measure([CONV], Policy(laps=2, noops=1))[CONV].noop_ns == noop_ns


@pytest.mark.parametrize("mode", ["ring", "loop"])
def test_a_refused_empty_model_is_no_items_fault(mode: str) -> None:
    class Refusing(Watched):
        def prepare(self, workload: Workload, *, seed: int, slot: int) -> Any:
            if not workload.blocks:
                raise UnsupportedOpError("no empty models here")
            return super().prepare(workload, seed=seed, slot=slot)

    machine = Machine(Script(run_ns={CONV: (5,), POINT: (7,)}), wrap=Refusing)
    visits = machine.measure([CONV, POINT], Policy(mode=mode, laps=1, noops=2))  # type: ignore[arg-type]
    assert {key: visit.status for key, visit in visits.items()} == {CONV: "ok", POINT: "ok"}
    assert visits[POINT].samples_ns == (7,)
    assert visits[POINT].noop_ns is None


@pytest.mark.parametrize("mode", ["ring", "loop"])
def test_what_runs_apart_warms_up_by_itself_and_does_not_mind_this_thread(mode: str) -> None:
    class Apart:
        runs_apart = True

        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self._took_ns = 0

        def run(self) -> None:
            start_ns = machine.clock.now_ns()
            self._inner.run()
            self._took_ns = machine.clock.now_ns() - start_ns

        def device_ns(self) -> int:
            return self._took_ns

    machine = Machine(Script(run_ns={CONV: (90, 5, 6, 7)}), wrap=lambda backend: Wrapping(backend, Apart))

    def deschedule(duration_ns: int) -> None:
        machine.switched += 1

    machine.after_ns = deschedule
    policy = Policy(mode=mode, laps=3, warmup_laps=9, noops=0)  # type: ignore[arg-type]
    visit = machine.measure([CONV], policy)[CONV]
    assert (visit.status, visit.samples_ns, visit.preempted) == ("ok", (5, 6, 7), 0)
