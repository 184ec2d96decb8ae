import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from chamnet.errors import ConfigError, DeviceUnreachableError, TokenError
from chamnet_agent import sysinfo
from chamnet_agent.config import AgentConfig
from chamnet_agent.server import RunningAgent, running
from chamnet_host.testing import TransportContract
from chamnet_host.transport import DirectTransport


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningAgent]:
    config = AgentConfig(
        state_dir=tmp_path / "chamnet-agent", backend="onnxruntime", cores=sysinfo.usable_cores()[:1]
    )
    with running(config) as serving:
        yield serving


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path)}


class TestDirectTransport(TransportContract):
    ends_agent = False

    @pytest.fixture
    def transport(self, agent: RunningAgent, environ: dict[str, str]) -> DirectTransport:
        return DirectTransport(agent.endpoint.address, environ=environ)


def test_a_token_file_can_be_given(agent: RunningAgent, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.touch(mode=0o600)
    copy.write_text(agent.token)
    direct = DirectTransport(agent.endpoint.address, token_file=copy, environ={"XDG_STATE_HOME": "/nowhere"})
    assert direct.open().token == agent.token


@pytest.mark.parametrize("home", ["nowhere", ""])
def test_a_missing_token_says_where_to_look(tmp_path: Path, agent: RunningAgent, home: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = agent.endpoint.address if home else f"127.0.0.1:{other.getsockname()[1]}"
        direct = DirectTransport(address, environ={"XDG_STATE_HOME": str(tmp_path / home)})
        with pytest.raises(TokenError, match="copy the token file from that agent's state directory"):
            direct.open()


def test_a_token_that_others_can_read_is_refused(agent: RunningAgent, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_text(agent.token)
    copy.chmod(0o644)
    with pytest.raises(TokenError, match="others can read the token; make it yours alone: chmod 600"):
        DirectTransport(agent.endpoint.address, token_file=copy).open()


def test_the_token_of_an_earlier_start_is_refused(agent: RunningAgent, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.touch(mode=0o600)
    old.write_text("old")
    with pytest.raises(TokenError, match="fresh with every start"):
        DirectTransport(agent.endpoint.address, token_file=old).open()


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("any")
    with pytest.raises(DeviceUnreachableError, match=r"127\.0\.0\.1:1: no agent answers"):
        DirectTransport("127.0.0.1:1", token_file=token, timeout_s=2).open()


def test_other_machines_are_refused_until_there_is_tls() -> None:
    with pytest.raises(ConfigError, match="ssh -L or adb forward"):
        DirectTransport("192.0.2.1:8799").open()


@pytest.mark.parametrize("address", ["", "localhost", ":80", "host:", "host:http"])
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        DirectTransport(address)
