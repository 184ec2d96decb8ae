"""A native tool under a real agent: limits, ends, and what the agent says of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from chamnet.clock import Clock
from chamnet.records import Item, Policy, Visit
from chamnet_agent import sysinfo
from chamnet_agent.config import AgentConfig
from chamnet_agent.server import running
from chamnet_agent.settings import BackendSettings
from chamnet_host.client import DeviceClient
from tests.processes import alive, eventually

CONV = "conv:f32:1x16x14x14:o16:k3:relu"
ADDING = "conv:f32:1x16x8x8:o16:add"
ITEMS = [Item(visit_id="adding", blocks=(ADDING,)), Item(visit_id="conv", blocks=(CONV,))]

Start = Callable[..., DeviceClient]


def gone(pid: int) -> bool:
    """Whether a process has ended, or does so in time."""
    return eventually(lambda: not alive(pid))


def begun(folder: Path) -> tuple[int, int]:
    """Return the numbers of a tool that hangs and of what it has started."""
    assert eventually((folder / "pids").exists)
    tool, child = (folder / "pids").read_text().split()
    return int(tool), int(child)


@pytest.fixture
def start(fake_tool: Path, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts an agent with arguments for the tool, and a client of it."""
    with ExitStack() as stack:

        def started(*args: str, clock: Clock | None = None) -> DeviceClient:
            config = AgentConfig(
                state_dir=tmp_path / "state",
                backend="native-tool",
                cores=sysinfo.usable_cores()[-1:],
                settings=BackendSettings(native_tool=fake_tool, native_tool_args=("--use_fake=true", *args)),
            )
            agent = stack.enter_context(running(config, clock=clock))
            return stack.enter_context(DeviceClient(agent.endpoint.address, agent.token, tls=None))

        yield started


@pytest.mark.parametrize("mode", ["loop", "ring"])
def test_visits_have_a_sample_a_run(start: Start, mode: str) -> None:
    client = start("--fake_mean_us=1,20,30,40")
    policy = Policy(mode=mode, laps=3, warmup_laps=5, noops=1)  # type: ignore[arg-type]
    visits = {visit.visit_id: visit for visit in client.measure(ITEMS, policy)}
    for visit in visits.values():
        assert (visit.status, visit.samples_ns, visit.preempted) == ("ok", (20_000, 30_000, 40_000), 0)
        assert visit.cpu_samples_ns == ()
        assert visit.noop_ns == 30_000


def test_a_fallback_is_a_status_without_a_number(start: Start) -> None:
    client = start("--fake_refuses=ADD")
    adding, conv = client.measure(ITEMS, Policy(mode="loop", laps=1, noops=0))
    assert (adding.status, adding.samples_ns) == ("fallback", ())
    assert "ADD of this is left to the CPU" in adding.message
    assert conv.status == "ok"
    assert [resolved.status for resolved in client.resolve(ITEMS)] == ["fallback", "ok"]


def test_a_crash_costs_one_item(start: Start) -> None:
    client = start("--fake_only=ADD", "--fake_signal=11")
    adding, conv = client.measure(ITEMS, Policy(mode="loop", laps=1, noops=0))
    assert adding.status == "crashed"
    assert "was ended by SIGSEGV" in adding.message
    assert conv.status == "ok"


def test_a_hang_ends_as_a_timeout_with_all_that_the_tool_started(
    start: Start, tmp_path: Path, hang_clock: Callable[[Path], Clock]
) -> None:
    client = start("--fake_only=ADD", f"--fake_hangs={tmp_path}", clock=hang_clock(tmp_path / "pids"))
    adding, conv = client.measure(ITEMS, Policy(mode="loop", laps=1, noops=0, timeout_s=0.3))
    assert (adding.status, conv.status) == ("timeout", "ok")
    assert all(gone(pid) for pid in begun(tmp_path))


def test_a_tool_ends_with_its_worker(start: Start, tmp_path: Path) -> None:
    client = start("--fake_only=ADD", f"--fake_hangs={tmp_path}")

    def measured() -> list[Visit]:
        return list(client.measure(ITEMS, Policy(mode="loop", laps=1, noops=0)))

    with ThreadPoolExecutor(1) as pool:
        visits = pool.submit(measured)
        tool, child = begun(tmp_path)
        worker = int(Path(f"/proc/{tool}/stat").read_text().rpartition(")")[2].split()[1])
        assert worker != os.getpid()
        os.kill(worker, signal.SIGKILL)
        assert [visit.status for visit in visits.result(60)] == ["crashed", "ok"]
    assert gone(tool)
    assert gone(child)


def test_a_host_is_told_which_tool_runs_what(start: Start, fake_tool: Path) -> None:
    found = start().describe().backend("native-tool")
    assert found is not None
    assert found.why_not is None
    assert found.version.startswith("benchmark_model ")
    assert found.provider == "--use_fake=true"


def doctor(*flags: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "chamnet_agent", "doctor", *flags],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--native-tool-args=--use_gpu=true"], "--native-tool-args: give the tool, too, with --native-tool PATH"),
        (["--native-tool=tool"], "--native-tool tool: give its whole path on the device"),
        (["--native-tool=/tool", "--native-tool-args='"], "No closing quotation; quote it as for a shell"),
        (["--delegate-options=a=b"], "--delegate-options: give the delegate, too"),
        (["--delegate=/x.so", "--delegate-options=a"], "'a' is not of the form name=value"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_said(flags: list[str], says: str) -> None:
    done = doctor(*flags)
    assert done.returncode == 2
    assert says in done.stderr


def test_doctor_tries_it(fake_tool: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "sitecustomize.py"  # the other backends cost a second each
    hidden.write_text(
        "import sys; sys.modules.update(dict.fromkeys(['onnxruntime', 'ai_edge_litert', 'tflite_runtime', 'torch']))\n"
    )
    command = [sys.executable, "-m", "chamnet_agent", "doctor", f"--native-tool={fake_tool}"]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    good, bad = (
        subprocess.run(
            [*command, f"--native-tool-args={args}"],
            capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": path},
        )
        for args in ("--use_fake=true", "--use_fake=true --fake_refuses=CONV_2D")
    )  # fmt: skip
    assert "native-tool   ok  benchmark_model" in good.stdout
    assert "(--use_fake=true), an empty call takes 100.0 us" in good.stdout
    assert (
        "native-tool   no  a trial run ended fallback: backend native-tool: with --use_fake=true"
        in bad.stdout
    )
