"""Measuring: build, warm up, time; raw samples out, nothing summed up.

Why a ring: in a hot loop an operator finds its weights in the first caches, in a network it does not. The items of a
ring take turns in the order given; where that is the order of a network's layers, each finds the caches as it would
there. Empty models among them show what a call costs.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import mean

from chamnet.clock import Clock
from chamnet.errors import FallbackError, UnsupportedOpError
from chamnet.records import Conditions, Item, Policy, Resolved, Status, Visit
from chamnet_agent.backends.base import Backend, DeviceTimed, Prepared, RunsApart, Warmed, Workload
from chamnet_agent.board import NOBODY
from chamnet_agent.probes import Probes, Work

__all__ = ["Bench", "Profiler", "ring_order", "unsupported", "without_collector"]

_NOOP = Workload()
_TRIES_PER_LAP = 2  # in a loop: how often a descheduled sample is taken again, on average


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What measuring needs of the machine.

    Attributes:
        clock: Times the calls.
        conditions: Reads what the device is like.
        switches: Returns how often this thread was descheduled against its will so far.
        unix_ms: Returns the time of day.
        mark: Says which item is built or run next.
        work: Reference work to time between laps; see `chamnet_agent.probes`.
    """

    clock: Clock
    conditions: Callable[[], Conditions]
    switches: Callable[[], int]
    unix_ms: Callable[[], int]
    mark: Callable[[int], None]
    work: Sequence[Work] = ()


@dataclass(slots=True)
class _Entry:
    """A built item, or an empty model (`NOBODY`), and the samples taken of it: (wall, CPU) in ns."""

    index: int
    prepared: Prepared
    warm: Callable[[], object] | None = None
    device_ns: Callable[[], int] | None = None
    apart: bool = False
    samples: list[tuple[int, int]] = field(default_factory=list)
    descheduled: list[tuple[int, int]] = field(default_factory=list)

    def clear(self) -> None:
        self.samples.clear()
        self.descheduled.clear()


