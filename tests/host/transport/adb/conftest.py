from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from adbd_device import AdbdDevice
from adbd_fixtures import AdbServer

from chamnet_host.transport.adb.device import AdbShell
from chamnet_host.transport.adb.ways import Way, open_adb

Opener = Callable[..., AdbShell]


@pytest.fixture
def environ(adb_server: AdbServer) -> dict[str, str]:
    """Return what says that the private server and its key are to be used."""
    return {"HOME": str(adb_server.home), "ANDROID_ADB_SERVER_PORT": str(adb_server.port)}


@pytest.fixture
def reach(environ: dict[str, str]) -> Iterator[Opener]:
    """Return a function that opens the shell of a device; closed with the test."""
    with ExitStack() as stack:

        def reach(device: AdbdDevice, way: Way) -> AdbShell:
            shell = open_adb(device.address, way=way, environ=environ)
            stack.callback(shell.close)
            return shell

        yield reach
