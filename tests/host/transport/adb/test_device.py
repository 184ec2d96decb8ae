import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from adbd_device import AdbdDevice
from adbd_fixtures import AdbServer, DeviceStarter
from held_port import held_port

from chamnet.errors import ConfigError, DeviceError, DeviceLostError, DeviceUnreachableError
from chamnet_host.testing import DeviceShellContract
from chamnet_host.transport.adb import states
from chamnet_host.transport.adb.device import AdbShell
from chamnet_host.transport.adb.ways import open_adb
from chamnet_host.transport.shell import Upload

WAYS = ["server", "direct"]


class TestThroughServer(DeviceShellContract):
    @pytest.fixture
    def shell(self, device: AdbdDevice, reach) -> AdbShell:
        return reach(device, "server")


class TestWithoutServer(DeviceShellContract):
    @pytest.fixture
    def shell(self, device: AdbdDevice, reach) -> AdbShell:
        return reach(device, "direct")


class TestThroughServerWithKey(DeviceShellContract):
    @pytest.fixture
    def shell(self, locked_device: AdbdDevice, adb_server: AdbServer, reach) -> AdbShell:
        locked_device.authorise(adb_server.public_key)
        return reach(locked_device, "server")


class TestWithoutServerWithKey(DeviceShellContract):
    @pytest.fixture
    def shell(self, locked_device: AdbdDevice, adb_server: AdbServer, reach) -> AdbShell:
        locked_device.authorise(adb_server.public_key)
        return reach(locked_device, "direct")


@pytest.mark.parametrize("way", WAYS)
def test_a_device_that_does_not_know_this_machine_says_what_to_tap(
    locked_device: AdbdDevice, adb_server: AdbServer, environ: dict[str, str], way
) -> None:
    with pytest.raises(
        DeviceUnreachableError, match=f"{locked_device.address}: does not know this machine.*accept the key"
    ):
        open_adb(locked_device.address, way=way, accept_s=0.5, environ=environ)
    locked_device.authorise(adb_server.public_key)
    shell = open_adb(locked_device.address, way=way, environ=environ)
    assert shell.run("echo in").stdout == "in\n"
    shell.close()


def test_a_key_is_made_where_there_is_none(locked_device: AdbdDevice, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    with pytest.raises(DeviceUnreachableError, match="accept the key"):
        open_adb(locked_device.address, way="direct", accept_s=0.5, environ=environ)
    key = tmp_path / ".android/adbkey"
    assert key.stat().st_mode & 0o077 == 0
    locked_device.authorise(key.with_suffix(".pub"))
    shell = open_adb(locked_device.address, way="direct", environ=environ)
    assert shell.run("echo in").stdout == "in\n"
    shell.close()


@pytest.mark.parametrize("way", WAYS)
def test_nobody_at_the_address_is_unreachable(environ: dict[str, str], way) -> None:
    with held_port() as port:
        address = f"127.0.0.1:{port}"
        with pytest.raises(
            DeviceUnreachableError, match=f"{address}: .*(adb tcpip 5555|is adb over network on)"
        ):
            open_adb(address, way=way, environ=environ)


def test_without_a_server_a_device_has_to_be_named(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="named, as HOST:PORT"):
        open_adb(way="direct", environ=environ)
    with pytest.raises(ConfigError, match="'0123ABC': expected HOST:PORT"):
        open_adb("0123ABC", way="direct", environ=environ)


def test_one_of_several_devices_has_to_be_named(
    start_device: DeviceStarter, environ: dict[str, str], reach
) -> None:
    first, second = start_device(), start_device()
    for each in (first, second):
        reach(each, "server")
    with pytest.raises(ConfigError, match=f"several devices are connected: .*{second.address}.*serial = "):
        open_adb(environ=environ)
    with pytest.raises(
        DeviceUnreachableError, match=f"0123ABC: no such device; adb knows: .*{first.address}"
    ):
        open_adb("0123ABC", environ=environ)


def test_a_server_that_is_not_one_is_not_waited_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        threading.Thread(target=hang_up_on_all, args=(other,), daemon=True).start()
        environ = {"ANDROID_ADB_SERVER_PORT": str(other.getsockname()[1])}
        with pytest.raises(DeviceUnreachableError, match=r"the adb server on port .* fails"):
            open_adb(environ=environ)


def test_no_server_and_no_adb_is_said(no_server: dict[str, str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ADBUTILS_ADB_PATH", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"the adb server does not start .*start-server"):
        open_adb(way="server", environ=no_server)


@pytest.fixture
def server_that_knows() -> Iterator[Callable[[str], dict[str, str]]]:
    """Return a function that runs an adb server which knows devices and nothing else, and returns what names it."""
    with ExitStack() as stack:

        def start(devices: str) -> dict[str, str]:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            threading.Thread(target=tell_all, args=(listener, devices), daemon=True).start()
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return {"ANDROID_ADB_SERVER_PORT": str(listener.getsockname()[1])}

        yield start


NO_RULE = "no permissions (missing udev rules? user is in the plugdev group); see [http://developer.android.com/tools/device.html]"


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        (f"ZY22ABCDEF\t{NO_RULE}\n", "ZY22ABCDEF: may not be opened by this user.*udev rules"),
        ("ZY22ABCDEF\tno permissions\n", "ZY22ABCDEF: may not be opened"),
        ("adb-X (2)._adb-tls-connect._tcp\toffline\n", r"adb-X \(2\)\._adb-tls-connect\._tcp: is connected and"),
        ("\n", "no device is connected"),
    ],
)  # fmt: skip
def test_what_a_server_says_of_a_device_is_understood(
    server_that_knows: Callable[[str], dict[str, str]], devices: str, says: str
) -> None:
    with pytest.raises(DeviceUnreachableError, match=says):
        open_adb(environ=server_that_knows(devices))


def test_a_serial_number_may_hold_a_space(server_that_knows: Callable[[str], dict[str, str]]) -> None:
    serial = "adb-X (2)._adb-tls-connect._tcp"
    assert open_adb(environ=server_that_knows(f"{serial}\tdevice\n")).name == serial


@pytest.mark.parametrize(
    ("state", "what_next"),
    [("unauthorized", "accept the key"), ("offline", "plug it in again"), ("no permissions", "udev rules"),
     ("recovery", "start Android")],
)  # fmt: skip
def test_every_state_says_what_to_do(state: str, what_next: str) -> None:
    with pytest.raises(DeviceUnreachableError, match=f"0123ABC: .*{what_next}"):
        states.check_state("0123ABC", state)


def test_the_only_device_needs_no_name() -> None:
    assert states.choose(None, {"0123ABC": "device"}) == "0123ABC"
    with pytest.raises(DeviceUnreachableError, match="plug one in"):
        states.choose(None, {})


@pytest.mark.parametrize("way", WAYS)
def test_a_cable_pulled_in_the_middle_of_a_transfer_is_said(
    device: AdbdDevice, reach, tmp_path: Path, way
) -> None:
    shell = reach(device, way)
    endless, there = tmp_path / "endless", "/data/local/tmp/big"
    os.mkfifo(endless)
    unplug = threading.Thread(target=fill_and_unplug, args=(endless, device.path(there), device))
    unplug.start()
    with pytest.raises(DeviceLostError, match=f"{device.address}: the device went away while writing files"):
        shell.push([Upload(source=endless, target=there)])
    unplug.join()
    with pytest.raises(DeviceError):
        shell.run("true")


def fill_and_unplug(pipe: Path, there: Path, device: AdbdDevice) -> None:
    """Write to a pipe for as long as somebody reads; unplug a device once some of it is there."""
    with contextlib.suppress(BrokenPipeError), pipe.open("wb", buffering=0) as file:
        while not (there.exists() and there.stat().st_size):
            file.write(bytes(1 << 16))
        device.unplug()
        while True:
            file.write(bytes(1 << 16))


@pytest.mark.parametrize("way", WAYS)
def test_a_silent_device_is_given_up(device: AdbdDevice, reach, way) -> None:
    shell = reach(device, way)
    device.freeze()
    began_s = time.monotonic()
    with pytest.raises(DeviceUnreachableError, match="running `true`"):
        shell.run("true", timeout_s=0.5)
    assert time.monotonic() - began_s < 15
    device.plug()


def test_a_running_server_is_left_running(device: AdbdDevice, environ: dict[str, str], reach) -> None:
    reach(device, "server").close()
    assert open_adb(device.address, environ=environ).run("echo in").stdout == "in\n"


def test_auto_is_direct_where_no_server_runs(device: AdbdDevice, no_server: dict[str, str]) -> None:
    shell = open_adb(device.address, environ=no_server)
    assert shell.run("echo in").stdout == "in\n"
    shell.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(no_server["ANDROID_ADB_SERVER_PORT"])), timeout=10)


