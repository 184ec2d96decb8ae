"""The launcher with a program loader that tells what it was given."""

import subprocess
from pathlib import Path

import pytest

from chamnet_host.bundles.launcher import launcher_text
from chamnet_host.bundles.recipe import Recipe

LOADER = r"""#!/bin/sh
for word in "$@"; do printf '%s\n' "$word"; done
env | grep -E '^(PYTHON|LD_|TMPDIR|HOME)'
"""


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """Return a folder, with a space in its name, that looks like a bundle."""
    folder = tmp_path / "a bundle"
    (folder / "lib").mkdir(parents=True)
    loader = folder / "lib" / "ld-linux-x86-64.so.2"
    loader.write_text(LOADER)
    loader.chmod(0o755)
    return folder


def run(folder: Path, system: str = "linux", cwd: Path | None = None, **environ: str) -> list[str]:
    script = folder / "agent-python"
    script.write_text(launcher_text(Recipe(arch="x86_64", os=system)))
    name = script.relative_to(cwd) if cwd else script
    command = ["/bin/sh", str(name), "-m", "chamnet_agent", "two words"]
    environ = {"PATH": "/usr/bin:/bin", "HOME": "/home/me", **environ}
    done = subprocess.run(command, env=environ, cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_loader_is_told_where_everything_is(started: Path) -> None:
    lines = run(started)
    assert lines[:9] == [
        "--inhibit-cache", "--library-path", f"{started}/lib", "--argv0", f"{started}/agent-python",
        f"{started}/py/bin/python3", "-m", "chamnet_agent", "two words",
    ]  # fmt: skip
    assert {f"PYTHONHOME={started}/py", f"PYTHONPATH={started}/site:{started}/agent", "HOME=/home/me"} <= set(
        lines
    )


@pytest.mark.parametrize("below", [".", ".."])
def test_it_finds_itself_from_any_folder(started: Path, below: str) -> None:
    assert f"PYTHONHOME={started}/py" in run(started, cwd=(started / below).resolve())


def test_a_parents_python_and_libraries_stay_outside(started: Path) -> None:
    foreign = {
        "PYTHONPATH": "/opt/ros",
        "LD_PRELOAD": "",
        "LD_LIBRARY_PATH": "/opt/cuda",
        "PYTHONSTARTUP": "x",
    }
    lines = run(started, **foreign)
    assert f"PYTHONPATH={started}/site:{started}/agent" in lines
    assert not [line for line in lines if line.startswith(("LD_", "PYTHONSTARTUP"))]


def test_what_the_agent_added_to_its_path_reaches_its_worker(started: Path) -> None:
    path = f"{started}/site:{started}/agent:/plug/ins"
    assert f"PYTHONPATH={path}" in run(started, PYTHONPATH=path)


def test_a_phone_gets_folders_that_can_be_written(started: Path) -> None:
    lines = run(started, system="android", HOME="/", TMPDIR="/tmp")
    assert {f"HOME={started}/var/home", f"TMPDIR={started}/var/tmp"} <= set(lines)
    assert (started / "var" / "tmp").is_dir()


def test_the_systems_shell_starts_it() -> None:
    assert launcher_text(Recipe(os="android")).startswith("#!/system/bin/sh\n")
    assert launcher_text(Recipe(os="linux")).startswith("#!/bin/sh\n")
