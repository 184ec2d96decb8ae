"""Two agents on this machine share a campaign."""

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from chamnet.errors import ConfigError, DeviceError, DeviceUnreachableError
from chamnet.lut import Platform, Request
from chamnet.records import Visit
from chamnet_agent.testing import Script, install_fake_backend
from chamnet_host import session as session_module
from chamnet_host.app import run
from chamnet_host.client import DeviceClient
from chamnet_host.measuring.campaign import Tally
from chamnet_host.measuring.fleet import Member
from chamnet_host.measuring.lanes import Lane, measure
from chamnet_host.session import Session
from chamnet_host.transport.local import LocalTransport

SMALL = str(Path(__file__).parents[2] / "data" / "small-mobile.toml")
needs_two_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="an agent with two threads needs two cores"
)
# What a device says its runs took is the same however busy this machine is. Each network has one linear unit.
OWN_TIME = """
from chamnet_agent.testing import FakeBackend

class Model:
    runs_apart = True

    def __init__(self, takes_ns):
        self.device_ns = lambda: takes_ns

    def run(self):
        pass

class Backend(FakeBackend):
    def prepare(self, workload, *, seed, slot):
        names = [unit.signature for unit in workload.blocks]
        return Model({linear_ns} * names.count("linear") + 10_000 * len(names) + 1_000)
"""


@dataclass
class Bench:
    """Where agents are started; its folder holds the device profile `board`."""

    folder: Path
    running: dict[str, LocalTransport] = field(default_factory=dict)

    def start(self, threads: int = 1, linear_ns: int = 0) -> str:
        """Start an agent, whose device keeps its own time where it is given; return its address."""
        plugin = self.folder / f"plugin {len(self.running)}"
        plugin.mkdir()
        install_fake_backend(plugin, Script())
        if linear_ns:
            (plugin / "chamnet_fake_backend.py").write_text(OWN_TIME.format(linear_ns=linear_ns))
        path = os.pathsep.join([str(plugin), *filter(None, sys.path)])
        transport = LocalTransport(
            own=True, backend="fake", threads=threads, start_s=120, environ={**os.environ, "PYTHONPATH": path}
        )
        try:
            connection = transport.open()
        except BaseException:
            transport.close()
            raise
        self.running[connection.address] = transport
        token = self.folder / "tokens" / connection.address
        token.parent.mkdir(exist_ok=True)
        token.touch(mode=0o600)
        token.write_text(connection.token)
        return connection.address

    def close(self) -> None:
        for transport in self.running.values():
            transport.close()

    def session(self) -> Session:
        return Session.open(self.folder / "s.db", target="board", space=SMALL, profiles=self.folder)

    def cli(self, *words: str) -> int:
        common = ["--target", "board", "--profiles", str(self.folder), "--db", str(self.folder / "s.db")]
        return run([*words, *common])


def made_bench(folder: Path) -> Bench:
    (folder / "board.toml").write_text(
        f"transport = 'direct'\naddress = '127.0.0.1:9'\ntoken_file = '{folder}/tokens/{{serial}}'\npatience_s = 1\n"
    )
    return Bench(folder)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = made_bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Tally, str, str]]:
    """Profile on two agents, of which the second is killed in the middle; return them with what was done."""
    bench = made_bench(tmp_path_factory.mktemp("shared"))
    try:
        first, second = bench.start(), bench.start()
        with pytest.MonkeyPatch.context() as patch, bench.session() as session:
            kill_in_the_middle(patch, bench, second)
            tally = session.profile(serials=[first, second])
        with bench.session() as session:
            yield bench, tally, first, second
    finally:
        bench.close()


def kill_in_the_middle(patch: pytest.MonkeyPatch, bench: Bench, victim: str) -> None:
    """Have an agent killed after 40 visits; the other one leaves it work until then, whichever is faster."""
    killed = threading.Event()
    made_by = Counter[str]()
    make_lane = session_module._lane

    def lane_of(member: Member, platform: Platform, strict: bool) -> Lane:
        lane = make_lane(member, platform, strict)

        def measured(client: DeviceClient, request: Request, backend: str) -> Iterator[Visit]:
            for visit in measure(client, request, backend):
                yield visit
                made_by[lane.serial] += 1
                if lane.serial == victim and made_by[victim] == 40:
                    bench.running[victim].close()
                    killed.set()
                elif lane.serial != victim and made_by[lane.serial] >= 100:
                    assert killed.wait(120)

        return replace(lane, measure=measured)

    patch.setattr(session_module, "_lane", lane_of)


