"""Kill anything in the middle of a profile; the same command ends in a complete table."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
SMALL = Path(__file__).parents[1] / "data" / "small-mobile.toml"
COMMAND = [sys.executable, "-m", "chamnet_host", "profile", "--space", str(SMALL)]


def children(pid: int) -> dict[int, str]:
    """Return all descendants of a process with their command lines."""
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            found[int(entry.name)] = f"{parent} " + (entry / "cmdline").read_bytes().replace(
                b"\0", b" "
            ).decode(errors="replace")
        except (OSError, IndexError):
            continue
    family, grown = {pid}, True
    while grown:
        more = {child for child, text in found.items() if int(text.split()[0]) in family} - family
        family, grown = family | more, bool(more)
    return {child: found[child] for child in family - {pid} if child in found}


def stored(folder: Path) -> list[str]:
    try:
        db = sqlite3.connect(f"file:{folder / 'chamnet.db'}?mode=ro", uri=True, timeout=10)
        ids = [row[0] for row in db.execute("SELECT visit_id FROM visit ORDER BY id")]
        db.close()
    except sqlite3.OperationalError:  # not made yet
        return []
    return ids


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError("waited in vain")


@pytest.fixture
def run(tmp_path: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        COMMAND,
        cwd=tmp_path,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # background jobs of a shell ignore it
    )
    yield process
    process.kill()
    process.wait()


def find(run: subprocess.Popen[bytes], word: str) -> int:
    return wait_for(lambda: next((p for p, text in children(run.pid).items() if word in text), 0))


def complete(folder: Path, ask: Callable[..., Any], before: list[str]) -> None:
    """Run the same command again, and see a complete table: nothing repeated, nothing lost."""
    body = ask("profile", "--space", SMALL, cwd=folder)
    after = stored(folder)
    assert after[: len(before)] == before
    assert len(set(after)) == len(after)
    assert body["visits"]["planned"] == len([visit for visit in after if "!" not in visit])
    visits, complete_before = body["visits"], len([visit for visit in before if "!" not in visit])
    # The last commit of a killed host may show only when the next one opens the file, so it says what it found.
    assert complete_before <= visits["stored_before"] <= complete_before + 1
    assert visits["stored"] == visits["planned"] - visits["stored_before"]
    (table,) = ask("status", cwd=folder)["tables"]
    assert table["failures"] == {}


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if state(pid) not in ("", "Z")]


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):  # it has gone, perhaps just now
        return ""


def test_killing_the_host(run: subprocess.Popen[bytes], tmp_path: Path, ask: Callable[..., Any]) -> None:
    wait_for(lambda: len(stored(tmp_path)) > 40, 300)  # a loaded machine takes its time to start
    family = list(children(run.pid))
    run.kill()
    run.wait()
    wait_for(lambda: not alive(family), 60)  # the agent and its worker have gone too
    complete(tmp_path, ask, stored(tmp_path))


def test_killing_the_worker(run: subprocess.Popen[bytes], tmp_path: Path, ask: Callable[..., Any]) -> None:
    wait_for(lambda: len(stored(tmp_path)) > 40, 300)  # a loaded machine takes its time to start
    os.kill(find(run, "chamnet_agent.worker"), signal.SIGKILL)
    assert run.wait(600) == 0  # the run goes on by itself
    complete(tmp_path, ask, stored(tmp_path))


def test_killing_the_agent(run: subprocess.Popen[bytes], tmp_path: Path, ask: Callable[..., Any]) -> None:
    wait_for(lambda: len(stored(tmp_path)) > 40, 300)  # a loaded machine takes its time to start
    server, worker = find(run, "chamnet_agent serve"), find(run, "chamnet_agent.worker")
    os.kill(server, signal.SIGKILL)
    wait_for(lambda: not alive([worker]), 60)  # dies with its parent
    assert run.wait(600) == 0  # a new agent is started
    complete(tmp_path, ask, stored(tmp_path))


def test_ctrl_c(run: subprocess.Popen[bytes], tmp_path: Path, ask: Callable[..., Any]) -> None:
    wait_for(lambda: len(stored(tmp_path)) > 40, 300)  # a loaded machine takes its time to start
    family = list(children(run.pid))
    run.send_signal(signal.SIGINT)
    assert run.wait(120) == 1
    wait_for(lambda: not alive(family), 60)
    complete(tmp_path, ask, stored(tmp_path))
