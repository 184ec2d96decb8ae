"""An agent that is put on a board and answers in its network: real ssh, real certificates."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from held_port import held_port
from machine_bundle import make_bundle
from sshd_board import CannotFetchError, SshdBoard

from chamnet.errors import ChamNetError, ConfigError
from chamnet_agent import sysinfo
from chamnet_agent.testing import Script
from chamnet_host.bundles.downloads import default_cache
from chamnet_host.bundles.manifest import WRITABLE
from chamnet_host.client import DeviceClient
from chamnet_host.testing import TransportContract
from chamnet_host.transport.certificates import make_certificates
from chamnet_host.transport.networked import Networked
from chamnet_host.transport.ssh import SshTransport

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("ssh"), reason="no OpenSSH client here"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the server is for x86-64"),
]

Maker = Callable[[], SshTransport]


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    return tmp_path / "certificates"


@pytest.fixture
def make(tmp_path: Path, certificates: Path) -> Iterator[Maker]:
    """Return a function that makes a transport to a board; closed with the test."""
    bundle = make_bundle(tmp_path / "bundle", Script(), here=True)
    (tmp_path / "board").mkdir()
    with ExitStack() as stack:
        try:
            board = stack.enter_context(SshdBoard(default_cache(os.environ) / "tests", tmp_path / "board"))
        except CannotFetchError as error:
            pytest.skip(f"no ssh server: {error}")
        address = f"127.0.0.1:{stack.enter_context(held_port())}"

        def make() -> SshTransport:
            transport = SshTransport(
                "127.0.0.1", bundle, options=board.options, folder=str(tmp_path / "deployed"), backend="fake",
                cores=str(sysinfo.usable_cores()[0]), networked=Networked(address, certificates),
            )  # fmt: skip
            stack.callback(transport.close)
            return transport

        yield make


class TestContract(TransportContract):
    @pytest.fixture
    def transport(self, make: Maker) -> SshTransport:
        return make()


def test_only_who_holds_the_certificates_is_answered(make: Maker, tmp_path: Path) -> None:
    connection = make().open()
    key = tmp_path / "deployed" / WRITABLE / "tls/agent.key"
    assert key.stat().st_mode & 0o777 == 0o600
    make_certificates(tmp_path / "stranger")
    for tls in (None, tmp_path / "stranger/host"):
        with (
            DeviceClient(connection.address, connection.token, tls=tls, timeout_s=3) as client,
            pytest.raises(ChamNetError),
        ):
            client.health()


def test_certificates_that_have_ended_are_made_anew(make: Maker, certificates: Path) -> None:
    make_certificates(certificates, days=1, now=datetime.now(UTC) - timedelta(days=9))
    old = (certificates / "host/host.crt").read_bytes()
    transport = make()
    connection = transport.open()
    assert (certificates / "host/host.crt").read_bytes() != old
    transport.close()
    again = make().open()
    assert again.tls == connection.tls


@pytest.mark.parametrize("address", ["board", "board:", ":8799", "board:0", "board:x"])
def test_an_address_that_is_none_says_so(address: str, certificates: Path) -> None:
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        Networked(address, certificates)


def test_a_board_known_by_name_listens_on_every_interface(certificates: Path) -> None:
    assert Networked("board.local:8799", certificates).flags("/tls")[1] == "0.0.0.0"
    assert Networked("[fd00::7]:8799", certificates).flags("/tls")[1] == "fd00::7"
