"""What `devices show` says of a device, and of the meters that the host reads for it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chamnet_agent.server import RunningAgent
from chamnet_host.app import run


@pytest.fixture
def board(start_agent: Callable[[], RunningAgent], tmp_path: Path) -> Callable[[str], list[str]]:
    """Return a function that writes the profile of a board with a meter, and gives the command that shows it."""
    agent = start_agent()
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(agent.token)

    def show(meter: str) -> list[str]:
        profile = f"transport = 'direct'\naddress = '{agent.endpoint.address}'\ntoken_file = '{token}'\n"
        (tmp_path / "board.toml").write_text(f"{profile}meter = '{meter}'\n")
        return ["devices", "show", "board", "--profiles", str(tmp_path)]

    return show


def host_meters(command: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*command, "--json"]) == 0
    (body,) = json.loads(capsys.readouterr().out)["devices"]
    assert "monsoon" not in {each["name"] for each in body["meters"]}, "those are the device's own"
    return {each["name"]: each for each in body["host_meters"]}


def test_meters_of_the_host_are_shown_with_why_they_do_not_work(
    board: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    found = host_meters(board(""), capsys)
    assert set(found) == {"monsoon", "recording"}
    assert "main channel at 4.2 V" in found["monsoon"]["provider"]
    assert "monsoon: " in found["monsoon"]["why_not"]
    assert "name its file" in found["recording"]["why_not"]


def test_the_meter_of_the_profile_is_asked_with_its_argument(
    board: Callable[[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "power.csv"
    now_s = int(time.monotonic())
    file.write_text(f"time_s,power_w\n{now_s}.0,1.5\n{now_s}.002,1.6\n{now_s}.004,1.7\n")
    found = host_meters(board(f"recording:{file}"), capsys)["recording"]
    assert (found["provider"], found["why_not"]) == (str(file), None)
    assert "main channel at 3.85 V" in host_meters(board("monsoon:3.85"), capsys)["monsoon"]["provider"]
    assert "monsoon:high" in host_meters(board("monsoon:high"), capsys)["monsoon"]["why_not"]


def test_people_see_them_beside_those_of_the_device(
    board: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(board("")) == 0
    shown = capsys.readouterr().out
    assert shown.index("battery") < shown.index("monsoon") < shown.index("recording")
    assert "meter of this machine" in shown
    assert "name its file" in " ".join(shown.split())
