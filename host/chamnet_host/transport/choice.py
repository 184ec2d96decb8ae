"""From a device profile to the transport it asks for."""

from pathlib import Path

from chamnet.errors import ConfigError
from chamnet_host.profiles import DeviceProfile
from chamnet_host.transport.base import Transport
from chamnet_host.transport.direct import DirectTransport
from chamnet_host.transport.local import LocalTransport

__all__ = ["transport_of"]


def transport_of(device: DeviceProfile) -> Transport:
    """Return the transport of a profile, not yet open.

    Raises:
        ConfigError: The target is a table without a device.
    """
    if device.transport == "absent":
        raise ConfigError(
            f"target {device.name!r} is an imported table: it can be searched, but not measured; a device profile"
            f" {device.name}.toml would say how to reach the device"
        )
    if device.transport == "direct":
        token_file = Path(device.token_file).expanduser() if device.token_file else None
        tls = Path(device.tls).expanduser() if device.tls else None
        return DirectTransport(device.address, token_file=token_file, tls=tls)
    return LocalTransport(
        backend=device.backend or None, cores=device.cores, threads=device.threads, governor=device.governor
    )
