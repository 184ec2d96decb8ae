"""`chamnet-host profile`: measure what is missing."""

from typing import Annotated

import typer

from chamnet.errors import BudgetError, ConfigError, NotProfiledError
from chamnet.lut import EFFORTS, Effort
from chamnet.quantities import parse_budget
from chamnet.records import EnergyPolicy
from chamnet_host.commands.deploy import build_missing
from chamnet_host.devices.serials import with_serial
from chamnet_host.measuring.campaign import Tally
from chamnet_host.measuring.energy_campaign import (
    ENERGY_ROUNDS,
    ENERGY_ROWS,
    EnergyPlan,
    check_meter,
    plan_energy,
)
from chamnet_host.measuring.planner import find_effort, fitted_effort
from chamnet_host.options import (
    DB,
    SPACE,
    AsJson,
    Backend,
    Db,
    Dtype,
    EnergyRounds,
    Granular,
    MeterName,
    Profiles,
    Rails,
    Seed,
    Serials,
    SpaceName,
    Target,
    Threads,
)
from chamnet_host.output import note, print_json, print_table, print_text, progress_bar
from chamnet_host.session import Session
from chamnet_host.subjects import LAST_SEARCH, published_networks, read_networks
from chamnet_host.texts.energy import announcement, energy_body, energy_report
from chamnet_host.texts.fleet import (
    COLUMNS,
    devices_json,
    devices_rows,
    differing_text,
    lost_text,
    remark_text,
    unsure_text,
)

__all__ = ["register"]

_SECONDS_PER_WALK = 0.35  # before anything was measured: a desktop core's
_SECONDS_PER_NETWORK = 0.1
_CROWDED = 0.05  # share of interrupted calls worth a warning
_UNITS_PER_FULL_WALK = 12  # that nobody visited before, on average


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(profile)


