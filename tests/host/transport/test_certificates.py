"""Calls that leave a machine: both sides prove who they are, and the token is asked for as well."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from chamnet.errors import ConfigError, DeviceUnreachableError, TokenError
from chamnet.wire.tls import AGENT_NAME, channel_credentials, server_credentials
from chamnet_agent import sysinfo
from chamnet_agent.config import AgentConfig
from chamnet_agent.server import RunningAgent, running
from chamnet_host.app import run
from chamnet_host.client import DeviceClient
from chamnet_host.testing import TransportContract
from chamnet_host.transport import DirectTransport

pytest.importorskip("cryptography")
from chamnet_host.transport.certificates import check_dates, make_certificates

PATIENCE_S = 60.0  # for what takes no time on an idle machine


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    make_certificates(tmp_path / "certificates")
    return tmp_path / "certificates"


@pytest.fixture
def agent(tmp_path: Path, certificates: Path) -> Iterator[RunningAgent]:
    config = AgentConfig(
        state_dir=tmp_path / "chamnet-agent",
        backend="onnxruntime",
        cores=sysinfo.usable_cores()[:1],
        tls=certificates / "agent",
    )
    with running(config) as serving:
        yield serving


class TestDirectTransportWithCertificates(TransportContract):
    ends_agent = False

    @pytest.fixture
    def transport(self, agent: RunningAgent, certificates: Path, tmp_path: Path) -> DirectTransport:
        environ = {"XDG_STATE_HOME": str(tmp_path)}
        return DirectTransport(agent.endpoint.address, tls=certificates / "host", environ=environ)


def test_a_call_without_certificates_gets_nowhere(agent: RunningAgent) -> None:
    with (
        DeviceClient(agent.endpoint.address, agent.token, tls=None, timeout_s=PATIENCE_S) as client,
        pytest.raises(DeviceUnreachableError),
    ):
        client.describe()


def test_another_hosts_certificate_is_refused(
    agent: RunningAgent, certificates: Path, tmp_path: Path
) -> None:
    make_certificates(tmp_path / "others")
    (tmp_path / "others/host/agent.crt").write_bytes((certificates / "host/agent.crt").read_bytes())
    with (
        DeviceClient(
            agent.endpoint.address, agent.token, timeout_s=PATIENCE_S, tls=tmp_path / "others/host"
        ) as client,
        pytest.raises(DeviceUnreachableError),
    ):
        client.describe()


def test_an_agent_that_is_not_the_pinned_one_is_not_told_the_token(
    agent: RunningAgent, certificates: Path, tmp_path: Path
) -> None:
    make_certificates(tmp_path / "others")
    (tmp_path / "others/agent/host.crt").write_bytes((certificates / "agent/host.crt").read_bytes())
    heard: list[object] = []

    class Listening(grpc.ServerInterceptor):  # type: ignore[type-arg]
        def intercept_service(self, continuation: object, handler_call_details: object) -> None:
            heard.append(handler_call_details)

    server = grpc.server(None, interceptors=[Listening()])  # type: ignore[arg-type]
    port = server.add_secure_port("127.0.0.1:0", server_credentials(tmp_path / "others/agent"))
    server.start()
    with (
        DeviceClient(
            f"127.0.0.1:{port}", agent.token, timeout_s=PATIENCE_S, tls=certificates / "host"
        ) as client,
        pytest.raises(DeviceUnreachableError, match=r"(?i)certificate|handshake"),
    ):
        client.describe()
    server.stop(0).wait()
    assert not heard


def test_the_token_is_asked_for_as_well(agent: RunningAgent, certificates: Path) -> None:
    with (
        DeviceClient(
            agent.endpoint.address, "wrong", timeout_s=PATIENCE_S, tls=certificates / "host"
        ) as client,
        pytest.raises(TokenError),
    ):
        client.describe()


def test_certificates_that_have_ended_say_so(tmp_path: Path) -> None:
    make_certificates(tmp_path, days=30, now=datetime.now(UTC) - timedelta(days=31))
    with pytest.raises(
        ConfigError, match=r"host\.crt: valid from .* make new ones with `chamnet-host certify`"
    ):
        check_dates(tmp_path / "host")
    with pytest.raises(ConfigError, match="valid from"):
        DirectTransport("192.0.2.1:8799", tls=tmp_path / "host").open()


def test_an_agent_refuses_a_host_whose_certificate_has_ended(tmp_path: Path) -> None:
    make_certificates(tmp_path / "old", days=30, now=datetime.now(UTC) - timedelta(days=31))
    config = AgentConfig(
        state_dir=tmp_path / "agent",
        backend="onnxruntime",
        cores=sysinfo.usable_cores()[:1],
        tls=tmp_path / "old/agent",
    )
    with running(config) as serving:
        options = [("grpc.ssl_target_name_override", AGENT_NAME)]
        with (
            grpc.secure_channel(
                serving.endpoint.address, channel_credentials(tmp_path / "old/host"), options=options
            ) as channel,
            pytest.raises(grpc.FutureTimeoutError),
        ):
            grpc.channel_ready_future(channel).result(timeout=1)


@pytest.mark.parametrize("name", ["agent.key", "agent.crt", "host.crt"])
def test_a_missing_file_is_named(certificates: Path, name: str) -> None:
    (certificates / "agent" / name).unlink()
    with pytest.raises(ConfigError, match=rf"agent/{name}: cannot be read .* `chamnet-host certify`"):
        server_credentials(certificates / "agent")


def test_a_key_that_others_can_read_is_refused(certificates: Path) -> None:
    (certificates / "host/host.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        channel_credentials(certificates / "host")


def test_keys_are_their_owners_alone_and_never_overwritten(certificates: Path) -> None:
    for side in ("agent", "host"):
        assert (certificates / side / f"{side}.key").stat().st_mode & 0o077 == 0
        assert not (certificates / side / f"{'host' if side == 'agent' else 'agent'}.key").exists()
    with pytest.raises(ConfigError, match="holds certificates already"):
        make_certificates(certificates)


def test_the_command_says_what_goes_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["certify", "-o", str(tmp_path / "made")]) == 0
    assert "made/agent: for the device" in capsys.readouterr().out
    assert run(["certify", "-o", str(tmp_path / "made")]) == 2
