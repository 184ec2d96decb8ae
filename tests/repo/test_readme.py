"""What the README shows works: its Python runs, its commands exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "data" / "small-mobile.toml"
READMES = [ROOT / "README.md", ROOT / "host" / "README.md"]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.e2e
@pytest.mark.timeout(400)
@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_runs(readme: Path, tmp_path: Path) -> None:
    (code,) = blocks(readme, "python")
    small = code.replace('target="local"', f'target="local", space={str(SMALL)!r}').replace('"40%"', '"99%"')
    assert small != code
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    subprocess.run([sys.executable, "-c", small], cwd=tmp_path, env=env, check=True, timeout=300)


def commands() -> list[list[str]]:
    lines = [line for readme in READMES for block in blocks(readme, "sh") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [each for each in words if each and each[0] == "chamnet-host"]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_and_options_exist(command: list[str]) -> None:
    """Ask each command for help with the README's own options before it: an unknown option would be refused."""
    import typer.testing

    from chamnet_host.app import make_app

    names = [word for word in command[1:3] if word.isalpha()][
        : 2 if command[1] in ("devices", "lut", "accuracy", "energy", "space") else 1
    ]
    done = typer.testing.CliRunner().invoke(make_app(), [*names, "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for option in (word for word in command if word.startswith("--")):
        assert option in done.output


def test_the_two_commands_come_first() -> None:
    text = READMES[0].read_text(encoding="utf-8")
    assert text.index("make demo") < text.index("make test") < 800


@pytest.mark.parametrize(
    "readme",
    sorted(
        p for p in ROOT.rglob("*.md") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)
    ),
    ids=str,
)
def test_links_lead_somewhere(readme: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", readme.read_text(encoding="utf-8")):
        assert target.startswith("http") or (readme.parent / target).exists(), target
