"""From a serial number to a device's shell, by the way that fits."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Literal

from chamnet.errors import ConfigError, DeviceUnreachableError
from chamnet_host.transport.adb.device import AdbShell
from chamnet_host.transport.adb.link import Link, WirelessDebuggingError
from chamnet_host.transport.adb.servers import server_port, server_runs

__all__ = ["Way", "open_adb"]

Way = Literal["auto", "server", "direct"]


def open_adb(
    serial: str | None = None,
    *,
    way: Way = "auto",
    accept_s: float = 10.0,
    environ: Mapping[str, str] | None = None,
) -> AdbShell:
    """Reach a device by adb.

    Args:
        serial: Its serial number as `adb devices` shows it, or `HOST:PORT`; None for the only one.
        way: `server` asks the adb server that runs, or starts one as adb would; `direct` connects to `HOST:PORT`
            without any; `auto` is direct for a `HOST:PORT` where no server runs, but for wireless debugging, which
            needs one.
        accept_s: For a person to accept this machine's key on the device's screen.
        environ: Of the process: says where the server is, and the key.

    Raises:
        ConfigError: adb is not installed, or it is not said which device.
        DeviceUnreachableError: It is not there, or does not let this machine in.
    """
    environ = os.environ if environ is None else environ
    if missing := [package for package in ("adbutils", "adb_shell") if find_spec(package) is None]:
        raise ConfigError(
            f"devices over adb need {' and '.join(missing)}; install with: pip install 'chamnet[adb]'"
        )
    port = server_port(environ)
    networked = serial is not None and ":" in serial
    direct = way == "direct" or (way == "auto" and networked and not server_runs(port))
    if not direct:
        return AdbShell(_through_server(serial, port, environ))
    try:
        return AdbShell(_direct(serial, accept_s, environ))
    except WirelessDebuggingError as error:
        if way == "direct":
            raise DeviceUnreachableError(f"{error}; start one: adb start-server") from error
        try:
            return AdbShell(_through_server(serial, port, environ))
        except ConfigError as absent:
            raise ConfigError(f"{error}; {absent}") from absent


def _direct(serial: str | None, accept_s: float, environ: Mapping[str, str]) -> Link:
    from chamnet_host.transport.adb.adb_shell_link import DirectLink, default_key

    if serial is None:
        raise ConfigError("which device? without an adb server it has to be named, as HOST:PORT")
    return DirectLink(serial, key=default_key(environ), accept_s=accept_s)


def _through_server(serial: str | None, port: int, environ: Mapping[str, str]) -> Link:
    from chamnet_host.transport.adb.adbutils_link import ServerLink

    return ServerLink(serial, port=port, environ=environ)
