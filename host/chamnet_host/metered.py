"""What a store knows of energy: which meters there are, which networks were measured, and what to say where there is nothing."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from chamnet.errors import ConfigError, NotProfiledError
from chamnet.lut import EnergyRow, Platform, Store, metered_by
from chamnet.networks import Network, load_all
from chamnet.records import DeviceInfo
from chamnet.space import SearchSpace

__all__ = ["held_networks", "keep_meters", "no_energy"]

_SAID = 160  # characters of an error on a device that are repeated


def keep_meters(store: Store, platform: Platform, info: DeviceInfo) -> None:
    """Keep which meters a device has, for whoever asks for energy before any was measured."""
    meters = {meter.name: meter.why_not for meter in info.meters}
    store.put(f"meters:{platform.digest}", json.dumps(meters))


def no_energy(
    store: Store, lut_id: int, platform: Platform, target: str, *, serial: str = ""
) -> NotProfiledError:
    """Return the error of a target without energy: what to run, which meters it has, and what was tried.

    Args:
        store: Holds what was measured.
        lut_id: Of the target's platform.
        platform: That platform.
        target: Its name.
        serial: Of the device, where it is one of several.
    """
    which = f"{target} ({serial})" if serial and serial != target else target
    said = f"no energy was measured on {which}; run `chamnet-host profile --energy --target {target}`"
    if others := sorted({each.serial or "a device without a serial" for each in metered_by(store, lut_id)}):
        said += f"; of its kind only {', '.join(others)} was, and each draws power of its own"
    held = store.get(f"meters:{platform.digest}")
    if held is not None:
        meters: dict[str, Any] = json.loads(held)
        works = [name for name, why_not in meters.items() if why_not is None]
        broken = [f"{name} ({why_not})" for name, why_not in meters.items() if why_not is not None]
        said += f"; meters that work there: {', '.join(works) or 'none'}"
        said += f"; that do not: {', '.join(broken)}" if broken else ""
    failed = store.query(
        "SELECT status, message, COUNT(*) FROM visit WHERE lut_id = ? AND mode = 'energy' AND energy IS NULL"
        " GROUP BY status, message ORDER BY MAX(id) DESC LIMIT 1",
        (lut_id,),
    )
    for status, message, count in failed:
        lines = message.strip().splitlines() or [""]
        said += f"; {count} tries ended as {status}: {lines[0][:_SAID]}"
    return NotProfiledError(said)


def held_networks(
    rows: Iterable[EnergyRow], space: SearchSpace, known: Sequence[Network]
) -> tuple[Network, ...]:
    """Return the networks that rows are of: of those known, of the space by genome, or published ones.

    Others are left out: a digest alone does not say what a network is made of.
    """
    by_digest = {network.digest: network for network in known}
    found = []
    for row in rows:
        network = by_digest.get(row.key) or _named(row.name, space)
        if network is not None and network.digest == row.key:
            found.append(network)
    return tuple(found)


def _named(name: str, space: SearchSpace) -> Network | None:
    if name in load_all():
        return load_all()[name].build().cast(space.dtype)
    try:
        return space.decode(space.parse_genome(name))
    except ConfigError:
        return None
