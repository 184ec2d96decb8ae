"""Devices known to an adb server, by the adbutils package.

The server is the user's own: one that runs is used as it is, whatever its version, and never ended. Only where none runs
is one started, as any adb command would.
"""

import contextlib
import socket
import subprocess
from collections.abc import Mapping

from adbutils import AdbError, adb_path

from chamnet.errors import ConfigError, DeviceUnreachableError
from chamnet_host.transport.adb.link import ServiceRefusedError
from chamnet_host.transport.adb.servers import server_runs
from chamnet_host.transport.adb.states import check_state, choose

__all__ = ["ServerLink", "ask_server", "ensure_server"]

_HOST = "127.0.0.1"
_START_S = 20.0
_ANSWER_S = 10.0
_CONNECT_S = 20.0


class ServerLink:
    """A device that an adb server knows.

    Args:
        serial: Its serial number; `HOST:PORT` is connected to if the server does not know it yet; None for the only one.
        port: Of the server.
        environ: For a server that has to be started: says where the key is.

    Raises:
        ConfigError: No server runs and there is no adb to start one, or several devices and no serial.
        DeviceUnreachableError: The device is absent, offline, or has not authorised this machine.
    """

    def __init__(self, serial: str | None, *, port: int, environ: Mapping[str, str]) -> None:
        self._port = port
        ensure_server(port, environ)
        self._forwards: list[int] = []
        try:
            self._serial = self._found(serial)
        except (OSError, EOFError, ValueError) as error:
            raise DeviceUnreachableError(
                f"{serial or 'adb'}: the adb server on port {self._port} fails ({error}); see: adb devices"
            ) from error

    @property
    def serial(self) -> str:
        """Serial number."""
        return self._serial

    def open(self, service: str, *, timeout_s: float) -> "SocketStream":
        """Open a service.

        Raises:
            ServiceRefusedError: It is not offered.
            OSError: The device is gone.
        """
        stream = self._ask(f"host:tport:serial:{self._serial}", timeout_s)
        try:
            stream.read(8, timeout_s=timeout_s)  # the server's number of the device
            _request(stream, service, timeout_s)
        except BaseException:
            stream.close()
            raise
        return stream

    def forward(self, port: int) -> int:
        """Return a port here, chosen by the server, that leads to one there."""
        service = f"host-serial:{self._serial}:forward:tcp:0;tcp:{port}"
        with contextlib.closing(self._ask(service, _ANSWER_S)) as stream:
            _check(stream, service, _ANSWER_S)
            length = int(stream.read(4, timeout_s=_ANSWER_S), 16)
            local = int(stream.read(length, timeout_s=_ANSWER_S))
        self._forwards.append(local)
        return local

    def close(self) -> None:
        """End forwards."""
        forwards, self._forwards = self._forwards, []
        for local in forwards:
            with contextlib.suppress(OSError):  # the server drops them with the device
                self._ask(f"host-serial:{self._serial}:killforward:tcp:{local}", _ANSWER_S).close()

    def _found(self, serial: str | None) -> str:
        """Return the serial number of the device that is meant, ready to be used."""
        states = self._states()
        if serial is not None and ":" in serial and states.get(serial) != "device":
            with contextlib.suppress(ConnectionError):  # it is not connected
                ask_server(
                    self._port, f"host:disconnect:{serial}", timeout_s=_ANSWER_S
                )  # else it may stay refused
            answer = ask_server(self._port, f"host:connect:{serial}", timeout_s=_CONNECT_S)
            states = self._states()
            if serial not in states:
                raise DeviceUnreachableError(
                    f"{serial}: {answer}; is adb over network on there? Wireless debugging has to be paired first:"
                    " chamnet-host devices connect --wifi HOST:PORT --pair HOST:PORT"
                )
        chosen = choose(serial, states)
        check_state(chosen, states[chosen])
        return chosen

    def _states(self) -> dict[str, str]:
        """Return the state of each device; serial numbers and states may hold spaces."""
        lines = ask_server(self._port, "host:devices", timeout_s=_ANSWER_S).splitlines()
        pairs = (line.partition("\t") for line in lines)
        return {serial: state for serial, tab, state in pairs if tab}

    def _ask(self, service: str, timeout_s: float) -> "SocketStream":
        stream = SocketStream(socket.create_connection((_HOST, self._port), timeout=timeout_s))
        try:
            _request(stream, service, timeout_s)
        except BaseException:
            stream.close()
            raise
        return stream


class SocketStream:
    """A stream that is a connection to the server."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection

    def read(self, count: int, *, timeout_s: float) -> bytes:
        """Return exactly `count` bytes."""
        self._socket.settimeout(timeout_s)
        content = bytearray()
        while len(content) < count:
            chunk = self._socket.recv(count - len(content))
            if not chunk:
                raise EOFError("the connection was closed")
            content += chunk
        return bytes(content)

    def write(self, content: bytes, *, timeout_s: float) -> None:
        """Send bytes."""
        self._socket.settimeout(timeout_s)
        self._socket.sendall(content)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def ask_server(port: int, service: str, *, timeout_s: float) -> str:
    """Return what the adb server answers to a request that ends with its answer, such as `host:connect:HOST:PORT`.

    Raises:
        ConnectionError: It refuses; says why.
        OSError: It does not answer.
    """
    stream = SocketStream(socket.create_connection((_HOST, port), timeout=timeout_s))
    with contextlib.closing(stream):
        _request(stream, service, timeout_s)
        word = stream.read(4, timeout_s=timeout_s)
        failed = word == b"FAIL"  # after an OKAY, where the work itself failed
        length = int(stream.read(4, timeout_s=timeout_s) if failed else word, 16)
        return stream.read(length, timeout_s=timeout_s).decode(errors="replace").strip()


def ensure_server(port: int, environ: Mapping[str, str]) -> None:
    """Start an adb server, as any adb command would, where none runs.

    Raises:
        ConfigError: There is no adb to start one, or it does not start.
    """
    if server_runs(port):
        return
    try:
        command = [adb_path(), "-P", str(port), "start-server"]
    except AdbError as error:
        raise ConfigError(
            "no adb server runs, and there is no adb to start one; install adb (Android's platform-tools), or name a"
            " device that listens without wireless debugging (adb tcpip 5555) as HOST:PORT"
        ) from error
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_START_S, env=dict(environ))
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"the adb server does not start ({error}); try: {' '.join(command)}") from error


def _request(stream: SocketStream, service: str, timeout_s: float) -> None:
    """Ask the server, or the device behind it, for a service."""
    content = service.encode()
    stream.write(b"%04x" % len(content) + content, timeout_s=timeout_s)
    _check(stream, service, timeout_s)


def _check(stream: SocketStream, service: str, timeout_s: float) -> None:
    if stream.read(4, timeout_s=timeout_s) == b"OKAY":
        return
    length = int(stream.read(4, timeout_s=timeout_s), 16)
    reason = stream.read(length, timeout_s=timeout_s).decode(errors="replace")
    if service.startswith("host"):
        raise ConnectionError(reason)  # the server has lost the device
    raise ServiceRefusedError(reason)