def stored(session: Session) -> list[tuple[str, str]]:
    """Return the id and serial of each visit."""
    lut_id = session.measured[0]
    return [(each.visit.visit_id, each.serial) for each in session.store.visits(lut_id)]


def test_one_of_two_agents_is_killed_in_the_middle_and_the_other_finishes(
    shared: tuple[Bench, Tally, str, str],
) -> None:
    bench, tally, first, second = shared
    with bench.session() as session:
        visits = stored(session)
        ids = [
            visit_id for visit_id, _ in visits if "!" not in visit_id
        ]  # made once more on a loaded machine
        assert len(set(ids)) == len(ids) == tally.total == tally.stored
        made = {serial: [s for _, s in visits].count(serial) for serial in (first, second)}
        assert made == {serial: share.stored for serial, share in tally.shares.items()}
        assert 40 <= made[second] < made[first]
        assert second in tally.shares[second].lost
        assert session.latency.calibration.residuals
        assert session.profile(serials=[first]).stored == 0
        with pytest.raises(DeviceUnreachableError, match=second):
            session.profile(serials=[first, second])


@needs_two_cores
def test_devices_of_another_kind_are_refused_before_anything_is_measured(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = bench.start(), bench.start(threads=2)
    arguments = ["--space", SMALL, "--serial", first, "--serial", second]
    assert bench.cli("profile", *arguments) == 2
    told = capsys.readouterr().err
    assert f"threads is 2 on {second} and 1 on {first}" in told
    assert "backend is" not in told
    with bench.session() as session:
        assert not session.store.platforms()


def test_one_device_by_two_names_is_refused(bench: Bench) -> None:
    address = bench.start()
    other_name = address.replace("127.0.0.1", "localhost")
    (bench.folder / "tokens" / other_name).symlink_to(bench.folder / "tokens" / address)
    with bench.session() as session:
        with pytest.raises(ConfigError, match=f"{address} and --serial {other_name} are one device"):
            session.profile(serials=[address, other_name])
        with pytest.raises(ConfigError, match=f"{address} is given twice"):
            session.profile(serials=[address, address])


def test_devices_that_differ_are_told_by_how_much(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = bench.start(linear_ns=1_000_000), bench.start(linear_ns=3_000_000)
    arguments = ["--space", SMALL, "--serial", first, "--serial", second]
    assert bench.cli("profile", *arguments, "--json") == 0
    out = capsys.readouterr().out
    devices: list[dict[str, Any]] = json.loads(out)["devices"]
    assert [(each["serial"], each["verdict"]) for each in devices] == [
        (first, "differs"),
        (second, "differs"),
    ]
    assert devices[1]["ratio"] / devices[0]["ratio"] > 1.5
    with bench.session() as session:
        visits = stored(session)
    assert {each["serial"]: each["stored"] for each in devices} == Counter(serial for _, serial in visits)
    asked = [visit_id for visit_id, _ in visits if "!" not in visit_id]  # not made once more, if slow
    assert json.loads(out)["visits"]["stored"] == len(asked)

    assert bench.cli("profile", *arguments) == 0
    assert f"the devices differ: {second} takes " in capsys.readouterr().err
    # nothing is left to measure, and so no load of this machine to be refused; its governor may be
    with bench.session() as session, pytest.raises(DeviceError, match="Leave --strict out"):
        session.profile(serials=[first, second], strict=True)


def test_what_one_device_measured_can_be_had_alone(
    shared: tuple[Bench, Tally, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, tally, first, second = shared
    file, alone = tmp_path / "second.parquet", tmp_path / "alone.db"
    assert bench.cli("lut", "export", str(file), "--serial", second) == 0
    assert run(["lut", "import", str(file), "--as", "second", "--db", str(alone)]) == 0
    with Session.open(alone, target="second", space=SMALL) as session:
        assert [serial for _, serial in stored(session)] == [second] * tally.shares[second].stored
    capsys.readouterr()
    assert bench.cli("lut", "show", "--serial", second, "--json", "--limit", "0") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    with bench.session() as session:
        assert 0 < sum(row["samples"] for row in rows) < sum(r.samples for r in session.table.units.values())
    assert bench.cli("lut", "show", "--serial", "nobody") == 2
    assert f"these did: {', '.join(sorted((first, second)))}" in capsys.readouterr().err
