"""Windows of energy: an item runs over and over, then the device idles; a meter is asked about both afterwards.

Updates of a meter are late by up to its period, so that at either end of a window some of what came before is counted. Before each window
and after it the item runs on for a while, and idling begins a while before it counts: then what is counted by mistake is of
the same power. Idling between two windows serves both, and is of another length each time, so that windows begin at every phase of a
sampled meter.

In a network an operator finds its weights in no cache. So as many copies of a unit take turns as have the weights of a network together.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from math import ceil
from random import Random

from chamnet.errors import UnsupportedOpError
from chamnet.records import EnergyPolicy, EnergySpans, Item, Policy, Visit
from chamnet_agent.backends.base import Backend, RunsApart, Workload
from chamnet_agent.board import NOBODY
from chamnet_agent.profiler import Bench, unsupported, without_collector

__all__ = ["Windows"]

_COPIES_BYTES = 16 << 20  # weights of a mobile network, more than the caches of its core
_MOST_COPIES = 32
_TICK_S = 0.5  # the supervisor wants to hear of an idling worker, too


class Windows:
    """Runs items in windows, one after the other, in the calling thread.

    Args:
        backend: Runs them.
        bench: The machine.
    """

    def __init__(self, backend: Backend, *, bench: Bench) -> None:
        self._backend = backend
        self._bench = bench

    def run(self, items: Sequence[Item], policy: Policy) -> Iterator[Visit]:
        """Yield a visit of each item, with the times that a meter is to be asked about.

        Raises:
            ValueError: The policy leaves a time open.
        """
        times = policy.energy
        if times is None or min(times.window_s, times.idle_s) <= 0 or times.guard_s < 0:
            raise ValueError(f"policy: no times for windows of energy in {times}")
        built: list[tuple[int, list[Callable[[], object]]]] = []
        for index, item in enumerate(items):
            try:
                built.append((index, self._build(index, item, policy)))
            except UnsupportedOpError as error:
                yield unsupported(item, error)
        if not built:
            return
        phases = Random(policy.seed)
        with without_collector():
            self._idle(times, phases)
            spin_ns, _ = self._window(NOBODY, [_nothing], times)
            before_ns = self._idle(times, phases)
            for index, runs in built:
                started = self._bench.unix_ms()
                window_ns, calls = self._window(index, runs, times)
                after_ns = self._idle(times, phases)
                spans = EnergySpans(
                    window_ns=window_ns, before_ns=before_ns, after_ns=after_ns, calls=calls, spin_ns=spin_ns
                )
                yield Visit(
                    visit_id=items[index].visit_id,
                    status="ok",
                    started_unix_ms=started,
                    conditions=self._bench.conditions(),
                    spans=spans,
                )
                before_ns = after_ns

    def _build(self, index: int, item: Item, policy: Policy) -> list[Callable[[], object]]:
        """Return the copies of an item, each run once: the first call pays for what is lazy."""
        workload = Workload.of(item, isolated=policy.isolated)
        runs = []
        for copy in range(copies_of(workload)):
            self._bench.mark(index)
            prepared = self._backend.prepare(workload, seed=policy.seed + copy, slot=copy)
            if isinstance(prepared, RunsApart) and prepared.runs_apart:
                raise UnsupportedOpError(
                    "its program starts anew for each run: what that takes cannot be told from what the item takes"
                )
            self._bench.mark(index)
            prepared.run()
            runs.append(prepared.run)
        self._bench.mark(NOBODY)
        return runs

    def _window(
        self, index: int, runs: Sequence[Callable[[], object]], times: EnergyPolicy
    ) -> tuple[tuple[int, int], int]:
        """Run copies in turn; return start and end of the window, and the calls in it."""
        turns = cycle(runs)
        self._run_for(index, turns, times.guard_s)
        start_ns, end_ns, calls = self._run_for(index, turns, times.window_s)
        self._run_for(index, turns, times.guard_s)
        self._bench.mark(NOBODY)
        return (start_ns, end_ns), calls

    def _run_for(
        self, index: int, turns: Iterator[Callable[[], object]], seconds: float
    ) -> tuple[int, int, int]:
        """Run what comes in turn for a time; return when that began, when it ended, and the calls."""
        mark, now_ns = self._bench.mark, self._bench.clock.now_ns
        start_ns = now = now_ns()
        end_ns = start_ns + round(seconds * 1e9)
        calls = 0
        while now < end_ns:
            mark(index)
            next(turns)()
            calls += 1
            now = now_ns()
        return start_ns, now, calls

    def _idle(self, times: EnergyPolicy, phases: Random) -> tuple[int, int]:
        """Let the device idle; return start and end of what counts of it."""
        self._sleep(times.guard_s * (1 + phases.random()))
        start_ns = self._bench.clock.now_ns()
        self._sleep(times.idle_s)
        return start_ns, self._bench.clock.now_ns()

    def _sleep(self, seconds: float) -> None:
        while seconds > 0:
            self._bench.mark(NOBODY)
            self._bench.clock.sleep_s(min(seconds, _TICK_S))
            seconds -= _TICK_S
        self._bench.mark(NOBODY)


def copies_of(workload: Workload) -> int:
    """Return how many copies of a workload take turns: one of a network or a model file."""
    if len(workload.blocks) != 1:
        return 1
    weight_bytes = max(workload.blocks[0].weight_bytes, 1)
    return max(1, min(_MOST_COPIES, ceil(_COPIES_BYTES / weight_bytes)))


def _nothing() -> None:
    """Keep a core busy, and compute nothing."""
