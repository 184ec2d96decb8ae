"""Eight agents stream ten thousand results to one host: nothing is lost, and nobody's memory grows."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from chamnet.lut import Platform, Store
from chamnet.records import Item, Policy, Visit
from chamnet.wire.endpoint import read_token
from chamnet_agent.sysinfo import usable_cores
from chamnet_agent.testing import Script, install_fake_backend
from chamnet_host.client import DeviceClient

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

AGENTS = 8
RESULTS = 10_000
AT_ONCE = 125
MEMORY = Path("/dev/shm")  # where there is one: ten thousand commits wait for a disk, and prove no more there
UNIT = "conv:f32:1x8x16x16:o16:k3:relu"
POLICY = Policy(mode="loop", laps=1, warmup_laps=0, noops=0)
PLATFORM = Platform(
    device="load", device_name="", cluster=0, threads=1, backend="fake", version="1", provider="", protocol=1
)


@contextmanager
def agent(folder: Path, plugin: Path, *, core: int) -> Iterator[tuple[int, DeviceClient]]:
    """Run an agent; give its process and a client."""
    command = [
        sys.executable,
        "-m",
        "chamnet_agent",
        "serve",
        "--backend",
        "fake",
        "--cores",
        str(core),
        "--json",
    ]
    path = os.pathsep.join(filter(None, (str(plugin), os.environ.get("PYTHONPATH"))))
    with (
        subprocess.Popen(
            [*command, "--until-stdin-closes", "--state-dir", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
        ) as process,
        ExitStack() as stack,
    ):  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        stack.callback(process.stdin.close)
        said = json.loads(process.stdout.readline())
        address = f"{said['host']}:{said['port']}"
        yield (
            process.pid,
            stack.enter_context(DeviceClient(address, read_token(Path(said["token_file"])), tls=None)),
        )


def resident_kib(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])


def test_eight_agents_lose_nothing_and_take_no_more_memory(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    plugin = tmp_path / "plugin"
    plugin.mkdir()
    install_fake_backend(plugin, Script())
    # Bounded, so that what piles up here, where the disk is slow, is not taken for what the host keeps.
    arriving: queue.Queue[tuple[int, Visit] | None] = queue.Queue(maxsize=AT_ONCE)

    def stream(number: int, client: DeviceClient) -> None:
        try:
            for start in range(0, RESULTS // AGENTS, AT_ONCE):
                items = [Item(visit_id=f"{number}-{start + each}", blocks=(UNIT,)) for each in range(AT_ONCE)]
                for visit in client.measure(items, POLICY, request_id=f"{number}-{start}"):
                    arriving.put((number, visit))
        finally:
            arriving.put(None)

    with ExitStack() as stack:
        cores = usable_cores()
        running = [
            stack.enter_context(agent(tmp_path / f"agent{n}", plugin, core=cores[n % len(cores)]))
            for n in range(AGENTS)
        ]
        folder = stack.enter_context(TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path))
        store = stack.enter_context(Store.open(Path(folder) / "chamnet.db"))
        lut_id = store.add_platform(PLATFORM)
        threads = [
            threading.Thread(target=stream, args=(n, client), daemon=True)
            for n, (_, client) in enumerate(running)
        ]
        for thread in threads:
            thread.start()
        # Memory of each process once it has done a fifth of its own share: agents do not keep step.
        early: dict[int | str, int] = {}
        left, stored, of_agent = AGENTS, 0, [0] * AGENTS
        while left:
            arrived = arriving.get()
            if arrived is None:
                left -= 1
                continue
            number, visit = arrived
            stored += store.append(lut_id, "unit", UNIT, "loop", visit)
            of_agent[number] += 1
            if of_agent[number] == RESULTS // AGENTS // 5:
                early[running[number][0]] = resident_kib(running[number][0])
            if stored == RESULTS // 5:
                early["self"] = resident_kib("self")
        late = {who: resident_kib(who) for who in early}
        for thread in threads:
            thread.join()
        assert stored == len(store.visit_ids(lut_id)) == RESULTS
    assert len(early) == 1 + AGENTS
    grown_mib = {who: (late[who] - early[who]) / 1024 for who in early}
    record_property("grown_mib", grown_mib)  # in --junit-xml
    assert max(grown_mib.values()) < 8
