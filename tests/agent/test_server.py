"""The server against strangers, and its end."""

import resource
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from chamnet.errors import ConfigError, DeviceBusyError, DeviceUnreachableError, TokenError
from chamnet_agent.config import AgentConfig
from chamnet_agent.server import RunningAgent, running
from chamnet_host.client import DeviceClient

Starter = Callable[..., RunningAgent]
Connect = Callable[[RunningAgent], DeviceClient]

DESCRIBE = "/chamnet.wire.Profiling/Describe"
MEASURE = "/chamnet.wire.Profiling/Measure"
HEALTH = "/grpc.health.v1.Health/Check"


def call(agent: RunningAgent, method: str, body: bytes, *, token: str | None = None) -> bytes:
    """Call a method with raw bytes, as a stranger's client would."""
    with grpc.insecure_channel(
        agent.endpoint.address, options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        metadata = (("authorization", f"Bearer {agent.token if token is None else token}"),)
        answer: bytes = raw(channel, method)(body, metadata=metadata if token != "" else (), timeout=60)
        return answer


def raw(channel: grpc.Channel, method: str) -> Any:
    return channel.unary_unary(method, request_serializer=None, response_deserializer=None)


def refusal(agent: RunningAgent, method: str, body: bytes, *, token: str | None = None) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call(agent, method, body, token=token)
    code: grpc.StatusCode = caught.value.code()
    return code


@pytest.mark.parametrize("token", ["", "wrong"])
@pytest.mark.parametrize("method", [DESCRIBE, MEASURE, HEALTH, "/no.such.Service/Method"])
def test_nothing_is_answered_without_the_token(start_agent: Starter, method: str, token: str) -> None:
    agent = start_agent()
    assert refusal(agent, method, b"", token=token) is grpc.StatusCode.UNAUTHENTICATED
    assert call(agent, HEALTH, b"")


def test_a_client_with_the_wrong_token_is_told_where_the_right_one_lies(start_agent: Starter) -> None:
    with DeviceClient(start_agent().endpoint.address, "wrong", tls=None) as client:
        with pytest.raises(TokenError, match="token file in the agent's state directory"):
            client.describe()
        with pytest.raises(TokenError):
            client.health()


def test_two_tokens_are_none(start_agent: Starter) -> None:
    agent = start_agent()
    both = (("authorization", f"Bearer {agent.token}"), ("authorization", "Bearer x"))
    with grpc.insecure_channel(agent.endpoint.address) as channel, pytest.raises(grpc.RpcError) as caught:
        raw(channel, HEALTH)(b"", metadata=both, timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_token_is_fresh_and_for_its_owner_alone(start_agent: Starter, tmp_path: Path) -> None:
    agent = start_agent()
    token_file = Path(agent.endpoint.token_file)
    assert token_file.read_text().strip() == agent.token
    assert token_file.stat().st_mode & 0o777 == 0o600
    assert token_file.parent.stat().st_mode & 0o777 == 0o700
    with running(AgentConfig(state_dir=tmp_path / "other", backend="fake", cores=(0,))) as other:
        assert other.token != agent.token


def test_health_is_the_standard_one(start_agent: Starter) -> None:
    agent = start_agent()
    serving, profiling = (
        b"\x08\x01",
        b"\x0a\x16chamnet.wire.Profiling",
    )  # as grpcio-health-checking writes them
    assert call(agent, HEALTH, b"") == serving
    assert call(agent, HEALTH, profiling) == serving
    assert refusal(agent, HEALTH, b"\x0a\x05other") is grpc.StatusCode.NOT_FOUND
    assert refusal(agent, "/grpc.health.v1.Health/Watch", b"") is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 4096, b"\xff" * 65536, b""])
def test_noise_on_the_port_does_no_harm(start_agent: Starter, connect: Connect, noise: bytes) -> None:
    agent = start_agent()
    with (
        socket.create_connection(("127.0.0.1", agent.endpoint.port), timeout=60) as stranger,
        suppress(ConnectionError),  # the agent may hang up before it has heard everything
    ):
        stranger.sendall(noise)
    assert connect(agent).health()


def test_a_malformed_message_does_no_harm(start_agent: Starter, connect: Connect) -> None:
    agent = start_agent()
    refusal(agent, MEASURE, b"\xff\xff\xff")
    refusal(agent, DESCRIBE, b"\xff\xff\xff")
    assert connect(agent).health()


def test_an_oversized_message_does_no_harm(start_agent: Starter, connect: Connect) -> None:
    agent = start_agent()
    assert refusal(agent, MEASURE, bytes(100 * 2**20)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert connect(agent).health()


def test_a_thousand_connections_do_no_harm(start_agent: Starter, connect: Connect) -> None:
    agent = start_agent()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    try:
        with ExitStack() as strangers:
            for number in range(1_000):
                stranger = socket.create_connection(("127.0.0.1", agent.endpoint.port), timeout=60)
                strangers.enter_context(stranger)
                if number % 2:
                    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert connect(agent).health()
        assert connect(agent).describe().backends
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com", ""])
def test_only_loopback_is_served(tmp_path: Path, host: str) -> None:
    config = AgentConfig(state_dir=tmp_path, host=host, backend="onnxruntime", cores=(0,))
    with (
        pytest.raises(ConfigError, match="without --tls the agent listens on loopback only"),
        running(config),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_taken_port_is_named(start_agent: Starter, tmp_path: Path) -> None:
    port = start_agent().endpoint.port
    config = AgentConfig(state_dir=tmp_path / "other", port=port, backend="fake", cores=(0,))
    with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: the port is taken"), running(config):
        pass


def test_a_second_agent_is_told_who_is_first(start_agent: Starter, tmp_path: Path) -> None:
    first = start_agent().endpoint
    config = AgentConfig(state_dir=tmp_path / "state", backend="fake", cores=(0,))
    says = rf"process {first.pid}, listening on {first.address}, files in .*state; .*kill {first.pid}"
    with pytest.raises(DeviceBusyError, match=says), running(config):
        pass
    with DeviceClient(first.address, (tmp_path / "state/token").read_text().strip(), tls=None) as client:
        assert client.health()  # the first one's files are untouched


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = AgentConfig(state_dir=tmp_path / "file/state", backend="fake", cores=(0,))
    with pytest.raises(ConfigError, match="choose another --state-dir"), running(config):
        pass


def test_nothing_is_left_after_the_end(tmp_path: Path) -> None:
    config = AgentConfig(state_dir=tmp_path, backend="onnxruntime", cores=(0,))
    with running(config) as agent:
        endpoint, token = agent.endpoint, agent.token
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    with (
        DeviceClient(endpoint.address, token, tls=None) as client,
        pytest.raises(DeviceUnreachableError, match="serve"),
    ):
        client.health()
    with running(config):  # the lock is free again
        pass
