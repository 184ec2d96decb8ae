"""Which device of a profile is meant, where several of the kind can be reached: `--serial`."""

from collections.abc import Sequence
from dataclasses import replace

from chamnet.errors import ConfigError
from chamnet_host.profiles import DeviceProfile

__all__ = ["devices_of", "serial_of", "with_serial"]


def with_serial(device: DeviceProfile, serial: str | None) -> DeviceProfile:
    """Return a profile that means one device: over adb by its serial, over ssh by its host, directly by its address.

    Args:
        device: The profile.
        serial: Goes before what the profile says; None leaves that.

    Raises:
        ConfigError: The profile is of a device that there is one of, or has its address.
    """
    if serial is None:
        return device
    if not serial:
        raise ConfigError("--serial '': give a serial number, a host or an address")
    if (
        device.is_deployed
        and device.address
        and "{serial}" not in device.address
        and serial != serial_of(device)
    ):
        raise ConfigError(
            f"--serial {serial}: target {device.name!r} has the address = {device.address!r} of one device; write {{serial}} there"
            " for the host that each is reached at, or leave `address` out"
        )
    if device.transport == "adb":
        return replace(device, serial=serial)
    if device.transport == "ssh":
        return replace(device, host=serial)
    if device.transport == "direct":
        return replace(device, address=serial)
    raise ConfigError(
        f"--serial {serial}: target {device.name!r} is one machine (transport {device.transport!r}); --serial chooses among"
        " devices over adb, hosts over ssh, and addresses of running agents (transport 'direct')"
    )


def devices_of(device: DeviceProfile, serials: Sequence[str]) -> list[DeviceProfile]:
    """Return the profile of each device that was named; the profile itself where none was.

    Raises:
        ConfigError: One was named twice, or the profile is of a device that there is one of.
    """
    if twice := sorted({serial for serial in serials if serials.count(serial) > 1}):
        raise ConfigError(f"--serial {twice[0]} is given twice; name each device once")
    return [with_serial(device, serial) for serial in serials] or [device]


def serial_of(device: DeviceProfile) -> str:
    """Return what visits of a device are stored with; empty where the profile does not tell it from others."""
    return {"adb": device.serial, "ssh": device.host, "direct": device.address}.get(device.transport, "")
