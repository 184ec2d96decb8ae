from chamnet.testing import FakeClock
from chamnet_agent.lease import Lease


def test_a_lease_runs_out_after_the_last_call() -> None:
    clock = FakeClock()
    lease = Lease(10, clock)
    clock.sleep_s(8)
    assert lease.left_s() == 2
    with lease.call():
        clock.sleep_s(100)
        assert lease.left_s() is None  # a call at work holds it, however long it takes
        with lease.call():
            pass
        assert lease.left_s() is None
    assert lease.left_s() == 10
    clock.sleep_s(11)
    assert lease.left_s() == -1


def test_a_lease_of_zero_never_runs_out() -> None:
    clock = FakeClock()
    lease = Lease(0, clock)
    clock.sleep_s(1e6)
    assert lease.left_s() is None