def profile(
    target: Target = None,
    serial: Serials = None,
    effort: Annotated[
        str, typer.Option("--effort", help="How much to measure: " + ", ".join(EFFORTS) + ".")
    ] = "quick",
    near: Annotated[
        list[str] | None,
        typer.Option(
            "--near",
            help="A latency you will ask for, such as 8ms: predictions near it are made surest. Repeatable.",
            show_default=False,
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            help="A network whose units are to be measured too, such as resnet-50; `published` for all that are published."
            " Repeatable.",
            show_default=False,
        ),
    ] = None,
    backend: Backend = None,
    dtype: Dtype = None,
    threads: Threads = None,
    granularity: Granular = None,
    space: SpaceName = SPACE,
    recalibrate: Annotated[
        bool,
        typer.Option(
            "--recalibrate", help="Measure the calibration networks anew: another day, another load."
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Refuse a loaded or throttled machine instead of labelling its visits, and devices that differ.",
        ),
    ] = False,
    energy: Annotated[
        bool,
        typer.Option(
            "--energy", help="Measure the energy of a subset of the units, too, and of whole networks."
        ),
    ] = False,
    meter: MeterName = "",
    rails: Rails = "",
    energy_rows: Annotated[
        int, typer.Option("--energy-rows", min=1, help="Units to measure for energy; the rest is filled in.")
    ] = ENERGY_ROWS,
    energy_rounds: EnergyRounds = ENERGY_ROUNDS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be measured and how long it takes.")
    ] = False,
    db: Db = DB,
    profiles: Profiles = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure the units of a space on a device, and a few whole networks to calibrate their sum.

    Units are visited on walks through networks of the space, in the network's own order, so that each finds the caches
    as it would there. The first walks fill the space; later ones go where predictions are most in doubt.

    Every visit is stored when it arrives. Stop it with Ctrl-C whenever you like: the same command continues and
    measures nothing twice. A quick run takes about two minutes on a desktop core and is enough to search.

    Several devices of one kind share the work: each takes the next walk that nobody has taken, one that is lost leaves
    its work to the others, and all measure a few networks alike, to tell by how much they differ.

    With --energy, units spread over all kinds and sizes then run in windows as long as fifty updates of the device's meter, with
    idling between: seconds each where a meter is fast, half a minute on a phone (docs/energy.md). How long that takes is said first.

    Examples: `chamnet-host profile`, `chamnet-host profile --backend litert --dtype int8`, `chamnet-host profile --energy`,
    `chamnet-host profile --effort normal --near 8ms`, `chamnet-host profile --target pixel --serial A --serial B`
    """
    budgets_ms, serials = [_latency_ms(text) for text in near or ()], serial or []
    with Session.open(
        db,
        target=target,
        space=space,
        profiles=profiles,
        seed=seed,
        backend=backend,
        dtype=dtype,
        threads=threads,
    ) as session:
        session.device = with_serial(session.device, serials[0] if len(serials) == 1 else None)
        wanted = EnergyPolicy(meter=meter or session.device.meter, rails=rails or session.device.rails)
        if dry_run:
            planned = _planned_energy(session, wanted, energy_rows, energy_rounds) if energy else ""
            _report_plan(session, find_effort(effort), as_json, devices=max(len(serials), 1), energy=planned)
            return
        if energy and len(serials) > 1:
            raise ConfigError("--energy: devices of one kind draw unlike power; name one --serial")
        given = published_networks(session.space) if "published" in (also or ()) else []
        named = [text for text in also or () if text != "published"]
        given += read_networks(named, session.space, session.store.get(LAST_SEARCH))
        build_missing(session.device)
        if energy:
            check_meter(session, wanted.meter)
        note(f"profiling {session.device.name} into {db}; Ctrl-C keeps what is stored")
        with progress_bar("profile") as show:
            tally = session.profile(
                effort=effort,
                granularity=granularity,
                budgets_ms=budgets_ms,
                also=given,
                recalibrate=recalibrate,
                strict=strict,
                serials=serials,
                progress=lambda t: show(t.before + t.stored, t.total, remark_text(t)),
            )
        note("fitting the latency predictor")
        _ = session.cost_tables  # kept in the store, so that a search starts at once
        measured = None
        if energy:
            measured = _measure_energy(session, wanted, energy_rows, energy_rounds)
        _report(session, tally, as_json, measured)


def _planned_energy(session: Session, policy: EnergyPolicy, rows: int, rounds: int) -> str:
    """Return what would be measured for energy, in words."""
    try:
        with session.connect_measured() as client:
            plan = plan_energy(session, client.describe(), policy, rows=rows, rounds=rounds)
    except NotProfiledError:
        return f"energies of {rows} units after that; what they take is known once latencies are"
    return announcement(plan)


def _measure_energy(
    session: Session, policy: EnergyPolicy, rows: int, rounds: int
) -> tuple[EnergyPlan, Tally]:
    plans: list[EnergyPlan] = []

    def announce(plan: EnergyPlan) -> None:
        plans.append(plan)
        note(announcement(plan))

    with progress_bar("energy") as show:
        tally = session.measure_energy(
            policy,
            rows=rows,
            rounds=rounds,
            announce=announce,
            progress=lambda t: show(t.before + t.stored, t.total, remark_text(t)),
        )
    return plans[0], tally


def _latency_ms(text: str) -> float:
    budget = parse_budget(text)
    if budget.metric != "latency_ms":
        raise BudgetError(f"--near {text}: give a latency, such as 8ms")
    return budget.limit


def _report_plan(session: Session, effort: Effort, as_json: bool, *, devices: int, energy: str = "") -> None:
    grid = len(session.grid("op").units)
    walks = fitted_effort(effort, grid).walks or max(grid // _UNITS_PER_FULL_WALK, 1)
    networks = len(session.calibration)
    minutes = (
        (walks * _SECONDS_PER_WALK + networks * effort.network_visits * _SECONDS_PER_NETWORK) / 60 / devices
    )
    try:
        measured = sum(1 for _ in session.store.visit_ids(session.measured[0]))
    except NotProfiledError:
        measured = 0
    if as_json:
        body = {
            "walks": walks,
            "grid": grid,
            "networks": networks,
            "minutes": minutes,
            "visits_stored": measured,
            "energy": energy or None,
        }
        print_json("profile", body)
        return
    print_text(
        f"{walks:,} walks through networks of {session.space.name} ({grid:,} operator units), and {networks} networks"
        f" measured whole: about {minutes:.0f} min on a desktop core{f', {devices} of them' if devices > 1 else ''}; {measured:,} visits are stored already"
    )
    if energy:
        print_text(energy)


def _report(
    session: Session, tally: Tally, as_json: bool, energy: tuple[EnergyPlan, Tally] | None = None
) -> None:
    _, platform = session.measured
    latency = session.latency
    if as_json:
        body = {
            "target": session.device.name,
            "platform": str(platform),
            "dtype": session.space.dtype,
            "granularity": session.granularity,
            "visits": {"planned": tally.total, "stored_before": tally.before, "stored": tally.stored},
            "units": len(latency.interpolator.rows),
            "failed": tally.failed,
            "slow": tally.slow,
            "reconnects": tally.reconnects,
            "timed_share": tally.timed_share,
            "interrupted_share": tally.interrupted_share,
            "devices": devices_json(tally),
            "calibration": {
                "scale": latency.calibration.scale,
                "term": latency.calibration.term,
                "coefficient": latency.calibration.coefficient,
                "residuals": list(latency.calibration.residuals),
            },
            "energy": None if energy is None else energy_body(*energy),
        }
        print_json("profile", body)
        return
    failed = f", {tally.failed} not ok (see `chamnet-host status`)" if tally.failed else ""
    slow = f", {tally.slow} on a slow machine" if tally.slow else ""
    print_text(
        f"{tally.stored:,} visits stored, {tally.before:,} were there before{failed}{slow}: {platform}, {session.space.dtype}"
    )
    if len(tally.shares) > 1:
        print_table(COLUMNS, devices_rows(tally))
    for remark in (differing_text(tally), unsure_text(tally), lost_text(tally)):
        if remark:
            note(remark)
    if tally.interrupted_share > _CROWDED:
        note(
            f"other work ran on the measuring cores during {100 * tally.interrupted_share:.0f} % of the timed calls: stop it, or"
            " choose other cores, and `chamnet-host profile --recalibrate`"
        )
    print_text(f"{len(latency.interpolator.rows):,} units measured; {_said(latency.calibration.residuals)}")
    if energy is not None:
        print_text(energy_report(*energy))
    print_text(
        "next: `chamnet-host search --budget 8ms`, `chamnet-host lut validate` to see how far off it is"
    )


def _said(residuals: tuple[float, ...]) -> str:
    if not residuals:
        return "too few networks were measured whole to calibrate their sum"
    mean = sum(abs(residual) for residual in residuals) / len(residuals)
    return f"each of the {len(residuals)} networks measured whole is {100 * mean:.1f} % off on average when left out"
