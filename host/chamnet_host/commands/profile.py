"""`chamnet-host profile`: measure what is missing."""

from typing import Annotated, cast, get_args

import typer

from chamnet.errors import ConfigError, NotProfiledError
from chamnet.lut import EFFORTS, Plan
from chamnet.units import Granularity
from chamnet_host.campaign import Tally
from chamnet_host.options import DB, SPACE, AsJson, Backend, Db, Granular, Profiles, Seed, SpaceName, Target
from chamnet_host.output import note, print_json, print_text, progress_bar
from chamnet_host.session import Session

__all__ = ["register"]

_SECONDS_PER_VISIT = 0.03  # before anything was measured: a desktop core's


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(profile)


def profile(
    target: Target = None,
    effort: Annotated[
        str, typer.Option("--effort", help="How much to measure: " + ", ".join(EFFORTS) + ".")
    ] = "quick",
    granularity: Granular = "block",
    backend: Backend = None,
    space: SpaceName = SPACE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be measured and how long it takes.")
    ] = False,
    db: Db = DB,
    profiles: Profiles = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure the units of a space on a device, and a few whole networks to calibrate their sum.

    Every visit is stored when it arrives. Stop it with Ctrl-C whenever you like: the same command continues and
    measures nothing twice. A quick run takes about a minute on a desktop core and is enough to search.

    Examples: `chamnet-host profile`, `chamnet-host profile --effort normal --target 127.0.0.1:8799`
    """
    if granularity not in get_args(Granularity):
        raise ConfigError(f"unknown granularity {granularity!r}; known: {', '.join(get_args(Granularity))}")
    unit = cast(Granularity, granularity)
    with Session.open(db, target=target, space=space, profiles=profiles, seed=seed) as session:
        plan = session.plan(effort, unit)
        if dry_run:
            _report_plan(session, plan, unit, as_json)
            return
        note(f"profiling {session.device.name} into {db}; Ctrl-C keeps what is stored")
        with progress_bar(f"{effort} profile") as show:
            tally = session.profile(
                effort=effort,
                granularity=unit,
                backend=backend,
                progress=lambda t: show(t.before + t.stored, t.total, _remark(t)),
            )
        note("fitting the latency predictor")
        _ = session.cost_tables  # kept in the store, so that a search starts at once
        _report(session, tally, as_json)


def _report_plan(session: Session, plan: Plan, granularity: Granularity, as_json: bool) -> None:
    rows, visits = len(plan.units), _missing(session, plan)
    minutes = visits * _SECONDS_PER_VISIT / 60
    grid = len(session.grid(granularity).units)
    if as_json:
        body = {
            "rows": rows,
            "grid": grid,
            "networks": len(plan.networks),
            "visits": visits,
            "minutes": minutes,
        }
        print_json("profile", body)
        return
    print_text(
        f"{rows:,} of the {grid:,} {granularity} units of {session.space.name} and {len(plan.networks)} whole networks:"
        f" {visits:,} visits to go, about {minutes:.0f} min on a desktop core"
    )


def _missing(session: Session, plan: Plan) -> int:
    """Return how many of the plan's visits are not stored yet."""
    try:
        lut_id, platform = session.measured
    except NotProfiledError:
        return len(plan.visit_ids(""))
    return len(plan.visit_ids(platform.digest) - session.store.visit_ids(lut_id))


def _report(session: Session, tally: Tally, as_json: bool) -> None:
    _, platform = session.measured
    if as_json:
        body = {
            "target": session.device.name,
            "platform": str(platform),
            "visits": {"planned": tally.total, "stored_before": tally.before, "stored": tally.stored},
            "failed": tally.failed,
            "reconnects": tally.reconnects,
        }
        print_json("profile", body)
        return
    failed = f", {tally.failed} not ok (see `chamnet-host status`)" if tally.failed else ""
    print_text(f"{tally.stored:,} visits stored, {tally.before:,} were there before{failed}: {platform}")
    print_text("next: `chamnet-host search --budget 8ms`")


def _remark(tally: Tally) -> str:
    parts = [f"{tally.failed} failed"] if tally.failed else []
    parts += [f"{tally.reconnects} reconnects"] if tally.reconnects else []
    parts += [f"waited {tally.waits} s for another host"] if tally.waits else []
    return ", ".join(parts)
