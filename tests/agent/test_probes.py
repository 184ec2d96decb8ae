from chamnet.clock import SystemClock
from chamnet.testing import FakeClock
from chamnet_agent.probes import Probes, Work, reference_work


def test_the_medians_are_those_of_the_samples_since_the_last_clearing() -> None:
    clock, takes_ns = FakeClock(), [100]
    probes = Probes((Work(lambda: clock.sleep_s(takes_ns[-1] / 1e9), warmed=True),), clock)
    for _ in range(9):
        probes.take()
    probes.clear()
    for now_ns in (1, 9, 4):
        takes_ns.append(now_ns)
        probes.take()
    assert probes.medians_ns() == (4, None)


def test_both_are_timed_apart() -> None:
    clock = FakeClock()
    probes = Probes([Work(lambda ns=ns: clock.sleep_s(ns / 1e9), warmed=True) for ns in (3, 5)], clock)  # type: ignore[misc]
    probes.take()
    assert probes.medians_ns() == (3, 5)


def test_what_is_not_warmed_up_is_timed_at_its_first_run() -> None:
    clock, runs = FakeClock(), []

    def run() -> None:
        runs.append(1)
        clock.sleep_s(9e-9 if len(runs) % 3 == 1 else 2e-9)

    for warmed, median_ns, count in ((True, 2, 3), (False, 9, 1)):
        runs.clear()
        probes = Probes([Work(run, warmed=warmed)], clock)
        probes.take()
        assert probes.medians_ns() == (median_ns, None)
        assert len(runs) == count


def test_no_samples_have_no_median() -> None:
    assert Probes(reference_work(), FakeClock()).medians_ns() == (None, None)
    assert Probes((), FakeClock()).medians_ns() == (None, None)


def test_the_reference_work_takes_some_time_but_little() -> None:
    probes = Probes(reference_work(), SystemClock())
    for _ in range(9):
        probes.take()
    for median_ns in probes.medians_ns():
        assert median_ns is not None
        assert 1_000 < median_ns < 50_000_000
