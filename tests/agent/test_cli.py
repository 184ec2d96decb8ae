"""The agent as a program: what it says, how it ends, and that nothing outlives it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from chamnet.errors import DeviceLostError
from chamnet.records import Item, Policy, Visit
from chamnet.wire.endpoint import Endpoint, read_token
from chamnet_agent.registry import METERS
from chamnet_agent.testing import Script
from chamnet_host.client import DeviceClient
from tests.processes import alive, children, eventually

CONV = "conv:f32:1x8x4x4:o8:k3"
ENDLESS = Policy(mode="loop", laps=2, noops=0, timeout_s=3_600)  # of an item that hangs
ENDED_S = 60  # for what ends at once, also where a machine has much else to do; nothing else would end it

Start = Callable[..., "subprocess.Popen[str]"]


def agent(*arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "chamnet_agent", *arguments],
        capture_output=True, text=True, timeout=240, check=False, env={**os.environ, **settings},
    )  # fmt: skip


@pytest.fixture
def start(tmp_path: Path, install_fake: Callable[[Script], None]) -> Iterator[Start]:
    """Return a function that starts `chamnet-agent serve` and waits until it answers."""
    install_fake(Script(hangs=frozenset({CONV}), hanging=str(tmp_path / "hanging")))
    with ExitStack() as stack:

        def begin(*flags: str, backend: str = "fake") -> "subprocess.Popen[str]":
            command = [sys.executable, "-m", "chamnet_agent", "serve", "--state-dir", str(tmp_path / "state")]
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, "--backend", backend, *flags],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                )
            )  # fmt: skip
            stack.callback(process.kill)
            assert process.stdout is not None
            process.first_line = process.stdout.readline()  # type: ignore[attr-defined]
            return process

        yield begin


def busy_worker(folder: Path, process: "subprocess.Popen[str]") -> tuple[int, "Future[list[Visit]]"]:
    """Give an agent endless work, from a thread; return its worker, once at work, and what becomes of the work."""
    endpoint = Endpoint.load(folder / "state")
    assert endpoint is not None
    client = DeviceClient(endpoint.address, read_token(Path(endpoint.token_file)), tls=None)
    stream = client.measure([Item(visit_id="a", blocks=(CONV,))], ENDLESS)
    work = ThreadPoolExecutor(1).submit(list, stream)
    assert eventually((folder / "hanging").exists)
    (worker,) = children(process.pid)
    return worker, work


def test_it_says_where_it_serves(start: Start, tmp_path: Path) -> None:
    process = start()
    endpoint = Endpoint.load(tmp_path / "state")
    assert endpoint is not None
    assert process.first_line == (  # type: ignore[attr-defined]
        f"serving on {endpoint.address}, token in {endpoint.token_file}; Ctrl+C ends it\n"
    )
    assert read_token(Path(endpoint.token_file)) not in process.first_line  # type: ignore[attr-defined]
    assert endpoint.pid == process.pid


def test_it_says_where_it_serves_to_programs(start: Start, tmp_path: Path) -> None:
    said = json.loads(start("--json").first_line)  # type: ignore[attr-defined]
    assert Endpoint(**said) == Endpoint.load(tmp_path / "state")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_soon(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    process = start()
    worker, work = busy_worker(tmp_path, process)
    process.send_signal(number)
    assert process.wait(ENDED_S) == 0
    assert not alive(worker)
    with pytest.raises(DeviceLostError, match=f"the agent is ending: it received {number.name}"):
        work.result(ENDED_S)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["lock"]


def test_the_worker_dies_with_a_server_that_is_shot(start: Start, tmp_path: Path) -> None:
    process = start()
    worker, _ = busy_worker(tmp_path, process)
    process.kill()
    assert eventually(lambda: not alive(worker))


def test_closing_stdin_ends_everything(start: Start, tmp_path: Path) -> None:
    process = start("--until-stdin-closes")
    worker, _ = busy_worker(tmp_path, process)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(ENDED_S) == 0
    assert not alive(worker)


def test_it_ends_by_itself_without_a_host(start: Start, tmp_path: Path) -> None:
    process = start("--lease", "0.5s")
    assert process.wait(ENDED_S) == 0  # the usual lease is ten times as long
    assert Endpoint.load(tmp_path / "state") is None


def test_an_agent_that_was_shot_leaves_no_lock(start: Start, tmp_path: Path) -> None:
    first = start()
    first.kill()
    first.wait()
    assert "serving on" in start().first_line  # type: ignore[attr-defined]


def test_a_second_agent_is_refused_with_exit_code_1(start: Start, tmp_path: Path) -> None:
    process = start()
    second = agent("serve", "--state-dir", str(tmp_path / "state"), "--backend", "fake")
    assert second.returncode == 1
    assert f"process {process.pid}" in second.stderr
    assert second.stderr.startswith("chamnet-agent: ")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--host", "0.0.0.0"], "without --tls the agent listens on loopback only"),
        (
            ["--backend", "cuda"],
            "--backend cuda: unknown; known: litert, native-tool, onnxruntime, onnxruntime-cuda,",
        ),
        (["--cores", "99"], "cores '99': this process may use"),
        (["--threads", "999"], "--threads 999"),
        (["--lease", "soon"], "--lease soon: expected a time such as 90s"),
        (["--port", "65536"], "--port 65536"),
        (["--no-such-flag"], "unrecognized arguments"),
    ],
)
def test_what_cannot_be_done_ends_with_exit_code_2(tmp_path: Path, flags: list[str], says: str) -> None:
    done = agent("serve", "--state-dir", str(tmp_path), *flags)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


RUNTIMES = {
    "onnxruntime": "pip install 'chamnet[onnx]'",
    "ai_edge_litert": "pip install 'chamnet[litert]'",
    "tflite_runtime": "pip install 'chamnet[litert]'",
    "torch": "pip install 'chamnet[torch]'",
}


def test_missing_runtimes_say_what_to_install(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        f"import sys; sys.modules.update(dict.fromkeys({list(RUNTIMES)}))\n"
    )
    for command in (["serve", "--lease", "1s"], ["doctor"]):
        done = agent(*command, "--state-dir", str(tmp_path / "state"), PYTHONPATH=str(hidden))
        assert done.returncode == 2
        for cure in RUNTIMES.values():
            assert cure in done.stdout + done.stderr


def test_one_missing_runtime_leaves_the_others(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys; sys.modules['onnxruntime'] = None\n")
    command = ["serve", "--lease", "0.2s", "--state-dir", str(tmp_path / "state")]
    done = agent(*command, "--backend", "onnxruntime", PYTHONPATH=str(hidden))
    assert (done.returncode, "pip install 'chamnet[onnx]'" in done.stderr) == (2, True)
    assert agent(*command, PYTHONPATH=str(hidden)).returncode == 0


def test_doctor_proves_what_works(tmp_path: Path) -> None:
    done = agent("doctor", "--json", "--state-dir", str(tmp_path))
    assert done.returncode == 0
    found = json.loads(done.stdout)
    (backend,) = (each for each in found["backends"] if each["name"] == "onnxruntime")
    assert backend["why_not"] is None
    assert found["call_ns"]["onnxruntime"] > 0
    assert found["agent"] is None
    assert {meter["name"] for meter in found["meters"]} == set(METERS)


def test_doctor_shows_people_what_does_not_work(
    install_fake: Callable[[Script], None], tmp_path: Path
) -> None:
    install_fake(Script(aborts=frozenset({"noop"}), says="oh no"))
    done = agent("doctor", "--state-dir", str(tmp_path))
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert " ok  1." in lines["onnxruntime"]
    assert " no  " in lines["fake"]
    assert "SIGABRT" in lines["fake"] + done.stdout


def test_the_version_is_the_packages() -> None:
    from chamnet import __version__

    assert agent("--version").stdout == f"chamnet-agent {__version__}\n"


@pytest.mark.parametrize("command", [[], ["serve"], ["doctor"]])
def test_help_helps(command: list[str]) -> None:
    done = agent(*command, "--help")
    assert done.returncode == 0
    assert "usage: chamnet-agent" in done.stdout
