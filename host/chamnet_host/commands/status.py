"""`chamnet-host status`: what the workspace holds."""

from collections import Counter
from typing import Any

import typer

from chamnet.errors import NotProfiledError
from chamnet.lut import LatencyTable, Platform, Store
from chamnet_host.options import DB, AsJson, Db
from chamnet_host.output import print_json, print_table, print_text

__all__ = ["register"]

_SHOWN_FAILURES = 5


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(status)


def status(db: Db = DB, as_json: AsJson = False) -> None:
    """Show what was measured on which platform, what failed and why."""
    if not db.exists():
        raise NotProfiledError(f"{db}: nothing was profiled yet; run `chamnet-host profile` first")
    with Store.open(db, create=False) as store:
        tables = [_table(store, lut_id, platform) for lut_id, platform in store.platforms().items()]
        last = store.get("last_target")
    if as_json:
        print_json("status", {"store": str(db), "last_target": last, "tables": tables})
        return
    rows = [
        (t["platform"], f"{t['units']:,}", f"{t['networks']:,}", f"{t['visits']:,}", str(len(t["failures"])))
        for t in tables
    ]
    print_table(("platform", "units", "networks", "visits", "failed items"), rows)
    for table in tables:
        if len(table["devices"]) > 1:
            made = ", ".join(f"{serial} {visits:,}" for serial, visits in table["devices"].items())
            print_text(f"  visits by device: {made}")
        for item, reason in list(table["failures"].items())[:_SHOWN_FAILURES]:
            print_text(f"  failed: {item}: {reason}")
        for item, reason in list(table["energy_failures"].items())[:_SHOWN_FAILURES]:
            print_text(f"  failed for energy: {item}: {reason}")
    print_text(f"last target: {last or 'none'}")


def _table(store: Store, lut_id: int, platform: Platform) -> dict[str, Any]:
    statuses = Counter(stored.visit.status for stored in store.visits(lut_id))
    table = LatencyTable.load(store, lut_id)
    failed = store.failed_items(lut_id)
    without_energy = store.failed_items(lut_id, energy=True)
    return {
        "id": lut_id,
        "platform": str(platform),
        "units": len(table.units),
        "networks": len(table.networks),
        "visits": sum(statuses.values()),
        "statuses": dict(statuses),
        "devices": {serial: visits for serial, visits in store.serials(lut_id).items() if serial},
        "failures": {key: reason for (_, key), reason in failed.items()},
        "energy_failures": {item[1]: reason for item, reason in without_energy.items() if item not in failed},
    }
