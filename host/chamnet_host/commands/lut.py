"""`chamnet-host lut`: look at tables, carry them elsewhere, compare them."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from chamnet.errors import ConfigError, NotProfiledError
from chamnet.lut import EnergyRow, EnergyTable, LatencyTable, Platform, Row, Store
from chamnet.units import Unit
from chamnet_host.commands.validate import validate_command
from chamnet_host.options import DB, AsJson, Backend, Db, Profiles, Target
from chamnet_host.output import print_json, print_table, print_text
from chamnet_host.session import Session
from chamnet_host.tablefile import export_visits, import_visits

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Look at tables, validate them, export and import them, compare two."
)
app.command(name="validate")(validate_command)

MadeBy = Annotated[
    str | None,
    typer.Option(
        "--serial",
        help="Only what this device measured, where several share the table (`status` names them).",
        show_default=False,
    ),
]


@app.command()
def show(
    match: Annotated[
        str,
        typer.Argument(
            help="Only rows whose key, or kind such as dwconv3x3_relu, contains this.",
            metavar="[TEXT]",
            show_default=False,
        ),
    ] = "",
    target: Target = None,
    serial: MadeBy = None,
    backend: Backend = None,
    limit: Annotated[int, typer.Option(help="Rows to print; 0 for all.", min=0)] = 20,
    networks: Annotated[bool, typer.Option("--networks", help="Whole networks instead of units.")] = False,
    db: Db = DB,
    profiles: Profiles = None,
    as_json: AsJson = False,
) -> None:
    """Show the rows of a target's table, slowest first, with energies where they were measured (`energy show`).

    Example: `chamnet-host lut show conv1x1 --limit 50`
    """
    with Session.open(db, target=target, profiles=profiles, create=False, backend=backend) as session:
        lut_id, platform = session.measured
        table = session.table
        if serial is not None:
            _check_serial(session.store, {lut_id}, serial)
            table = LatencyTable.load(session.store, lut_id, serial=serial)
        rows = table.networks if networks else table.units
        energy = _energy_rows(session, serial, networks)
        executed = session.store.executed(lut_id)
    chosen = [row for row in rows.values() if match in (row.name or row.key) or match in _signature(row)]
    chosen.sort(key=lambda row: -row.latency_ms)
    total = len(chosen)
    chosen = chosen[: limit or None]
    if as_json:
        bodies = [
            {**_row_body(row), "executed": executed.get(row.key), "energy": _energy_body(energy.get(row.key))}
            for row in chosen
        ]
        print_json("lut show", {"platform": str(platform), "rows": bodies, "total": total})
        return
    cells = [
        (
            row.name or row.key,
            f"{row.latency_ms:.4f}",
            _percent(row.error),
            str(row.visits),
            row.state,
            str(len(row.shared)) if row.shared else "",
            *(_energy_cells(energy.get(row.key)) if energy else ()),
            " + ".join(executed.get(row.key, ())),
        )
        for row in chosen
    ]
    heads = ("network" if networks else "unit", "ms", "error", "visits", "state", "shared with")
    print_table((*heads, *(("net mJ", "net W") if energy else ()), "executed as"), cells, str(platform))
    print_text(
        f"{len(chosen)} of {total:,} rows (the table has {len(rows):,}); one empty call takes {table.noop_ms * 1e3:.1f} us"
    )


@app.command(name="export")
def export_command(
    output: Annotated[Path, typer.Argument(help="File to write: .parquet or .csv.", metavar="FILE")],
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help="Only this target's. Default: all.", show_default=False),
    ] = None,
    serial: MadeBy = None,
    db: Db = DB,
    profiles: Profiles = None,
    as_json: AsJson = False,
) -> None:
    """Write every visit, raw samples included, to a Parquet or CSV file.

    Example: `chamnet-host lut export a.parquet --target pixel --serial A`, then
    `chamnet-host lut import a.parquet --as pixel-a --db a.db` makes a table of one device out of one that several share
    """
    with Session.open(db, target=target, profiles=profiles, create=False) as session:
        wanted = {session.measured[0]} if target else set(session.store.platforms())
        if serial is not None:
            _check_serial(session.store, wanted, serial)
        count = export_visits(session.store, wanted, output, serial=serial)
    if as_json:
        print_json("lut export", {"file": str(output), "visits": count})
        return
    print_text(f"{output}: {count:,} visits")


@app.command(name="import")
def import_command(
    source: Annotated[Path, typer.Argument(help="File that `lut export` wrote.", metavar="FILE")],
    name: Annotated[
        str | None, typer.Option("--as", help="Make it the table of this target.", show_default=False)
    ] = None,
    db: Db = DB,
    as_json: AsJson = False,
) -> None:
    """Read visits from a file; those already stored are left alone.

    Example: `chamnet-host lut import pixel.parquet --as pixel`, then `chamnet-host search --target pixel -b 20ms`
    """
    with Store.open(db) as store:
        added, there, platforms = import_visits(store, source, name)
    if as_json:
        body = {"file": str(source), "added": added, "already_stored": there}
        print_json("lut import", {**body, "platforms": [str(platform) for platform in platforms]})
        return
    print_text(
        f"{source}: {added:,} visits added, {there:,} were there before; {'; '.join(map(str, platforms))}"
    )


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help="A target, or a store (.db).")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    limit: Annotated[int, typer.Option(help="Rows to print; 0 for all.", min=0)] = 20,
    db: Db = DB,
    profiles: Profiles = None,
    as_json: AsJson = False,
) -> None:
    """Compare two tables row by row: second over first, largest change first.

    Example: `chamnet-host lut diff yesterday.db chamnet.db`
    """
    (before, name_a), (after, name_b) = (_load(text, db, profiles) for text in (first, second))
    shared = [
        (key, row.latency_ms, after.units[key].latency_ms)
        for key, row in before.units.items()
        if key in after.units
    ]
    if not shared:
        raise NotProfiledError(
            f"{first} and {second} share no unit; profile both with the same space and granularity"
        )
    shared.sort(key=lambda each: -max(each[2] / each[1], each[1] / each[2]))
    ratios = [new_ms / old_ms for _, old_ms, new_ms in shared]
    if as_json:
        rows = [
            {"unit": key, "first_ms": old, "second_ms": new, "ratio": new / old} for key, old, new in shared
        ]
        print_json(
            "lut diff",
            {"first": str(name_a), "second": str(name_b), "median_ratio": median(ratios), "rows": rows},
        )
        return
    rows_shown = [
        (key, f"{old:.4f}", f"{new:.4f}", f"{new / old:.2f}") for key, old, new in shared[: limit or None]
    ]
    print_table(("unit", "first ms", "second ms", "ratio"), rows_shown)
    print_text(
        f"first: {name_a}\nsecond: {name_b}\n{len(shared):,} units in both; median ratio {median(ratios):.3f}"
    )


def _load(text: str, db: Path, profiles: Path | None) -> tuple[LatencyTable, Platform]:
    if text.endswith(".db"):
        with Session.open(text, profiles=profiles, create=False) as session:
            return session.table, session.measured[1]
    with Session.open(db, target=text, profiles=profiles, create=False) as session:
        return session.table, session.measured[1]


def _check_serial(store: Store, lut_ids: Collection[int], serial: str) -> None:
    """Refuse a device that measured nothing.

    Raises:
        ConfigError: It names those that did.
    """
    known = {each for lut_id in lut_ids for each in store.serials(lut_id) if each}
    if serial not in known:
        raise ConfigError(
            f"--serial {serial!r} measured nothing here; these did: {', '.join(sorted(known)) or 'none'}"
        )


def _row_body(row: Row) -> dict[str, object]:
    return {
        "kind": row.kind,
        "key": row.key,
        "name": row.name,
        "latency_ms": row.latency_ms,
        "noop_ms": row.noop_ms,
        "spread": row.spread,
        "error": row.error,
        "state": row.state,
        "shared": list(row.shared),
        "visits": row.visits,
        "samples": row.samples,
        "preempted": row.preempted,
    }


def _energy_rows(session: Session, serial: str | None, networks: bool) -> Mapping[str, EnergyRow]:
    """Return the energy rows beside those of latency; none where no energy was measured."""
    try:
        table = session.energy_table
        if serial is not None:
            metered = replace(table.metered_by, serial=serial)
            table = EnergyTable.load(session.store, session.measured[0], metered)
    except NotProfiledError:
        return {}
    return table.networks if networks else table.units


def _energy_body(row: EnergyRow | None) -> dict[str, object] | None:
    if row is None:
        return None
    return {
        "net_mj": row.net_mj,
        "net_w": row.net_w,
        "latency_ms": row.latency_ms,
        "spread": row.spread,
        "visits": row.visits,
        "below_noise": row.is_below_noise,
    }


def _energy_cells(row: EnergyRow | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    return ("below noise", "") if row.is_below_noise else (f"{row.net_mj:.4f}", f"{row.net_w:.3f}")


def _signature(row: Row) -> str:
    return Unit.parse(row.key).signature if row.kind == "unit" else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
