"""The clock governor is set, and set back however the agent ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from chamnet.errors import ConfigError
from chamnet_agent.governor import governed
from tests.processes import eventually


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for core in (0, 4, 5):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text("schedutil\n")
        (folder / "scaling_available_governors").write_text("performance powersave schedutil\n")
    return tmp_path


def governors(root: Path) -> dict[int, str]:
    cpu = root / "sys/devices/system/cpu"
    return {core: (cpu / f"cpu{core}/cpufreq/scaling_governor").read_text().strip() for core in (0, 4, 5)}


def test_it_holds_inside_the_block_and_on_these_cores_only(root: Path) -> None:
    with governed("performance", (4, 5), root):
        assert governors(root) == {0: "schedutil", 4: "performance", 5: "performance"}
    assert set(governors(root).values()) == {"schedutil"}


def test_it_comes_back_after_an_error(root: Path) -> None:
    with pytest.raises(RuntimeError), governed("performance", (4,), root):
        raise RuntimeError
    assert set(governors(root).values()) == {"schedutil"}


def test_it_comes_back_after_sigkill(root: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from chamnet_agent.governor import governed\n"
        f"with governed('performance', (4, 5), Path({str(root)!r})):\n"
        "    print('set', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout
        assert agent.stdout.readline() == "set\n"
        assert governors(root)[4] == "performance"
        agent.kill()
    assert eventually(lambda: set(governors(root).values()) == {"schedutil"})


def test_a_shell_that_is_late_goes_on_without_the_agent(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shells: list[subprocess.Popen[bytes]] = []

    def late(self: "subprocess.Popen[bytes]", timeout: float) -> int:
        shells.append(self)
        raise subprocess.TimeoutExpired(self.args, timeout)

    with monkeypatch.context() as patch, governed("performance", (4,), root):
        patch.setattr(subprocess.Popen, "wait", late)
    assert "not set back yet" in caplog.text
    assert shells.pop().wait(60) == 0
    assert set(governors(root).values()) == {"schedutil"}


def test_none_asked_for_changes_nothing(root: Path) -> None:
    with governed("", (4, 5), root):
        assert set(governors(root).values()) == {"schedutil"}


def test_an_unknown_one_is_refused_with_those_there_are(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"--governor turbo: .*performance, powersave, schedutil"):
        governed("turbo", (4,), root).__enter__()


def test_where_it_is_not_permitted_the_agent_goes_on(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with governed("performance", (4,), root):
        pass
    assert "governor performance not set" in caplog.text
    assert "as root: echo performance" in caplog.text


def test_a_device_without_governors_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with governed("performance", (0,), tmp_path):
        pass
    assert "shows no clock governors" in caplog.text