class Profiler:
    """Measures items on one backend, one after the other, in the calling thread.

    Args:
        backend: Runs them.
        bench: The machine.
        threads: The backend computes with; above one, the thread's CPU time says nothing and is left out.
    """

    def __init__(self, backend: Backend, *, bench: Bench, threads: int) -> None:
        self._backend = backend
        self._bench = bench
        self._threads = threads

    def measure(self, items: Sequence[Item], policy: Policy) -> Iterator[Visit]:
        """Measure items under a policy; each has its visit once this is exhausted."""
        return self._ring(items, policy) if policy.mode == "ring" else self._loop(items, policy)

    def resolve(self, items: Sequence[Item], *, seed: int = 0) -> Iterator[Resolved]:
        """Say what the runtime executes for each item."""
        for index, item in enumerate(items):
            self._bench.mark(index)
            try:
                executed = self._backend.resolve(Workload.of(item), seed=seed)
            except UnsupportedOpError as error:
                resolved = Resolved(visit_id=item.visit_id, status=_status(error), message=str(error))
            else:
                resolved = Resolved(visit_id=item.visit_id, status="ok", executed=executed)
            self._bench.mark(NOBODY)
            yield resolved

    def _ring(self, items: Sequence[Item], policy: Policy) -> Iterator[Visit]:
        started = self._bench.unix_ms()
        ring: list[_Entry] = []
        slot = 0
        for index in ring_order(len(items), policy.noops):
            try:
                ring.append(self._build(items, index, policy, slot=slot))
            except UnsupportedOpError as error:
                if index != NOBODY:  # without an empty model, nothing says what a call costs
                    yield unsupported(items[index], error)
                continue
            slot += index != NOBODY  # neighbours swap buffers, whether an empty model stands between or not
        if all(entry.index == NOBODY for entry in ring):
            return
        probes = Probes(self._bench.work, self._bench.clock)
        with without_collector():
            self._laps([entry for entry in ring if not entry.apart], policy.warmup_laps, probes)
            probes.clear()
            for entry in ring:
                entry.clear()
            self._laps(ring, policy.laps, probes)
        self._bench.mark(NOBODY)
        noop_ns = self._noop_ns([entry for entry in ring if entry.index == NOBODY])
        conditions = self._conditions(probes)
        for entry in sorted(ring, key=lambda entry: entry.index):
            if entry.index != NOBODY:
                yield self._visit(items[entry.index], entry, noop_ns, conditions, started)

    def _loop(self, items: Sequence[Item], policy: Policy) -> Iterator[Visit]:
        noop_ns = self._noop_alone_ns(items, policy) if policy.noops else None
        for index, item in enumerate(items):
            started = self._bench.unix_ms()
            try:
                entry = self._build(items, index, policy, slot=0)
            except UnsupportedOpError as error:
                yield unsupported(item, error)
                continue
            probes = Probes(self._bench.work, self._bench.clock)
            self._alone(entry, policy, probes)
            self._bench.mark(NOBODY)
            yield self._visit(item, entry, noop_ns, self._conditions(probes), started)

    def _noop_alone_ns(self, items: Sequence[Item], policy: Policy) -> int | None:
        """Return what an empty model takes in a loop; None where the backend refuses it."""
        try:
            empty = self._build(items, NOBODY, policy, slot=0)
        except UnsupportedOpError:
            return None
        self._alone(empty, policy, Probes((), self._bench.clock))
        return self._noop_ns([empty])

    def _build(self, items: Sequence[Item], index: int, policy: Policy, *, slot: int) -> _Entry:
        """Prepare an item, or an empty model, and run it once: the first call pays for what is lazy."""
        self._bench.mark(index)
        workload = _NOOP if index == NOBODY else Workload.of(items[index], isolated=policy.isolated)
        prepared = self._backend.prepare(workload, seed=policy.seed, slot=slot)
        self._bench.mark(index)
        prepared.run()
        self._bench.mark(NOBODY)
        return _Entry(
            index,
            prepared,
            warm=prepared.warm if isinstance(prepared, Warmed) else None,
            device_ns=prepared.device_ns if isinstance(prepared, DeviceTimed) else None,
            apart=isinstance(prepared, RunsApart) and prepared.runs_apart,
        )

    def _conditions(self, probes: Probes) -> Conditions:
        probe_ns, memory_probe_ns = probes.medians_ns()
        return replace(self._bench.conditions(), probe_ns=probe_ns, memory_probe_ns=memory_probe_ns)

    def _laps(self, ring: Sequence[_Entry], laps: int, probes: Probes) -> None:
        for _ in range(laps):
            probes.take()
            for entry in ring:
                self._time(entry)

    def _alone(self, entry: _Entry, policy: Policy, probes: Probes) -> None:
        with without_collector():
            self._laps([entry], 0 if entry.apart else policy.warmup_laps, probes)
            probes.clear()
            entry.clear()
            tries = _TRIES_PER_LAP * policy.laps
            while len(entry.samples) < policy.laps and tries:
                probes.take()
                self._time(entry)
                tries -= 1

    def _time(self, entry: _Entry) -> None:
        """Time one call; set it aside if the thread was descheduled meanwhile."""
        bench = self._bench
        bench.mark(entry.index)
        run, now_ns, cpu_now_ns = entry.prepared.run, bench.clock.now_ns, bench.clock.cpu_ns
        if entry.warm is not None:
            entry.warm()
        switches = bench.switches()
        cpu_start_ns = cpu_now_ns()
        start_ns = now_ns()
        run()
        stop_ns = now_ns()
        cpu_stop_ns = cpu_now_ns()
        undisturbed = entry.apart or bench.switches() == switches
        taken = entry.samples if undisturbed else entry.descheduled
        wall_ns = stop_ns - start_ns if entry.device_ns is None else entry.device_ns()
        taken.append((wall_ns, cpu_stop_ns - cpu_start_ns))

    def _noop_ns(self, empty: Sequence[_Entry]) -> int | None:
        """Return the mean of empty calls, by the same clock as rows: CPU time of one thread, else wall."""
        samples_ns = [
            cpu_ns if self._alone_on(e) else wall_ns for e in empty for wall_ns, cpu_ns in e.samples
        ]
        return round(mean(samples_ns)) if samples_ns else None

    def _alone_on(self, entry: _Entry) -> bool:
        """Return whether the thread that calls does all the work, so that its CPU time is the latency."""
        return self._threads == 1 and entry.device_ns is None

    def _visit(
        self, item: Item, entry: _Entry, noop_ns: int | None, conditions: Conditions, started_unix_ms: int
    ) -> Visit:
        """Return an item's visit.

        On a crowded machine no long call goes undisturbed. One thread's CPU time does not count the others' turns,
        so such samples are kept where there are no better ones, and the visit says so.
        """
        alone = self._alone_on(entry)
        samples = entry.samples or (entry.descheduled if alone else [])
        kept = "kept for their CPU time" if samples else "none is left"
        crowded = (
            ""
            if entry.samples
            else f"all {len(entry.descheduled)} samples were descheduled, {kept}: {_CROWDED}"
        )
        return Visit(
            visit_id=item.visit_id,
            status="ok" if samples else "timeout",
            samples_ns=tuple(wall_ns for wall_ns, _ in samples),
            cpu_samples_ns=tuple(cpu_ns for _, cpu_ns in samples) if alone else (),
            preempted=len(entry.descheduled),
            noop_ns=noop_ns,
            started_unix_ms=started_unix_ms,
            conditions=conditions,
            message=crowded,
        )


_CROWDED = "something else runs on the worker's cores; stop it, or choose others with --cores"


def ring_order(items: int, noops: int) -> list[int]:
    """Return the indices of the items, with `NOBODY` for empty models spread evenly among them.

    >>> ring_order(4, 1)
    [0, 1, -1, 2, 3]
    """
    order = list(range(items))
    for noop in reversed(range(noops)):
        order.insert(((noop + 1) * items) // (noops + 1), NOBODY)
    return order


def unsupported(item: Item, error: UnsupportedOpError) -> Visit:
    """Return the visit of an item that the backend refuses."""
    return Visit(visit_id=item.visit_id, status=_status(error), message=str(error))


def _status(error: UnsupportedOpError) -> Status:
    return "fallback" if isinstance(error, FallbackError) else "unsupported"


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the garbage collector from running between or inside timed calls."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
