"""From a device profile to the transport it asks for."""

import os
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
        return DirectTransport(device.address, token_file=token_file)
    if device.transport == "adb":
        return _adb(device)
    return LocalTransport(backend=device.backend or None, cores=device.cores, threads=device.threads)


def _adb(device: DeviceProfile) -> Transport:
    # here, for most devices are reached otherwise
    from chamnet_host.bundles.downloads import default_cache
    from chamnet_host.bundles.recipe import Recipe
    from chamnet_host.transport.adb.transport import AdbTransport

    return AdbTransport(
        default_cache(os.environ) / "bundles" / Recipe.read(device.bundle).name,
        serial=device.serial or None,
        backend=device.backend or None,
        cores=device.cores,
        threads=device.threads,
    )
