"""A device at a network address, without any adb server: the adb-shell package makes and authorises the connection."""

import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from adb_shell import exceptions
from adb_shell.adb_device import AdbDevice
from adb_shell.auth.keygen import keygen, write_public_keyfile
from adb_shell.auth.sign_pythonrsa import PythonRSASigner
from adb_shell.transport.base_transport import BaseTransport

from chamnet.errors import ConfigError, DeviceUnreachableError
from chamnet_host.transport.adb.forwarding import Forward
from chamnet_host.transport.adb.link import WirelessDebuggingError
from chamnet_host.transport.adb.multiplexer import Multiplexer, MuxStream
from chamnet_host.transport.adb.states import UNAUTHORISED

__all__ = ["DirectLink", "default_key"]

_FOREIGN = (
    OSError,
    ValueError,
    exceptions.AdbTimeoutError,
    exceptions.DeviceAuthError,
    exceptions.InvalidChecksumError,
    exceptions.InvalidCommandError,
    exceptions.InvalidResponseError,
)


class DirectLink:
    """A device whose adbd listens at an address.

    Args:
        address: `HOST:PORT`.
        key: File of the private key to show; made if absent, with `.pub` beside it.
        timeout_s: For the device to answer.
        accept_s: For a person to accept the key on its screen.

    Raises:
        ConfigError: The address is none, or the key cannot be used.
        DeviceUnreachableError: Nobody answers, or the device does not accept the key.
        WirelessDebuggingError: Only an adb server can talk to it.
    """

    def __init__(self, address: str, *, key: Path, timeout_s: float = 10.0, accept_s: float = 10.0) -> None:
        self._address = address
        self._forwards: list[Forward] = []
        transport = _Connection(address)
        signer = _signer(key)
        device = AdbDevice(transport, default_transport_timeout_s=timeout_s)
        try:
            device.connect([signer], auth_timeout_s=accept_s, read_timeout_s=timeout_s)
        except _FOREIGN as error:
            transport.close()
            if transport.wants_tls:
                raise WirelessDebuggingError(
                    f"{address}: this is wireless debugging, which only an adb server can use"
                ) from error
            raise DeviceUnreachableError(f"{address}: {_why(error, transport)}") from error
        self._multiplexer = Multiplexer(transport.taken(), chunk_bytes=device.max_chunk_size)

    @property
    def serial(self) -> str:
        """The address."""
        return self._address

    def open(self, service: str, *, timeout_s: float) -> MuxStream:
        """Open a service."""
        return self._multiplexer.open(service, timeout_s=timeout_s)

    def forward(self, port: int) -> int:
        """Return a port here that leads to one there."""
        forward = Forward(self._multiplexer, port)
        self._forwards.append(forward)
        return forward.port

    def close(self) -> None:
        """End forwards and hang up."""
        for forward in self._forwards:
            forward.close()
        self._multiplexer.close()


class _Connection(BaseTransport):  # type: ignore[misc]
    """The connection that adb-shell works on, until it is taken.

    Attributes:
        asked: Whether the device has asked for a key.
        wants_tls: Whether it has asked for TLS.
    """

    def __init__(self, address: str) -> None:
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdecimal():
            raise ConfigError(f"{address!r}: expected HOST:PORT, such as 192.168.1.20:5555")
        self._place = (host.strip("[]"), int(port))
        self._socket: socket.socket | None = None
        self.asked = False
        self.wants_tls = False

    def connect(self, timeout_s: float | None) -> None:
        self._socket = socket.create_connection(self._place, timeout=timeout_s)
        # or each answer waits for the acknowledgement of half a message: 40 ms
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def bulk_read(self, numbytes: int, timeout_s: float | None) -> bytes:
        self._open.settimeout(timeout_s)
        content = self._open.recv(numbytes)
        if not content:
            raise ConnectionError("the device hung up")
        self.asked = self.asked or content[:4] == b"AUTH"
        self.wants_tls = self.wants_tls or content[:4] == b"STLS"
        return content

    def bulk_write(self, data: bytes, timeout_s: float | None) -> int:
        self._open.settimeout(timeout_s)
        self._open.sendall(data)
        return len(data)

    def taken(self) -> socket.socket:
        """Return the socket; from now on it is the caller's."""
        taken, self._socket = self._open, None
        return taken

    @property
    def _open(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionError("not connected")
        return self._socket


def default_key(environ: Mapping[str, str]) -> Path:
    """Return the key that adb itself shows to devices, which those that know this machine accept."""
    home = environ.get("ANDROID_USER_HOME") or Path(environ.get("HOME") or Path.home()) / ".android"
    return Path(home) / "adbkey"


def _signer(key: Path) -> PythonRSASigner:
    public = key.with_name(f"{key.name}.pub")
    try:
        if not key.exists():
            _make(key)
        if not public.exists():
            write_public_keyfile(str(key), str(public))
        return PythonRSASigner(public.read_text(encoding="ascii"), key.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key}: cannot be used as adb's key ({error})") from error


def _make(key: Path) -> None:
    """Write a new key that nobody else can read at any time."""
    key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=key.parent) as private:
        made = Path(private) / key.name
        keygen(str(made))
        made.chmod(0o600)
        made.rename(key)


def _why(error: Exception, transport: _Connection) -> str:
    if transport.asked:
        return UNAUTHORISED
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there; switch on wireless debugging, or once over USB: adb tcpip 5555"
    return (
        f"adbd does not answer ({error or type(error).__name__}); is the address right, and the device awake?"
    )
