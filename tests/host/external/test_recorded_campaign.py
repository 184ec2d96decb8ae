"""A campaign whose energies come from a file that another program writes meanwhile."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chamnet.clock import SystemClock
from chamnet.lut import EnergyBatch, EnergyTable, LatencyTable, Store
from chamnet.networks import find
from chamnet.records import EnergyPolicy
from chamnet.testing import make_platform
from chamnet.units import Unit
from chamnet_agent.server import RunningAgent
from chamnet_agent.testing import Script
from chamnet_host.client import DeviceClient
from chamnet_host.measuring.campaign import Campaign
from chamnet_host.measuring.energy_campaign import EnergyPlan, find_host_meter, measuring, times_of
from chamnet_host.measuring.lanes import Lane
from chamnet_host.session import Session
from chamnet_host.texts.energy import announcement
from tests.host.external.simulated import CONV, SPENDS_UJ, SimulatedPower

LATE_S = 0.06
PLATFORM = make_platform()
RUNS = 2  # each tries a window three times
RUNS_OFF = 6  # at both ends of a window together; a busy machine runs so few that they count
ROWS = 10  # that tell the time between them


@contextmanager
def recorder(file: Path, spent: Path) -> Iterator[None]:
    """Write the simulated power, as an external recorder does, a little late."""
    stop, begun, power = threading.Event(), threading.Event(), SimulatedPower(spent, SystemClock())

    def record() -> None:
        with file.open("w") as rows:
            rows.write("time_s,power_w\n")
            written = 0
            while not stop.wait(0.02):
                points = power.since_last()
                rows.writelines(
                    f"{middle_ns / 1e9 + LATE_S:.6f},{power_w:.4f}\n" for middle_ns, power_w in points
                )
                rows.flush()
                if (written := written + len(points)) >= ROWS:
                    begun.set()

    thread = threading.Thread(target=record, daemon=True)
    thread.start()
    assert begun.wait(60)  # the host wants to see that it is written
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_recording_completes_what_a_campaign_measures(
    client: DeviceClient, spent: Path, tmp_path: Path
) -> None:
    @contextmanager
    def connect() -> Iterator[DeviceClient]:
        yield client

    file = tmp_path / "power.csv"
    policy = EnergyPolicy(meter=f"recording:{file}", window_s=0.6, idle_s=1.0, guard_s=0.12)
    with recorder(file, spent), Store.open(tmp_path / "s.db") as store:
        meter = find_host_meter(policy.meter)
        batch = EnergyBatch(policy=EnergyPolicy(meter=meter.name), units=(Unit.parse(CONV),))
        plan = EnergyPlan(batch, meter, 1.0, batch.items)
        lut_id = store.add_platform(PLATFORM)
        with measuring(policy, plan) as how:
            lane = Lane(connect=connect, backend="fake", measure=how)
            campaign = Campaign(lanes=[lane], store=store, lut_id=lut_id, digest=PLATFORM.digest)
            for _ in range(RUNS):
                campaign.run(batch)
        (ok,) = [each.visit for each in store.visits(lut_id) if each.visit.status == "ok"]
    assert ok.spans is None
    assert ok.energy is not None
    assert (ok.energy.meter, ok.energy.rails) == ("recording", ("power",))
    assert ok.energy.net_mj == pytest.approx(SPENDS_UJ[CONV] / 1e3, rel=max(0.03, RUNS_OFF / ok.energy.calls))
    assert "energy by recording, read by this machine" in announcement(plan)


def test_networks_are_verified_by_a_recording_and_stored_as_no_latency(
    start_agent: Callable[..., RunningAgent], spent: Path, tmp_path: Path
) -> None:
    network, strange = find("chamnet-f").build(), find("mobilenet-v2-0.35-96").build()
    first, refused = network.blocks[0].key, frozenset({strange.blocks[0].key})
    script = Script(
        run_ns={first: (2_000_000,)}, spends_uj={first: 6_000.0}, spent=str(spent), unsupported=refused
    )
    endpoint = start_agent(script).endpoint
    (tmp_path / "board.toml").write_text(
        f"transport = 'direct'\naddress = '{endpoint.address}'\ntoken_file = '{endpoint.token_file}'\n"
    )
    file = tmp_path / "power.csv"
    policy = EnergyPolicy(meter=f"recording:{file}", window_s=0.6, idle_s=0.6, guard_s=0.12)
    with (
        recorder(file, spent),
        Session.open(tmp_path / "s.db", target="board", profiles=tmp_path) as session,
    ):
        found, none = session.verify_energy([network, strange], policy, rounds=1)
        ((lut_id, platform),) = session.store.platforms().items()
        stored = list(session.store.visits(lut_id))
        assert LatencyTable.load(session.store, lut_id).networks == {}
        assert EnergyTable.load(session.store, lut_id).networks.keys() == {network.digest}
    assert all(each.visit.visit_id.startswith(f"{platform.digest}/verify/") for each in stored)
    assert found.row is not None
    # On a busy machine the simulated power is read late; how exact energies are, the test above tells.
    assert found.row.net_mj == pytest.approx(6.0, rel=0.3)
    assert found.measured_mj == pytest.approx(found.row.net_mj + found.row.idle_w * found.row.latency_ms)
    assert str(found.metered_by) == f"recording:power@{endpoint.address}"
    assert (found.prediction.energy, found.error, found.has_learned) == (None, None, False)
    assert (none.row, none.measured_mj, none.failed[:12]) == (None, None, "unsupported:")


def test_windows_are_long_enough_for_a_marker(tmp_path: Path) -> None:
    file = tmp_path / "power.csv"
    now_s = int(time.monotonic())
    file.write_text(f"time_s,power_w\n{now_s}.0,1\n{now_s}.2,1\n{now_s}.4,1\n")
    slow = times_of(EnergyPolicy(), find_host_meter(f"recording:{file}"))
    assert slow is not None
    assert (slow.window_s, slow.idle_s, slow.guard_s) == pytest.approx((10.0, 8.0, 0.4))
    file.write_text(f"time_s,power_w\n{now_s}.0,1\n{now_s}.001,1\n{now_s}.002,1\n")
    fast = times_of(EnergyPolicy(), find_host_meter(f"recording:{file}"))
    assert fast is not None
    assert (fast.window_s, fast.idle_s, fast.guard_s) == (2.0, 2.0, 0.2)
