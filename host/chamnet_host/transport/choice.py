"""From a device profile to the transport it asks for."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chamnet.errors import ConfigError
from chamnet_host.profiles import DeviceProfile, config_folder
from chamnet_host.transport.base import Transport
from chamnet_host.transport.deployment import Progress
from chamnet_host.transport.direct import DirectTransport
from chamnet_host.transport.local import LocalTransport
from chamnet_host.transport.networked import Networked
from chamnet_host.transport.shell import DeviceShell

__all__ = ["bundle_folder", "deployed_transport", "reached", "transport_of"]


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
        named = device.token_file.replace("{serial}", device.address)
        token_file = Path(named).expanduser() if named else None
        tls = Path(device.tls.replace("{serial}", device.address)).expanduser() if device.tls else None
        return DirectTransport(device.address, token_file=token_file, tls=tls)
    if device.is_deployed:
        return deployed_transport(device)
    return LocalTransport(
        backend=device.backend or None,
        cores=device.cores,
        threads=device.threads,
        governor=device.governor,
        flags=device.agent_flags,
    )


def deployed_transport(
    device: DeviceProfile, progress: Progress = lambda _done, _total, _path: None
) -> Transport:
    """Return the transport of a device that an agent is put on.

    Args:
        device: Over adb or ssh.
        progress: Told what is sent.
    """
    more: dict[str, Any] = {
        "backend": device.backend or None, "cores": device.cores, "threads": device.threads,
        "governor": device.governor, "flags": device.agent_flags, "networked": _networked(device), "progress": progress,
    }  # fmt: skip
    bundle = bundle_folder(device)
    if device.transport == "ssh":
        from chamnet_host.transport.ssh import SshTransport

        return SshTransport(device.host, bundle, options=shlex.split(device.ssh_options), **more)
    from chamnet_host.transport.adb.transport import AdbTransport

    return AdbTransport(bundle, serial=device.serial or None, **more)


def _networked(device: DeviceProfile) -> Networked | None:
    """Return where the agent of a device answers in its network, if it is to.

    Raises:
        ConfigError: Its address is by serial, and it has none.
    """
    if not device.address:
        return None
    host = _host_of(device)
    several = "{serial}" in device.address
    if several and not host:
        raise ConfigError(
            f"target {device.name!r}: {{serial}} in its address stands for a serial; name one with --serial, or in the profile"
        )
    name = f"{device.name}@{host}" if several else device.name
    own = (
        Path(device.tls.replace("{serial}", host)) if device.tls else config_folder() / "certificates" / name
    )
    return Networked(device.address.replace("{serial}", host), own.expanduser())


def _host_of(device: DeviceProfile) -> str:
    """Return where a device is reached, without a user before it or a port of adb's behind."""
    if device.transport == "ssh":
        return device.host.rpartition("@")[2]
    host, _, port = device.serial.rpartition(":")
    return host if port.isdecimal() and host else device.serial


@contextmanager
def reached(device: DeviceProfile) -> Iterator[tuple[DeviceShell, str]]:
    """Open the shell of a device that an agent is put on; give it with the absolute path of the folder there.

    Raises:
        DeviceUnreachableError: It does not answer.
        ConfigError: It is not reached by a shell, or asks for what only the user can answer.
    """
    if device.transport == "ssh":
        from chamnet_host.transport.ssh import FOLDER, SshShell

        shell: DeviceShell = SshShell(device.host, options=shlex.split(device.ssh_options))
    elif device.transport == "adb":
        from chamnet_host.transport.adb.ways import open_adb
        from chamnet_host.transport.deployed import FOLDER

        shell = open_adb(device.serial or None, way="auto", environ=os.environ)
    else:
        raise ConfigError(
            f"target {device.name!r}: nothing is put on it (transport {device.transport!r}); only on devices over adb and ssh"
        )
    from chamnet_host.transport.deployed import at_home

    try:
        yield shell, at_home(shell, FOLDER)
    finally:
        shell.close()


def bundle_folder(device: DeviceProfile) -> Path:
    """Return where the bundle of a device lies, or is to be built."""
    from chamnet_host.bundles.downloads import default_cache
    from chamnet_host.bundles.recipe import Recipe

    return Recipe.read(device.bundle).folder(default_cache(os.environ))
