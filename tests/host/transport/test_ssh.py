"""A board over ssh: the system's client against a real server."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from held_port import held_port, held_ports
from sshd_board import CannotFetchError, SshdBoard

from chamnet.errors import ConfigError, DeviceLostError, DeviceUnreachableError
from chamnet_host.bundles.downloads import default_cache
from chamnet_host.testing import DeviceShellContract
from chamnet_host.transport.shell import Upload
from chamnet_host.transport.ssh import SshShell

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("ssh"), reason="no OpenSSH client here"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the server is for x86-64"),
]


ECHO = Path(__file__).parents[2] / "sshd/echo_server.py"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[SshdBoard]:
    folder = tmp_path / "board"
    folder.mkdir()
    try:
        with SshdBoard(default_cache(os.environ) / "tests", folder) as running:
            yield running
    except CannotFetchError as error:
        pytest.skip(f"no ssh server: {error}")


class TestSshShell(DeviceShellContract):
    sh = "/bin/sh"
    echo = f"exec {sys.executable} {ECHO} {{port}}"

    @pytest.fixture
    def shell(self, board: SshdBoard, tmp_path: Path) -> Iterator[SshShell]:
        self.folder = str(tmp_path / "contract")
        with held_ports(2) as (self.port, _):  # nobody listens on the second one
            opened = SshShell("127.0.0.1", options=board.options)
            yield opened
            opened.close()
            subprocess.run(["pkill", "-f", f"{ECHO} {self.port}"], check=False)


def test_a_board_that_goes_away_is_lost(board: SshdBoard) -> None:
    shell = SshShell("127.0.0.1", options=board.options)
    board.unplug()
    with pytest.raises(DeviceLostError, match="went away while running `true`"):
        shell.run("true")
    shell.close()


def test_files_on_their_way_are_lost_with_it(board: SshdBoard, tmp_path: Path) -> None:
    shell = SshShell("127.0.0.1", options=board.options)
    source = tmp_path / "large"
    source.write_bytes(bytes(4 * 2**20))

    def files() -> Iterator[Upload]:
        for i in range(50):
            if i == 3:
                board.unplug()
            yield Upload(source=source, target=f"{tmp_path}/there/{i}")

    with pytest.raises(DeviceLostError, match="went away while writing files"):
        shell.push(files())
    shell.close()


def test_a_module_that_changes_at_equal_length_is_compiled_anew(board: SshdBoard, tmp_path: Path) -> None:
    shell = SshShell("127.0.0.1", options=board.options)
    source = tmp_path / "version.py"
    environ = f"PYTHONPATH={tmp_path}/there PYTHONPYCACHEPREFIX={tmp_path}/pycache"
    for second, version in enumerate(("1.31.1", "1.31.2")):
        source.write_text(f"V = {version!r}\n")
        os.utime(source, (1_700_000_000 + second,) * 2)
        shell.push([Upload(source=source, target=f"{tmp_path}/there/version.py")])
        said = shell.run(f"{environ} {sys.executable} -c 'import version; print(version.V)'")
        assert said.stdout.strip() == version
    shell.close()


def open_and_be_shot(board: SshdBoard, tunnel: str) -> Path:
    """Open a board in another process, with a tunnel that is used or without, and kill that; return its folder."""
    code = (
        "import socket, time; from chamnet_host.transport.ssh import SshShell; "
        f"shell = SshShell('127.0.0.1', options={board.options!r}, linger_s=4); "  # until the tunnel stands
        f"print(shell._folder, flush=True); {tunnel}; time.sleep(6); shell.run('true'); print('held', flush=True); time.sleep(60)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environ
    ) as host:
        assert host.stdout is not None
        folder = Path(host.stdout.readline().strip())
        if tunnel != "pass":
            assert host.stdout.readline() == "held\n"
        host.kill()
    return folder


def hang_up_last(far: socket.socket) -> None:
    """Take one connection and end it when the other side has, as an agent does."""
    with contextlib.suppress(OSError), far.accept()[0] as connection:
        connection.recv(1)


@pytest.mark.parametrize("used", [False, True])
def test_the_connection_of_a_host_that_was_shot_ends(board: SshdBoard, used: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as far:
        threading.Thread(target=hang_up_last, args=(far,), daemon=True).start()
        where = f"shell.forward({far.getsockname()[1]}).split(':')"
        tunnel = f"where = {where}; kept = socket.create_connection((where[0], int(where[1])))"
        folder = open_and_be_shot(board, tunnel if used else "pass")
        deadline_s = time.monotonic() + 60
        while (folder / "c").exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
    os.utime(folder, (1_700_000_000,) * 2)
    shell = SshShell("127.0.0.1", options=board.options)
    assert not folder.exists()
    shell.close()


def test_nobody_listens() -> None:
    with (
        held_port() as port,
        pytest.raises(DeviceUnreachableError, match=r"is it switched on, and does `ssh 127.0.0.1` work"),
    ):
        SshShell("127.0.0.1", options=["-F", "none", "-p", str(port)])


def test_an_unknown_board_is_not_trusted(board: SshdBoard) -> None:
    (board.folder / "known_hosts").write_text("")
    with pytest.raises(ConfigError, match=r"run `ssh 127.0.0.1` once by hand"):
        SshShell("127.0.0.1", options=board.options)


def test_a_key_that_is_not_authorised_says_what_to_do(board: SshdBoard) -> None:
    (board.folder / "id").write_text("")
    with pytest.raises(ConfigError, match="ssh-copy-id"):
        SshShell("127.0.0.1", options=board.options)


@pytest.mark.parametrize("host", ["-oProxyCommand=touch /tmp/owned", "-p"])
def test_an_option_is_not_a_host(host: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a host"):
        SshShell(host)


def test_commands_share_a_connection(board: SshdBoard) -> None:
    """No handshake for each: they take milliseconds."""
    shell = SshShell("127.0.0.1", options=board.options)
    for _ in range(10):
        shell.run("true")
    assert board.connections == 1
    shell.close()
