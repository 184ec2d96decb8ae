"""adb without a cable: pairing a device, and connecting to it, through the adb server.

Since Android 11 a device pairs: its developer options show an address and a code of six digits, once. Older ones listen for
adb on a port after they were told so over the cable. Only the server can do either: it keeps the key that the device knows.
"""

import os
import re
import time
from collections.abc import Mapping

from chamnet.errors import ConfigError, DeviceError, DeviceUnreachableError
from chamnet_host.transport.adb.adbutils_link import ask_server, ensure_server
from chamnet_host.transport.adb.device import AdbShell
from chamnet_host.transport.adb.servers import server_port

__all__ = ["connect_network", "listen_on_network", "pair"]

_PORT = 5555  # adb's own
_PAIR_S = 30.0
_CONNECT_S = 20.0
_PAUSE_S = 0.5
_CODE = re.compile(r"\d{6}")
_ADDRESS = re.compile(r"inet (\d+\.\d+\.\d+\.\d+)")


def pair(address: str, code: str, *, environ: Mapping[str, str] | None = None) -> None:
    """Make a device know this machine's key.

    Args:
        address: `HOST:PORT` that the device shows while it pairs; not the one it is connected to at.
        code: The six digits beside it.
        environ: Of the process: says where the server is.

    Raises:
        ConfigError: The code is not one, or there is no adb.
        DeviceUnreachableError: The device refuses, or does not answer.
    """
    if not _CODE.fullmatch(code):
        raise ConfigError("the pairing code is six digits, as the device shows it")
    answer = _ask_server(f"host:pair:{code}:{address}", _PAIR_S, environ)
    if not answer.startswith("Successfully paired"):
        raise DeviceUnreachableError(
            f"{address}: {answer}; the device must show its pairing code now (Developer options, Wireless debugging, Pair device"
            " with pairing code), and both must be in the same network"
        )


def connect_network(
    address: str, *, patience_s: float = 0.0, environ: Mapping[str, str] | None = None
) -> None:
    """Connect the adb server to a device that listens.

    Args:
        address: `HOST:PORT` where adbd listens.
        patience_s: For a device that has only just been told to.
        environ: Of the process: says where the server is.

    Raises:
        ConfigError: There is no adb.
        DeviceUnreachableError: Nobody answers there.
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        answer = _ask_server(f"host:connect:{address}", _CONNECT_S, environ)
        if answer.startswith(("connected to", "already connected")):
            return
        if time.monotonic() >= deadline_s:
            break
        time.sleep(_PAUSE_S)
    raise DeviceUnreachableError(
        f"{address}: {answer}; is wireless debugging on, and is it the address that the device shows there (its port changes)?"
    )


def listen_on_network(shell: AdbShell) -> str:
    """Tell a device on a cable to listen for adb on its network, until it restarts; return `HOST:PORT`.

    adbd starts anew for that: connect with some patience.

    Raises:
        DeviceError: It is in no network, or adbd refuses.
    """
    interfaces = "; ".join(f"ip -f inet addr show {each} 2>/dev/null" for each in ("wlan0", "eth0"))
    found = _ADDRESS.search(shell.run(interfaces).stdout)
    if not found:
        raise DeviceError(f"{shell.name}: it is in no network; connect it to the same Wi-Fi as this machine")
    shell.listen(_PORT)
    return f"{found[1]}:{_PORT}"


def _ask_server(service: str, timeout_s: float, environ: Mapping[str, str] | None) -> str:
    environ = os.environ if environ is None else environ
    port = server_port(environ)
    ensure_server(port, environ)
    try:
        return ask_server(port, service, timeout_s=timeout_s)
    except OSError as error:
        return str(error).strip() or type(error).__name__
