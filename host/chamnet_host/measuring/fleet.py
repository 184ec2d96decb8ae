"""Devices that share a campaign: whether they are of one kind, and whether what they measure agrees."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

from chamnet.errors import ConfigError, DeviceError
from chamnet.lut import Platform
from chamnet.lut.agreement import Standing, compare_devices
from chamnet.records import DeviceInfo
from chamnet_host.devices.preflight import obstacles
from chamnet_host.devices.reach import KeptConnection, connect
from chamnet_host.devices.serials import serial_of
from chamnet_host.profiles import DeviceProfile
from chamnet_host.workspace import Workspace

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["Member", "compare", "meet", "reached_all"]

log = logging.getLogger(__name__)

_OF_MACHINE = ("cpu_model", "arch", "cpu_flags", "clusters")  # what `DeviceInfo.identity` is made of


@dataclass(frozen=True)
class Member:
    """A device of a campaign.

    Attributes:
        device: Its profile.
        connect: Its connection, kept between steps.
    """

    device: DeviceProfile
    connect: KeptConnection

    @property
    def serial(self) -> str:
        """What its visits are stored with."""
        return serial_of(self.device)


@contextmanager
def reached_all(devices: Iterable[DeviceProfile]) -> Iterator[list[Member]]:
    """Keep a connection to each device, opened when it is first used, and end all."""
    with ExitStack() as held:
        yield [
            Member(device, held.enter_context(KeptConnection(partial(connect, device)))) for device in devices
        ]


def meet(workspace: Workspace, members: Sequence[Member], *, strict: bool = False) -> Platform:
    """Connect to each device; return the platform that they all are, after warning of what slows one down.

    Raises:
        ConfigError: They are not of one kind, or two are the same device.
        DeviceError: One cannot be reached; or one is throttled or low on power, and `strict` was asked for.
    """
    met: list[tuple[str, Platform, DeviceInfo]] = []
    clients: list[tuple[str, DeviceClient]] = []
    for member in members:
        name = member.serial if len(members) > 1 else workspace.device.name
        with member.connect() as client:
            info = client.describe()
            met.append((name, workspace.platform_now(client), info))
            clients.append((name, client))
        hindered = obstacles(info)
        if hindered and strict:
            raise DeviceError(f"{name}: {'; '.join(hindered)}. Leave --strict out to measure all the same")
        for each in hindered:
            log.warning("%s: %s", name, each)
    for (name, client), (other_name, other) in combinations(clients, 2):
        if client.is_same_agent(other):
            raise ConfigError(f"--serial {name} and --serial {other_name} are one device; name it once")
    first, *others = met
    if found := [text for other in others for text in _differences(first, other)]:
        raise ConfigError(
            f"these devices are not of one kind, so they cannot share a table: {'; '.join(found)}. Profile each kind under a"
            " device profile of its own"
        )
    return first[1]


def compare(workspace: Workspace, serials: Sequence[str], *, lut_id: int, session: int) -> list[Standing]:
    """Return how each of several devices compares with the others, by what is stored.

    Args:
        workspace: Holds the visits.
        serials: Of the devices.
        lut_id: Of their table.
        session: Of the calibration.
    """
    digests = {network.digest for network in workspace.calibration}
    return compare_devices(workspace.store.visits(lut_id, "network"), serials, digests, session=session)


def _differences(
    one: tuple[str, Platform, DeviceInfo], other: tuple[str, Platform, DeviceInfo]
) -> Iterator[str]:
    """Yield each field in which a device is of another kind than the first."""
    (first_name, first, first_info), (name, platform, info) = one, other
    pairs = [
        (field.name, getattr(first, field.name), getattr(platform, field.name))
        for field in fields(Platform)
        if field.name not in ("device", "device_name")
    ]
    pairs += [(each, getattr(first_info, each), getattr(info, each)) for each in _OF_MACHINE]
    for what, there, here in pairs:
        if what == "cpu_flags":
            there, here = sorted({*there} - {*here}), sorted({*here} - {*there})
        if what == "clusters":
            there, here = ([(len(c.cores), c.max_khz) for c in clusters] for clusters in (there, here))
        if there != here:
            yield f"{what} is {here} on {name} and {there} on {first_name}"
