"""`chamnet-host lut validate`: how far off predicted latencies are, on networks that nothing was fitted to."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from chamnet.lut import EFFORTS
from chamnet.networks import Network
from chamnet.predictors.verdict import Report, judge
from chamnet_host.measuring.validation import Validation, draw_networks, validate
from chamnet_host.options import DB, SPACE, AsJson, Backend, Db, Dtype, Mismatch, Profiles, SpaceName, Target
from chamnet_host.output import note, print_json, print_table, print_text, progress_bar, write_text
from chamnet_host.pages.scatter import scatter_html
from chamnet_host.session import Session
from chamnet_host.subjects import published_networks
from chamnet_host.texts.verdict import baseline_table, heading, markdown, remarks, size_table

__all__ = ["validate_command"]

_SEEDS = 10**6

Count = Annotated[int, typer.Option(help="Fresh random networks, log-uniform in 20 to 700 MMACs.", min=3)]
Published = Annotated[
    bool, typer.Option("--published", help="Judge the published networks too, apart from the random ones.")
]
Visits = Annotated[
    int,
    typer.Option(
        help="Visits of each network, spread in time, 8 runs each; 20 to 40 give a sound truth.", min=2
    ),
]
RunSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help="Of the random networks. Default: a new one each time; the one of a stopped run continues it.",
        min=0,
        show_default=False,
    ),
]
ProfileFirst = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help=f"Profile what is missing first, with this effort: {', '.join(EFFORTS)}; with --published, the units of the"
        " published networks too.",
        show_default=False,
    ),
]
Recalibrate = Annotated[
    bool,
    typer.Option(
        "--recalibrate",
        help="Visit the calibration networks in turn with the judged ones, and predict with what they take now.",
    ),
]
Naive = Annotated[
    bool, typer.Option("--naive/--no-naive", help="Measure isolated operators and blocks for the baselines.")
]
Html = Annotated[
    Path | None, typer.Option("--html", help="Write a page with a scatter plot.", show_default=False)
]
AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of tables.")]


def validate_command(
    target: Target = None,
    networks: Count = 200,
    published: Published = False,
    visits: Visits = 24,
    seed: RunSeed = None,
    profile: ProfileFirst = None,
    recalibrate: Recalibrate = False,
    naive: Naive = True,
    html: Html = None,
    as_markdown: AsMarkdown = False,
    backend: Backend = None,
    dtype: Dtype = None,
    allow_version_mismatch: Mismatch = False,
    space: SpaceName = SPACE,
    db: Db = DB,
    profiles: Profiles = None,
    as_json: AsJson = False,
) -> None:
    """Measure fresh networks whole and show how far off their predictions are, beside naive ways to predict.

    No network of the calibration or of a walk is among them. Each is visited many times in turn with all others, so
    that the noise of its own measurement can be told and is printed too. Visits are stored: Ctrl-C loses nothing, and
    the same command with the printed --seed continues.

    Examples: `chamnet-host lut validate`, `chamnet-host lut validate --profile normal --published --html accuracy.html`
    """
    chosen = secrets.randbelow(_SEEDS) if seed is None else seed
    with Session.open(
        db,
        target=target,
        space=space,
        profiles=profiles,
        create=profile is not None,
        backend=backend,
        dtype=dtype,
        allow_version_mismatch=allow_version_mismatch,
    ) as session:
        if profile:
            _profile(session, profile, also=published_networks(session.space) if published else [])
        groups = {"random": draw_networks(session, networks, chosen)}
        if published:
            groups["published"] = published_networks(session.space)
        result = _measure(session, groups, chosen, visits=visits, naive=naive, recalibrate=recalibrate)
        title = _title(session, result)
        target_name, platform = session.device.name, session.measured[1]
    judged = {name: [each for each in result.judged if each.group == name] for name in groups}
    reports = {name: judge(each, result.known) for name, each in judged.items() if each}
    if html:
        _write_html(html, title, result, reports)
    if as_json:
        body = {
            "target": target_name,
            "platform": str(platform),
            "measured_on": str(result.platform),
            "seed": result.seed,
            "visits": visits,
            "recalibrated": recalibrate,
            "reports": {name: report.to_json() for name, report in reports.items()},
            "networks": [each.to_json() for each in result.judged],
        }
        print_json("lut validate", body)
        return
    for report in reports.values():
        if as_markdown:
            print_text(f"### {title}: {heading(report)}\n\n{markdown(report)}\n")
        else:
            _print(title, report)


def _measure(
    session: Session,
    groups: dict[str, list[Network]],
    seed: int,
    *,
    visits: int,
    naive: bool,
    recalibrate: bool,
) -> Validation:
    note(
        f"validating on {session.measured[1]}, {session.space.dtype}, seed {seed}; --seed {seed} continues after Ctrl-C"
    )
    with progress_bar("validate") as show:
        return validate(
            session,
            groups,
            seed=seed,
            visits=visits,
            naive=naive,
            recalibrate=recalibrate,
            progress=lambda what, done, total: show(done, total, what),
        )


def _title(session: Session, result: Validation) -> str:
    platform = session.measured[1]
    title = f"{platform}, {session.space.dtype}, {session.granularity} units"
    if result.platform == platform:
        return title
    return f"{title}, networks measured with {result.platform.backend} {result.platform.version}"


def _profile(session: Session, effort: str, also: list[Network]) -> None:
    note(f"profiling {session.device.name} first; Ctrl-C keeps what is stored")
    with progress_bar("profile") as show:
        session.profile(effort=effort, also=also, progress=lambda t: show(t.before + t.stored, t.total, ""))


def _print(title: str, report: Report) -> None:
    print_table(*baseline_table(report), f"{title}: {heading(report)}")
    print_table(*size_table(report))
    for remark in remarks(report):
        print_text(f"  {remark}")


def _write_html(path: Path, title: str, result: Validation, reports: dict[str, Report]) -> None:
    first, *others = reports.values()
    write_text("--html", path, scatter_html(title, f"seed {result.seed}", result.judged, first, apart=others))
