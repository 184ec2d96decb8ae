"""An agent on a device that answers in its network, with certificates that this host makes and puts there."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from chamnet.errors import ConfigError
from chamnet_host.transport.shell import DeviceShell, Upload

__all__ = ["Networked"]

_FILES = ("agent.key", "agent.crt", "host.crt")
_EVERY_INTERFACE = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class Networked:
    """Where an agent answers instead of behind a tunnel.

    Attributes:
        address: `HOST:PORT` of the device.
        certificates: Folder of this host's, one for each device; made when it is missing, renewed when they have ended.
    """

    address: str
    certificates: Path

    def __post_init__(self) -> None:
        """Check the address.

        Raises:
            ConfigError: It is none.
        """
        host, colon, port = self.address.rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise ConfigError(f"address {self.address!r}: expected HOST:PORT, such as 192.168.0.7:8799")

    @property
    def tls(self) -> Path:
        """Folder of the host's side."""
        return self.certificates / "host"

    def flags(self, folder: str) -> tuple[str, ...]:
        """Return the options of the agent; `folder` on the device holds its side of the certificates."""
        host, _, port = self.address.rpartition(":")
        try:
            listens_on = str(ipaddress.ip_address(host.strip("[]")))
        except ValueError:
            listens_on = _EVERY_INTERFACE
        return "--host", listens_on, "--port", port, "--tls", folder

    def prepare(self, shell: DeviceShell, folder: str, *, now: datetime | None = None) -> None:
        r"""Put the agent's side on the device, readable by its user alone; make both sides before, if need be.

        Raises:
            ConfigError: They cannot be made: chamnet\[tls] is not installed, or the folder cannot be written.
            DeviceError: The device does not take them.
        """
        from chamnet_host.transport.certificates import check_dates, make_certificates, remove_certificates

        if self.tls.is_dir():
            try:
                check_dates(self.tls, now=now)
            except ConfigError:
                remove_certificates(self.certificates)
        if not self.tls.is_dir():
            make_certificates(self.certificates, now=now)
        side = self.certificates / "agent"
        shell.push(Upload(source=side / name, target=f"{folder}/{name}", mode=0o600) for name in _FILES)
