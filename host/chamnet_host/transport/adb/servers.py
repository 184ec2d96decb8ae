"""The adb server of this machine, if one runs."""

import socket
from collections.abc import Mapping

__all__ = ["server_port", "server_runs"]

_DEFAULT_PORT = 5037


def server_port(environ: Mapping[str, str]) -> int:
    """Return the port of the adb server: `ANDROID_ADB_SERVER_PORT`, else adb's own default."""
    return int(environ.get("ANDROID_ADB_SERVER_PORT") or _DEFAULT_PORT)


def server_runs(port: int) -> bool:
    """Return whether an adb server listens on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
