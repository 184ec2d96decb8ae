import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chamnet.errors import ConfigError, DeviceBusyError, DeviceUnreachableError
from chamnet.wire.endpoint import Endpoint
from chamnet_agent import sysinfo
from chamnet_agent.config import AgentConfig
from chamnet_agent.server import running
from chamnet_host.client import DeviceClient
from chamnet_host.profiles import DeviceProfile
from chamnet_host.testing import TransportContract
from chamnet_host.transport import LocalTransport


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path / "xdg"), "TMPDIR": str(tmp_path), **more}


@pytest.fixture
def transport(tmp_path: Path) -> Iterator[LocalTransport]:
    local = LocalTransport(environ=environ(tmp_path))
    yield local
    local.close()


class TestAgentOfOurOwn(TransportContract):
    @pytest.fixture
    def transport(self, transport: LocalTransport) -> LocalTransport:
        return transport


class TestAgentThatRunsAlready(TransportContract):
    ends_agent = False

    @pytest.fixture
    def transport(self, tmp_path: Path) -> Iterator[LocalTransport]:
        config = AgentConfig(
            state_dir=tmp_path / "xdg/chamnet-agent", backend="onnxruntime", cores=sysinfo.usable_cores()[:1]
        )
        with running(config):
            yield LocalTransport(environ=environ(tmp_path))


def test_an_agent_that_was_shot_is_not_waited_for(tmp_path: Path, transport: LocalTransport) -> None:
    stale = tmp_path / "xdg/chamnet-agent"
    with running(AgentConfig(state_dir=stale, backend="onnxruntime", cores=sysinfo.usable_cores()[:1])):
        kept = (stale / "agent.json").read_text(), (stale / "token").read_text()
    (stale / "agent.json").write_text(kept[0])
    (stale / "token").write_text(kept[1])
    connection = transport.open()
    assert connection.token != kept[1].strip()


def test_other_settings_than_the_running_agents_are_refused(tmp_path: Path) -> None:
    config = AgentConfig(
        state_dir=tmp_path / "xdg/chamnet-agent", backend="onnxruntime", cores=sysinfo.usable_cores()[:1]
    )
    with running(config) as shared:
        other = LocalTransport(cores=str(sysinfo.usable_cores()[0]), environ=environ(tmp_path))
        with pytest.raises(
            DeviceBusyError, match=f"end it first, or measure with it: --target {shared.endpoint.address}"
        ):
            other.open()


def test_an_agent_is_told_of_the_tool_that_a_profile_names(tmp_path: Path, fake_tool: Path) -> None:
    profile = DeviceProfile(name="here", native_tool=str(fake_tool), native_tool_args="--use_fake=true")
    local = LocalTransport(own=True, flags=profile.agent_flags, environ=environ(tmp_path))
    connection = local.open()
    with DeviceClient(connection.address, connection.token, tls=connection.tls) as client:
        found = client.describe().backend("native-tool")
    local.close()
    assert found is not None
    assert (found.why_not, found.provider) == (None, "--use_fake=true")


def test_two_hosts_share_one_agent(tmp_path: Path, transport: LocalTransport) -> None:
    second = LocalTransport(environ=environ(tmp_path))
    assert transport.open() == second.open()
    second.close()
    with DeviceClient(transport.open().address, transport.open().token, tls=None) as client:
        assert client.health()


def test_an_agent_that_is_held_up_is_waited_for(tmp_path: Path, transport: LocalTransport) -> None:
    connection = transport.open()
    pid = Endpoint.load(tmp_path / "xdg/chamnet-agent").pid  # type: ignore[union-attr]
    os.kill(pid, signal.SIGSTOP)
    going_on = threading.Timer(3, os.kill, (pid, signal.SIGCONT))
    going_on.start()
    assert LocalTransport(environ=environ(tmp_path)).open() == connection
    going_on.join()


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    local = LocalTransport(own=True, environ=environ(tmp_path))
    local.open()
    assert list(tmp_path.glob("chamnet-local-*"))
    local.close()
    assert not list(tmp_path.glob("chamnet-local-*"))


def test_an_agent_that_cannot_start_says_why(tmp_path: Path) -> None:
    local = LocalTransport(backend="cuda", environ=environ(tmp_path))
    with pytest.raises(ConfigError, match="--backend cuda: unknown; known: litert, native-tool, onnxruntime"):
        local.open()
    local.close()


def test_an_agent_that_dies_quotes_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('no luck today')\n")
    local = LocalTransport(environ=environ(tmp_path, PYTHONPATH=str(tmp_path)))
    with pytest.raises(DeviceUnreachableError, match=r"(?s)ended at once; its last lines:\n.*no luck today"):
        local.open()


def test_an_agent_that_never_answers_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(60)\n")
    local = LocalTransport(start_s=0.3, environ=environ(tmp_path, PYTHONPATH=str(tmp_path)))
    with pytest.raises(DeviceUnreachableError, match="did not answer within 0"):
        local.open()


def test_the_agent_ends_with_a_host_that_is_shot(tmp_path: Path) -> None:
    code = (
        "from chamnet_host.transport import LocalTransport; import sys, time; "
        "print(LocalTransport(own=True).open().address, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environ(tmp_path)
    ) as host:
        assert host.stdout is not None
        address = host.stdout.readline().strip()
        host.send_signal(signal.SIGKILL)
    assert refused_within(60, address)


def refused_within(limit_s: float, address: str) -> bool:
    """Return whether nobody listens at an address soon."""
    host, port = address.split(":")
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except ConnectionError:
            return True
        time.sleep(0.02)
    return False
