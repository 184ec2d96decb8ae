"""From trainings to a search, on real data: build a predictor, stop it half-way, go on, judge it, search with it."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
pytest.importorskip("botorch")
pytest.importorskip("sklearn")

SPACE = Path(__file__).parents[1] / "data" / "tiny-28.toml"
RECIPE = """
epochs = 3
batch = 64
held_out = 300
ema = 0.8

[optimiser]
name = "adamw"
rate = 0.01
"""
BUILD = (
    "accuracy",
    "build",
    "--space",
    SPACE,
    "--dataset",
    "digits",
    "--recipe",
    "quick.toml",
    "--as",
    "mine",
)
HOW = ("--initial", "8", "--batch", "4", "--pool", "64", "--workers", "2", "--device", "cpu")


def stored(folder: Path) -> list[tuple[str, int, float]]:
    try:
        db = sqlite3.connect(f"file:{folder / 'chamnet.db'}?mode=ro", uri=True, timeout=10)
        rows = db.execute("SELECT network, seed, top1 FROM training ORDER BY id").fetchall()
        db.close()
    except sqlite3.OperationalError:  # not made yet
        return []
    return rows


def trainers(folder: Path) -> list[int]:
    """Return the processes that train for a store in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if b"chamnet.train" in (entry / "cmdline").read_bytes() and (entry / "cwd").readlink() == folder:
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, env: dict[str, str], ask: Callable[..., Any]
) -> tuple[Path, list[tuple[str, int, float]], Any]:
    """A folder with a predictor that was killed while it was built, what was stored then, and what the next run said."""
    folder = tmp_path_factory.mktemp("built")
    (folder / "quick.toml").write_text(RECIPE)
    command = [sys.executable, "-m", "chamnet_host", *map(str, (*BUILD, *HOW)), "--until-trainings", "12"]
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 400
        while len(stored(folder)) < 4 and time.monotonic() < end and process.poll() is None:
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = stored(folder)
    end = time.monotonic() + 60
    while trainers(folder) and time.monotonic() < end:
        time.sleep(0.05)
    assert not trainers(folder)  # they end with the one who asked
    body = ask(*BUILD, *HOW, "--until-trainings", "12", cwd=folder)
    return folder, before, body


def test_killed_anywhere_it_goes_on(built: tuple[Path, list[tuple[str, int, float]], Any]) -> None:
    folder, before, body = built
    after = stored(folder)
    assert len(before) >= 4
    assert after[: len(before)] == before
    assert len({row[:2] for row in after}) == len(after) == body["trainings"] == 12
    assert body["diverged"] == 0
    assert not list((folder / "chamnet.db.trainings").glob("*"))  # checkpoints of trainings that ended


def test_it_is_judged(built: tuple[Path, list[tuple[str, int, float]], Any], ask: Callable[..., Any]) -> None:
    folder, *_ = built
    body = ask("accuracy", "report", "--predictor", "mine", "--html", "page.html", cwd=folder)
    (quality,) = body["recipes"].values()
    assert quality["count"] == len({row[0] for row in stored(folder)})
    assert "<svg" in (folder / "page.html").read_text()


def test_a_search_uses_it_by_name(
    built: tuple[Path, list[tuple[str, int, float]], Any], ask: Callable[..., Any], cli: Callable[..., Any]
) -> None:
    folder, *_ = built
    cli("profile", "--space", SPACE, cwd=folder)
    answer = ask("search", "--space", SPACE, "--predictor", "mine", "-b", "95%", cwd=folder)["answers"][0]
    assert answer["predicted"]["top1"]["dataset"] == "digits"
    assert answer["optimality"]["gap_top1"] == 0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--dataset", "fashion-mnist:nowhere"), "apt install dataset-fashion-mnist"),
        (("--recipe", "slow"), "unknown recipe 'slow'"),
        (("--acquisition", "ucb"), "known: budget-ei, paper, random"),
        (("--kernel", "cubic"), "known: matern, matern-ard, additive, sum, rbf"),
        (("--macs", "4MMACs"), "give two amounts"),
        (("--quotas", "1,x"), "give numbers"),
        (("--quotas", "1,2"), "there are 8 sub-spaces"),
        (("--edges", "2MMACs,1MMACs"), "larger than the one before"),
        (("--executor", "slurm"), "known: local, ray"),
        (("--space", "chamnet-mobile"), "classes = 10"),
        (("--as", "a/b"), "give a plain name"),
    ],
)
def test_mistakes_are_told_and_exit_with_2(
    changed: tuple[str, str], said: str, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    (tmp_path / "quick.toml").write_text(RECIPE)
    done = cli(*BUILD, *HOW, *changed, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="no dataset-fashion-mnist")
def test_a_network_learns_fashion_mnist(tmp_path: Path, ask: Callable[..., Any]) -> None:
    text = RECIPE.replace("epochs = 3", "epochs = 2\nimages = 4000").replace(
        "held_out = 300", "held_out = 1000"
    )
    (tmp_path / "quick.toml").write_text(text)
    body = ask(
        *("train", "20-4-16-2-3-24-2", "--space", SPACE, "--dataset", "fashion-mnist"),
        *("--recipe", "quick.toml", "--device", "cpu", "-o", "net.pt"),
        cwd=tmp_path,
    )
    assert body["top1"] > 65  # guessing gives 10
