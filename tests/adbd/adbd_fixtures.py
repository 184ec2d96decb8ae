"""Fixtures of devices that run real adbd, and of an adb server that nobody else uses."""

import os
import platform
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from adbd_device import AdbdDevice, CannotRunError
from adbd_root import CannotFetchError, adbd_root
from held_port import held_port

from chamnet_host.bundles.downloads import default_cache

DeviceStarter = Callable[..., AdbdDevice]

_SERVER_START_S = 60.0


@dataclass(frozen=True)
class AdbServer:
    """A running server.

    Attributes:
        port: Where it listens.
        home: Its home folder, with the key that it shows devices.
    """

    port: int
    home: Path

    @property
    def public_key(self) -> Path:
        """What a device must authorise."""
        return self.home / ".android/adbkey.pub"


@pytest.fixture(scope="session")
def adbd_template() -> Callable[[str], Path]:
    """Return a function that returns the files of a device, by its processor; fetched once for all runs."""

    def template(arch: str) -> Path:
        if platform.machine() != "x86_64":
            pytest.skip("devices are made for x86_64: its own, and emulated ones")
        try:
            return adbd_root(default_cache(os.environ) / "tests", arch)
        except CannotFetchError as error:
            pytest.skip(f"no adbd: {error}")

    return template


@pytest.fixture
def start_device(
    adbd_template: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DeviceStarter]:
    """Return a function that starts a device of a processor; see `AdbdDevice` for what else it takes."""
    with ExitStack() as stack:

        def start(
            arch: str = "x86_64", *, auth: bool = False, binds: dict[Path, str] | None = None
        ) -> AdbdDevice:
            root = tmp_path_factory.mktemp("device") / "root"
            try:
                return stack.enter_context(AdbdDevice(adbd_template(arch), root, auth=auth, binds=binds))
            except CannotRunError as error:
                pytest.skip(str(error))

        yield start


@pytest.fixture
def device(start_device: DeviceStarter) -> AdbdDevice:
    """Return a device that takes every host."""
    return start_device()


@pytest.fixture
def locked_device(start_device: DeviceStarter) -> AdbdDevice:
    """Return a device that takes no host yet."""
    return start_device(auth=True)


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    """Return a server on a port of its own, with a key of its own; it knows no device."""
    adb = pytest.importorskip("adbutils").adb_path()
    home = tmp_path_factory.mktemp("adb-home")
    environ = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554",  # or it looks for emulators, and finds other people's
        "ADB_MDNS_AUTO_CONNECT": "0",
    }
    with held_port() as port:
        command = ["setpriv", "--pdeathsig", "KILL", adb, "-P", str(port), "server", "nodaemon"]
        with (home / "log").open("wb") as log:
            server = subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            _wait_for(port)
            yield AdbServer(port, home)
        finally:
            server.kill()
            server.wait()


def _wait_for(port: int) -> None:
    """Return once the server answers: it listens long before, while it still makes its key."""
    deadline_s = time.monotonic() + _SERVER_START_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=_SERVER_START_S) as connection:
                connection.sendall(b"000chost:version")
                assert connection.recv(4) == b"OKAY"
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)
        else:
            return
