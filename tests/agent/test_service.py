"""What a host meets on the wire: a real server and worker, a fake backend."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chamnet.clock import Clock
from chamnet.errors import ConfigError, DeviceBusyError, DeviceLostError, WorkerError
from chamnet.records import Item, Policy, Visit
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.server import RunningAgent
from chamnet_agent.testing import Script
from chamnet_host.client import DeviceClient
from tests.processes import eventually

CONV = "conv:f32:1x8x4x4:o8:k3"
POINT = "conv:f32:1x8x4x4:o8"
POOL = "gap:f32:1x8x4x4:o8"

Starter = Callable[..., RunningAgent]
Connect = Callable[[RunningAgent], DeviceClient]

LAPS = Policy(mode="ring", laps=2, warmup_laps=0, noops=1)
ENDLESS = Policy(mode="loop", laps=2, noops=0, timeout_s=3_600)  # for items that hang


def items(*keys: str) -> list[Item]:
    return [Item(visit_id=key, blocks=(key,)) for key in keys]


def statuses(visits: Iterator[Visit]) -> dict[str, str]:
    return {visit.visit_id: visit.status for visit in visits}


def workers_of(pid: int) -> list[int]:
    """Return the workers of a process that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            ours = b"chamnet_agent" in stat.with_name("cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == pid and state != "Z" and ours:
            found.append(int(stat.parent.name))
    return found


def hanging(script: Script) -> bool:
    """Whether what hangs by a script has been begun, sooner or later."""
    return eventually(Path(script.hanging).exists)


def begin(client: DeviceClient, script: Script, request_id: str) -> tuple[threading.Thread, list[object]]:
    """Start a request that never ends in a thread; return it and what comes of it."""
    seen: list[object] = []

    def measure() -> None:
        try:
            seen.extend(client.measure(items(CONV), ENDLESS, request_id=request_id))
        except DeviceLostError as error:
            seen.append(error)

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    assert hanging(script)
    return thread, seen


@pytest.fixture
def conv_hangs(tmp_path: Path) -> Script:
    return Script(hangs=frozenset({CONV}), hanging=str(tmp_path / "hanging"))


@pytest.fixture
def pool_hangs(tmp_path: Path) -> Script:
    return Script(hangs=frozenset({POOL}), hanging=str(tmp_path / "hanging"))


def test_what_becomes_of_a_meter_is_described(start_agent: Starter, connect: Connect, tmp_path: Path) -> None:
    folder = tmp_path / "sys/class/power_supply/battery"
    folder.mkdir(parents=True)
    for name, said in (("type", "Battery"), ("status", "Charging"), ("power_now", "3000000")):
        (folder / name).write_text(f"{said}\n")
    client = connect(start_agent(Script(), meters=MeterSettings(root=tmp_path)))

    def why_not() -> str | None:
        return next(meter.why_not for meter in client.describe().meters if meter.name == "battery")

    assert "unplug it" in (why_not() or "")
    (folder / "status").write_text("Discharging\n")  # it is unplugged, while the agent runs on
    assert eventually(lambda: why_not() is None)


def test_a_device_describes_itself(live_agent: DeviceClient) -> None:
    info = live_agent.describe()
    assert info.default_backend == "fake"
    assert info.backend() is not None
    assert len(info.cores) == 1


def test_every_item_has_its_visit(live_agent: DeviceClient) -> None:
    for mode in ("ring", "loop"):
        policy = Policy(mode=mode, laps=4)
        visits = {visit.visit_id: visit for visit in live_agent.measure(items(CONV, POINT), policy)}
        assert visits.keys() == {CONV, POINT}
        for visit in visits.values():
            assert visit.status == "ok"
            assert len(visit.samples_ns) + visit.preempted >= 4
            assert visit.noop_ns is not None
            assert visit.conditions.probe_ns


def test_networks_and_model_files_are_items_like_any_other(live_agent: DeviceClient) -> None:
    network = Item(visit_id="net", name="two", blocks=(CONV, POOL))
    model = Item(visit_id="file", name="mine", model=b"whatever the backend takes")
    assert statuses(live_agent.measure([network, model], LAPS)) == {"net": "ok", "file": "ok"}
    (resolved,) = live_agent.resolve([network])
    assert resolved.executed == (f"fake:{CONV}", f"fake:{POOL}")


def test_a_crash_costs_one_item(start_agent: Starter, connect: Connect) -> None:
    client = connect(start_agent(Script(aborts=frozenset({POOL}))))
    for mode in ("ring", "loop"):
        policy = Policy(mode=mode, laps=1)
        visits = {visit.visit_id: visit for visit in client.measure(items(CONV, POOL, POINT), policy)}
        assert {key: visit.status for key, visit in visits.items()} == {
            CONV: "ok",
            POOL: "crashed",
            POINT: "ok",
        }
        assert "SIGABRT" in visits[POOL].message
        assert "Fatal Python error" in visits[POOL].message  # the last lines of its stderr
    (resolved,) = client.resolve(items(POOL))
    assert resolved.status == "crashed"


def test_a_worker_that_is_shot_costs_the_item_it_was_at(
    start_agent: Starter, connect: Connect, pool_hangs: Script
) -> None:
    client = connect(start_agent(pool_hangs))
    stream = client.measure(items(CONV, POOL, POINT), ENDLESS)
    first = next(stream)
    assert first.status == "ok"
    assert hanging(pool_hangs)
    (worker,) = workers_of(os.getpid())
    os.kill(worker, signal.SIGKILL)
    rest = {visit.visit_id: visit for visit in stream}
    assert {key: visit.status for key, visit in rest.items()} == {POOL: "crashed", POINT: "ok"}
    assert "SIGKILL" in rest[POOL].message
    assert workers_of(os.getpid()) != [worker]


def test_a_worker_that_dies_outside_any_item_fails_the_request(
    start_agent: Starter, connect: Connect
) -> None:
    client = connect(start_agent(Script(aborts=frozenset({"noop"}))))
    with pytest.raises(WorkerError, match=r"outside any item; 1 items left\. worker ended by SIGABRT\n"):
        list(client.measure(items(CONV), Policy(mode="loop", laps=1)))
    assert statuses(client.measure(items(CONV), Policy(mode="loop", laps=1, noops=0))) == {CONV: "ok"}


def test_a_hang_costs_one_item_and_its_time(
    start_agent: Starter, connect: Connect, pool_hangs: Script, hang_clock: Callable[[Path], Clock]
) -> None:
    client = connect(start_agent(pool_hangs, clock=hang_clock(Path(pool_hangs.hanging))))
    policy = Policy(mode="ring", laps=2, timeout_s=0.3)
    visits = {visit.visit_id: visit for visit in client.measure(items(CONV, POOL, POINT), policy)}
    assert {key: visit.status for key, visit in visits.items()} == {CONV: "ok", POOL: "timeout", POINT: "ok"}
    assert "no end after 0.4 s" in visits[POOL].message


def test_a_lack_of_memory_costs_one_item(start_agent: Starter, connect: Connect) -> None:
    script = Script(takes_bytes={POOL: 8 * 2**30})
    client = connect(start_agent(script, memory_limit_bytes=2**30))
    visits = {visit.visit_id: visit for visit in client.measure(items(CONV, POOL, POINT), LAPS)}
    assert {key: visit.status for key, visit in visits.items()} == {CONV: "ok", POOL: "crashed", POINT: "ok"}
    assert "MemoryError" in visits[POOL].message


def test_what_a_runtime_prints_does_not_reach_the_frames(start_agent: Starter, connect: Connect) -> None:
    client = connect(start_agent(Script(says="loading kernels...\n" * 100)))
    assert statuses(client.measure(items(CONV), LAPS)) == {CONV: "ok"}


def test_one_request_at_a_time(start_agent: Starter, connect: Connect, conv_hangs: Script) -> None:
    agent = start_agent(conv_hangs)
    client, other = connect(agent), connect(agent)
    thread, _ = begin(client, conv_hangs, "mine")
    (worker,) = workers_of(os.getpid())
    with pytest.raises(
        DeviceBusyError, match=r"measuring 1 items for .*@.*process \d+.* request 'mine', since \d+ s"
    ):
        list(other.measure(items(POINT), LAPS))
    assert other.health()
    client.close()
    thread.join()
    assert eventually(lambda: worker not in workers_of(os.getpid()))  # the agent has heard of it, too
    assert statuses(other.measure(items(POINT), LAPS)) == {POINT: "ok"}


def test_the_same_request_again_replaces_the_first(
    start_agent: Starter, connect: Connect, conv_hangs: Script
) -> None:
    agent = start_agent(conv_hangs)
    thread, seen = begin(connect(agent), conv_hangs, "mine")  # it would never end by itself
    assert statuses(connect(agent).measure(items(POINT), LAPS, request_id="mine")) == {POINT: "ok"}
    thread.join()
    assert isinstance(seen[0], DeviceLostError)
    assert "replaced by the same request" in str(seen[0])


def test_a_host_that_goes_away_frees_the_device(
    start_agent: Starter, connect: Connect, conv_hangs: Script
) -> None:
    client = connect(start_agent(conv_hangs))
    stream = client.measure(items(POINT, CONV), ENDLESS)
    next(stream)
    assert hanging(conv_hangs)
    (worker,) = workers_of(os.getpid())
    stream.close()  # type: ignore[attr-defined]
    assert eventually(lambda: worker not in workers_of(os.getpid()))
    assert statuses(client.measure(items(POINT), LAPS)) == {POINT: "ok"}


def test_a_worker_serves_request_after_request(live_agent: DeviceClient) -> None:
    list(live_agent.measure(items(CONV), LAPS))
    first = workers_of(os.getpid())
    list(live_agent.measure(items(CONV), LAPS))
    assert workers_of(os.getpid()) == first
    assert len(first) == 1


@pytest.mark.parametrize(
    ("wanted", "policy", "says"),
    [
        ([Item(visit_id="x", blocks=("conv:f32:1x8",))], LAPS, r"item 'x': unknown unit 'conv:f32:1x8'"),
        ([Item(visit_id="x")], LAPS, r"item 'x': needs either blocks"),
        ([Item(visit_id="x", blocks=(CONV,), model=b"y")], LAPS, r"item 'x': needs either blocks"),
        ([], LAPS, "0 items"),
        (items(CONV, CONV), LAPS, "visit_ids are empty or repeated"),
        (items(CONV), Policy(laps=0), "0 laps"),
        (items(CONV), Policy(timeout_s=0), "timeout_s 0"),
        (items(CONV), Policy(timeout_s=float("nan")), "timeout_s nan"),
        (items(CONV), Policy(noops=10**6), "1000000 no-ops"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    live_agent: DeviceClient, wanted: list[Item], policy: Policy, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        list(live_agent.measure(wanted, policy, deadline_s=60))
    assert not workers_of(os.getpid())  # refused by the server


def test_an_unknown_backend_lists_the_known_ones(live_agent: DeviceClient) -> None:
    with pytest.raises(ConfigError, match=r"'cuda' is unknown to this device; known: .*fake"):
        list(live_agent.measure(items(CONV), LAPS, backend="cuda"))


def test_another_backend_than_the_default_can_be_asked_for(live_agent: DeviceClient) -> None:
    (resolved,) = live_agent.resolve(items(CONV), backend="onnxruntime")
    assert resolved.status == "ok"
    assert any("Conv" in key for key in resolved.executed)
