"""Energy that the host reads itself: a real agent and worker, a meter whose clock is another one, in real time."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest

from chamnet.clock import SystemClock
from chamnet.energy import Rail, Reading
from chamnet.errors import ConfigError, MeterError
from chamnet.lut import EnergyTimes, Request
from chamnet.records import Component, DeviceInfo, EnergyPolicy, EnergySpans, Item, Policy, Visit
from chamnet.testing import make_device
from chamnet_host.client import DeviceClient
from chamnet_host.external.clocks import offset_of
from chamnet_host.external.witness import Witness
from tests.host.external.simulated import CONV, IDLE_W, POINT, SPENDS_UJ, SPIN_W, SimulatedPower

TIMES = EnergyTimes(window_s=0.7, idle_s=1.0, guard_s=0.12)
SHORT = EnergyTimes(window_s=0.3, idle_s=0.3, guard_s=0.12)
AHEAD_S, LATE_S, FAST = (
    3.7,
    0.09,
    300e-6,
)  # the host's clock, what its meter says late, by a clock that is too fast
RUNS_OFF = 6  # at both ends of a window together; a busy machine runs so few that they count
TRIES = 4  # of a window: on a busy machine a visit comes late, and is taken for one that a sleeping device slept through


class HostClock(SystemClock):
    """The clock of another machine than the device."""

    @staticmethod
    def now_ns() -> int:
        return time.monotonic_ns() + round(AHEAD_S * 1e9)


class Monitor:
    """A meter of the host that reads the simulated power, by a clock that is late and runs fast."""

    rails = (Rail(name="main", nature="power", domain="device", totals=frozenset({"device"})),)
    period_s = 0.02
    shortest_poll_s = 0.02
    on_read = True
    settle_s = 5.0

    def __init__(self, spent: Path, clock: HostClock, *, spin_w: float) -> None:
        self._power = SimulatedPower(spent, clock, spin_w=spin_w)
        self._began_ns = clock.now_ns()

    @staticmethod
    def describe(argument: str) -> Component:
        return Component(name="simulated")

    def read(self) -> Sequence[Reading]:
        return [self._told(*point) for point in self._power.since_last()]

    def close(self) -> None:
        pass

    def _told(self, middle_ns: int, power_w: float) -> Reading:
        told_ns = self._began_ns + round((middle_ns - self._began_ns) * (1 + FAST) + LATE_S * 1e9)
        return Reading((power_w,), t_ns=told_ns, stamp=told_ns)


@contextmanager
def witness(spent: Path, *, spin_w: float = SPIN_W, times: EnergyTimes = TIMES) -> Iterator[Witness]:
    clock = HostClock()
    meter = Monitor(spent, clock, spin_w=spin_w)
    with Witness(meter, name="simulated", times=times, clock=clock) as witness:
        yield witness


def measured(by: Witness, client: DeviceClient, *keys: str) -> dict[str, Visit]:
    visits: dict[str, Visit] = {}
    for _ in range(TRIES):
        left = tuple(key for key in keys if key not in visits or visits[key].status == "cancelled")
        if left:
            items = tuple(Item(visit_id=key, blocks=(key,)) for key in left)
            request = Request(Policy(mode="energy", energy=EnergyPolicy()), items, "unit", left)
            visits |= {visit.visit_id: visit for visit in by.measure(client, request, "fake")}
    return visits


def test_the_energy_of_a_run_is_what_it_spends(client: DeviceClient, spent: Path) -> None:
    with witness(spent) as by:
        visits = measured(by, client, CONV, POINT)
    for key in (CONV, POINT):
        assert visits[key].status == "ok", visits[key].message
        energy = visits[key].energy
        assert energy is not None
        assert energy.net_mj == pytest.approx(SPENDS_UJ[key] / 1e3, rel=max(0.025, RUNS_OFF / energy.calls))
        assert energy.idle_w == pytest.approx(IDLE_W, rel=0.03)
        assert energy.spin_w == pytest.approx(IDLE_W + SPIN_W, rel=0.1)
        assert (energy.meter, energy.rails) == ("simulated", ("main",))
        assert visits[key].spans is None


def test_what_feeds_another_device_shows_no_marker(client: DeviceClient, spent: Path) -> None:
    with (
        witness(spent, spin_w=0.0, times=SHORT) as by,
        pytest.raises(MeterError, match=r"the marker is not seen.*between this device and its supply"),
    ):
        measured(by, client, POINT)


class Sleeper:
    """A device whose clock stood still for two seconds between its answers and the end of a window."""

    def describe(self) -> DeviceInfo:
        return replace(make_device("fake"), monotonic_ns=time.monotonic_ns())

    def measure(self, items: Sequence[Item], policy: Policy, **_: object) -> Iterator[Visit]:
        end_ns = time.monotonic_ns() - 2_000_000_000
        edges_ns = [end_ns - i * 100_000_000 for i in range(5, -1, -1)]
        spin, before, window, after = pairwise(edges_ns[1:])
        spans = EnergySpans(window_ns=window, before_ns=before, after_ns=after, spin_ns=spin, calls=1)
        yield Visit(visit_id=items[0].visit_id, status="ok", spans=spans)


def test_a_device_that_slept_is_measured_again(spent: Path) -> None:
    request = Request(Policy(mode="energy"), (Item(visit_id="a", blocks=(CONV,)),), "unit", (CONV,))
    with witness(spent) as by:
        (visit,) = by.measure(cast(DeviceClient, Sleeper()), request, "fake")
    assert visit.status == "cancelled"
    assert visit.energy is visit.spans is None
    assert "keep its screen on" in visit.message


def test_the_offset_of_clocks_is_as_sure_as_the_answer_was_fast(client: DeviceClient) -> None:
    offset = offset_of(client, HostClock())
    assert abs(offset.offset_ns - AHEAD_S * 1e9) <= offset.uncertainty_ns
    assert offset.uncertainty_ns < 50_000_000


def test_an_agent_must_be_told_all_times_where_it_reads_no_meter(client: DeviceClient) -> None:
    energy = EnergyPolicy(meter="external", window_s=1.0, idle_s=1.0)
    items = [Item(visit_id=CONV, blocks=(CONV,))]
    with pytest.raises(ConfigError, match="with an external meter send all three"):
        list(client.measure(items, Policy(mode="energy", energy=energy)))


def test_without_a_meter_visits_come_with_the_times_to_ask_one_about(client: DeviceClient) -> None:
    energy = EnergyPolicy(meter="external", window_s=0.1, idle_s=0.1, guard_s=0.01)
    items = [Item(visit_id=CONV, blocks=(CONV,))]
    (visit,) = client.measure(items, Policy(mode="energy", energy=energy))
    assert visit.energy is None
    assert visit.spans is not None
    assert visit.spans.spin_ns is not None
    assert visit.spans.spin_ns[1] < visit.spans.before_ns[1] <= visit.spans.window_ns[0]
    now_ns = client.describe().monotonic_ns
    assert now_ns is not None
    assert visit.spans.after_ns[1] < now_ns
