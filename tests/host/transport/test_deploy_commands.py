"""An agent put on a board by the commands that a user types: a real bundle, over a real ssh server."""

import json
import os
import platform
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from held_port import held_port
from sshd_board import CannotFetchError, SshdBoard

from chamnet_host.app import run
from chamnet_host.bundles.downloads import default_cache

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("ssh"), reason="no OpenSSH client here"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the server is for x86-64"),
]


@pytest.fixture
def profiles(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with the profile of a board that can be reached."""
    folder = tmp_path / "board"
    folder.mkdir()
    try:
        with SshdBoard(default_cache(os.environ) / "tests", folder) as board:
            (tmp_path / "board.toml").write_text(
                f'transport = "ssh"\nhost = "127.0.0.1"\nssh_options = "{shlex.join(board.options)}"\n'
                'bundle = "linux-x86_64"\n'
            )
            yield tmp_path
    except CannotFetchError as error:
        pytest.skip(f"no ssh server: {error}")


def asked(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == 0, capsys.readouterr().err
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_a_board_is_given_an_agent_and_rid_of_it(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--target", "board", "--profiles", str(profiles)]
    if run(["deploy", *where, "--json"]) == 1 and "cannot be fetched" in (said := capsys.readouterr().err):
        pytest.skip(said)
    assert {"what": "processor", "state": "ok", "said": "x86_64"} in asked(["doctor", *where], capsys)[
        "findings"
    ]  # type: ignore[operator]
    again = asked(["deploy", *where], capsys)
    assert again["bytes_sent"] == 0
    backends = again["backends"]
    assert isinstance(backends, dict)
    assert backends["onnxruntime"] is backends["litert"] is None
    assert "log" in asked(["logs", *where], capsys)
    folder = Path(str(asked(["undeploy", *where], capsys)["folder"]))
    assert folder.name == "chamnet-agent"
    assert not folder.exists()
    asked(["undeploy", *where], capsys)


def test_a_board_in_its_network_is_given_an_agent(profiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held_port() as port:
        with (profiles / "board.toml").open("a") as profile:
            profile.write(f'address = "127.0.0.1:{port}"\ntls = "{profiles / "certificates"}"\n')
        where = ["--target", "board", "--profiles", str(profiles)]
        code = run(["deploy", *where, "--json"])
    out, err = capsys.readouterr()
    if code and "cannot be fetched" in err:
        pytest.skip(err)
    assert code == 0, err
    assert json.loads(out)["backends"]["onnxruntime"] is None
    asked(["undeploy", *where], capsys)


def test_a_target_that_takes_nothing_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["deploy", "--target", "local"]) == 2
    assert "only on devices over adb and ssh" in capsys.readouterr().err
