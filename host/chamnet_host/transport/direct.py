"""An agent at a known address: one that somebody else started, or at this end of a tunnel."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from chamnet.errors import ConfigError, DeviceUnreachableError, TokenError
from chamnet.wire.endpoint import Endpoint, default_state_dir, is_loopback, read_token
from chamnet_host.client import DeviceClient
from chamnet_host.transport.base import Connection

__all__ = ["DirectTransport"]


class DirectTransport:
    """Reaches an agent at `HOST:PORT`.

    Args:
        address: Loopback, such as the near end of `adb forward` or `ssh -L`; with `tls` any.
        token_file: Holds the agent's token; None for that of an agent on this machine.
        tls: Folder of the host's certificates; None for a loopback address.
        timeout_s: For the agent to answer.
        environ: Says where an agent on this machine keeps its files.
    """

    def __init__(
        self,
        address: str,
        *,
        token_file: Path | None = None,
        tls: Path | None = None,
        timeout_s: float = 10.0,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._host, self._port = _parsed(address)
        self._address = address
        self._token_file, self._tls = token_file, tls
        self._timeout_s = timeout_s
        self._state_dir = default_state_dir(os.environ if environ is None else environ)

    def open(self) -> Connection:
        """Return the address with its token; the agent answers there.

        Raises:
            DeviceUnreachableError: It does not.
            TokenError: No token file, or the agent refuses what it holds.
            ConfigError: The address leaves this machine without certificates, or these are not valid now.
        """
        if self._tls is None and not is_loopback(self._host):
            raise ConfigError(
                f"{self._address}: leaves this machine, and the token would cross the network readable; forward the agent's"
                " port with ssh -L or adb forward and give the near end, or name certificates as `tls` in a device profile"
                " (`chamnet-host certify` makes them)"
            )
        if self._tls is not None:
            from chamnet_host.transport.certificates import check_dates

            check_dates(self._tls)
        self._knock()
        token = read_token(self._token_file or self._own_token_file())
        with DeviceClient(self._address, token, timeout_s=self._timeout_s, tls=self._tls) as client:
            client.health()
        return Connection(self._address, token, self._tls)

    def close(self) -> None:
        """Do nothing: `open` starts nothing."""

    def last_words(self) -> str:
        """Return nothing: the agent's log is not in reach."""
        return ""

    def _knock(self) -> None:
        """Tell a port where nobody listens from a token that is missing."""
        try:
            socket.create_connection((self._host, self._port), timeout=self._timeout_s).close()
        except OSError as error:
            raise DeviceUnreachableError(
                f"{self._address}: no agent answers ({error.strerror or error}); start one with: "
                f"chamnet-agent serve --port {self._port}"
            ) from error

    def _own_token_file(self) -> Path:
        """Return the token file of the agent on this machine, if that is the one at the address."""
        endpoint = Endpoint.load(self._state_dir)
        if endpoint is None or endpoint.port != self._port:
            raise TokenError(
                f"{self._address}: no token for it, for the agent of {self._state_dir} does not listen there; "
                "copy the token file from that agent's state directory, and name it as token_file in a device profile "
                "(device_profiles/README.md)"
            )
        return Path(endpoint.token_file)


def _parsed(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise ConfigError(f"{address!r}: expected HOST:PORT, such as 127.0.0.1:8799")
    return host.strip("[]"), int(port)
