"""What is said of measuring energies: what it will take, and what came of it."""

from typing import Any

from chamnet_host.external.base import is_external
from chamnet_host.measuring.campaign import Tally
from chamnet_host.measuring.energy_campaign import EnergyPlan

__all__ = ["announcement", "energy_body", "energy_report"]


def announcement(plan: EnergyPlan) -> str:
    """Return what will be measured, and how long it takes."""
    batch, rails = plan.batch, plan.batch.policy.rails
    what = f"{_items(len(batch.units), len(batch.networks))}, {_counted(batch.rounds, 'window')} of each"
    by = f"energy by {plan.meter.name}{f' ({rails})' if rails else ''}"
    if is_external(plan.meter.name):
        by += f", read by this machine ({plan.meter.provider})"
    refused = f", {plan.refused:,} refused (see `chamnet-host status`)" if plan.refused else ""
    if not plan.missing:
        return f"{by}: {what} are stored already{refused}"
    left = f"{plan.missing:,} of {batch.items:,} windows" if plan.missing < batch.items else "all"
    if plan.seconds is None:
        return f"{by}: {what}; {left} to go{refused}, for as long as fifty updates of the meter each"
    return f"{by}: {what}; {left} to go{refused}, about {_duration(plan.seconds)}. Let the device lie, screen and all else as it is"


def energy_report(plan: EnergyPlan, tally: Tally) -> str:
    """Return what was stored."""
    failed = f", {tally.failed} not ok (see `chamnet-host status`)" if tally.failed else ""
    return (
        f"{tally.stored:,} windows of energy stored, {tally.before:,} were there before{failed}, by {plan.meter.name};"
        " next: `chamnet-host energy show`, `chamnet-host search --budget 20ms,35mJ`"
    )


def energy_body(plan: EnergyPlan, tally: Tally) -> dict[str, Any]:
    """Return the same for scripts."""
    return {
        "meter": plan.meter.name,
        "rails": plan.batch.policy.rails or None,
        "units": len(plan.batch.units),
        "networks": len(plan.batch.networks),
        "rounds": plan.batch.rounds,
        "seconds": plan.seconds,
        "windows": {"planned": tally.total, "stored_before": tally.before, "stored": tally.stored},
        "failed": tally.failed,
    }


def _items(units: int, networks: int) -> str:
    """Name what is measured; units only where there are any."""
    return " and ".join(
        _counted(count, word) for count, word in ((units, "unit"), (networks, "network")) if count
    )


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"