def tell_all(listener: socket.socket, devices: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            with listener.accept()[0] as connection:
                if connection.recv(4096) == b"000chost:devices":
                    connection.sendall(b"OKAY%04x%s" % (len(devices), devices.encode()))


@pytest.fixture
def wireless() -> Iterator[str]:
    """Return an address where adbd answers as wireless debugging does: it wants TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=ask_all_for_tls, args=(listener,), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def no_server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Return what names an adb server that does not run."""
    with held_port() as port:
        yield {"HOME": str(tmp_path), "ANDROID_ADB_SERVER_PORT": str(port)}


def test_wireless_debugging_gets_a_server_where_none_runs(
    wireless: str, no_server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adb = tmp_path / "adb"
    adb.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\n')
    adb.chmod(0o755)
    monkeypatch.setenv("ADBUTILS_ADB_PATH", str(adb))
    port = no_server["ANDROID_ADB_SERVER_PORT"]
    with pytest.raises(DeviceUnreachableError, match=rf"{wireless}: the adb server on port {port} fails"):
        open_adb(wireless, environ=no_server)  # the one that it started is none
    assert f"-P {port} start-server" in (tmp_path / "calls").read_text()


def test_wireless_debugging_without_an_adb_says_that_it_needs_a_server(
    wireless: str, no_server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeviceUnreachableError, match=f"{wireless}: this is wireless debugging.*start-server"):
        open_adb(wireless, way="direct", environ=no_server)
    monkeypatch.delenv("ADBUTILS_ADB_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("adbutils._utils._get_bin_dir", lambda: str(tmp_path))
    with pytest.raises(
        ConfigError, match=f"{wireless}: this is wireless debugging.*no adb to start one.*adb tcpip 5555"
    ):
        open_adb(wireless, environ=no_server)


def ask_all_for_tls(listener: socket.socket) -> None:
    code = int.from_bytes(b"STLS", "little")
    with contextlib.suppress(OSError):
        while True:
            with listener.accept()[0] as connection:
                connection.recv(24)
                connection.sendall(struct.pack("<6I", code, 0x0100_0000, 0, 0, 0, code ^ 0xFFFF_FFFF))
                connection.recv(4096)


def hang_up_on_all(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            listener.accept()[0].close()
