"""`chamnet-host compare`: our answer to a budget beside the published networks."""

from typing import Annotated

import typer

from chamnet.quantities import format_count
from chamnet_host.options import (
    DB,
    SPACE,
    AsJson,
    Backend,
    Db,
    Dtype,
    Predictor,
    Profiles,
    Seed,
    SpaceName,
    Target,
)
from chamnet_host.output import print_json, print_table, print_text, progress_bar
from chamnet_host.searching.comparison import Compared, Comparison, compare
from chamnet_host.session import Session
from chamnet_host.texts.search import energy_cells

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(name="compare")(compare_command)


def compare_command(
    budget: Annotated[
        str,
        typer.Option(
            "--budget", "-b", help="A latency, such as 8ms; others may hold beside it (8ms,5MB or 8ms,35mJ)."
        ),
    ],
    target: Target = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Measure the latencies of all of them on the device, in turn.")
    ] = False,
    visits: Annotated[int, typer.Option(help="Visits of each network, with --verify.", min=2)] = 20,
    every: Annotated[bool, typer.Option("--all", help="Show those beyond the budget, too.")] = False,
    backend: Backend = None,
    dtype: Dtype = None,
    space: SpaceName = SPACE,
    db: Db = DB,
    profiles: Profiles = None,
    predictor: Predictor = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Put the most accurate network within a budget beside ChamNet-A to -F, MobileNetV2, MnasNet and ResNets.

    Top-1 is as published where it was, and as predicted in a column of its own: the two are never mixed.

    Where the target's energy was measured (`profile --energy`), the energy of each network is predicted, too, and those are left
    out that need more than a budget in mJ. --verify measures latencies only; `verify NETWORK --energy` measures energies.

    Examples: `chamnet-host compare --budget 8ms`, `chamnet-host compare --budget 8ms --verify`, `chamnet-host compare --budget 8ms,35mJ`
    """
    with (
        Session.open(
            db,
            target=target,
            space=space,
            profiles=profiles,
            seed=seed,
            create=False,
            backend=backend,
            dtype=dtype,
            predictor=predictor,
        ) as session,
        progress_bar("compare") as show,
    ):
        result = compare(
            session,
            budget,
            measure=verify,
            visits=visits,
            progress=lambda done, total: show(done, total, "measured"),
        )
        platform = str(session.measured[1])
    if as_json:
        body = {
            "target": result.answer.target,
            "platform": platform,
            "limit_ms": result.limit_ms,
            "limit_mj": result.limit_mj,
            "answer": result.answer.to_json(),
            "networks": [each.to_json() for each in result.networks],
        }
        print_json("compare", body)
        return
    _report(result, platform, every)


def _report(result: Comparison, platform: str, every: bool) -> None:
    shown = [each for each in result.networks if every or each.ours or result.keeps(each)]
    measured = ("measured ms",) if any(each.measured_ms is not None for each in shown) else ()
    energy = ("mJ", "90 %") if any(each.prediction.energy for each in shown) else ()
    columns = ("network", "ms", "90 %", *measured, *energy, "top-1 published", "top-1 predicted", "MACs")
    within = f"{result.limit_ms:.2f} ms" + (f" and {result.limit_mj:.2f} mJ" if result.limit_mj else "")
    print_table(
        columns,
        [_row(each, bool(measured), bool(energy)) for each in shown],
        f"within {within} on {platform}",
    )
    hidden = len(result.networks) - len(shown)
    if hidden:
        print_text(
            f"  {hidden} published networks need more time{' or energy' if result.limit_mj else ''}; --all shows them"
        )
    print_text(f"  {_verdict(result)}")


def _row(each: Compared, measured: bool, metered: bool) -> tuple[str, ...]:
    latency, top1 = each.prediction.latency, each.prediction.top1
    return (
        f"{each.name}{' (ours)' if each.ours else ''}",
        f"{latency.value:.2f}" if latency else "",
        f"{latency.low:.2f} - {latency.high:.2f}" if latency else "",
        *((f"{each.measured_ms:.2f}" if each.measured_ms is not None else "",) if measured else ()),
        *(energy_cells(each.prediction) if metered else ()),
        f"{each.published:.1f} %" if each.published is not None else "",
        f"{top1.value:.1f} %, {top1.low:.1f} - {top1.high:.1f}" if top1 else "",
        format_count(each.prediction.network.macs),
    )


def _verdict(result: Comparison) -> str:
    rival, ours = result.rival, result.ours
    if rival is None:
        return "no published network runs within this budget"
    how = "published" if rival.published is not None else "predicted"
    said = f"the most accurate published network within the budget is {rival.name}: {rival.top1:.1f} % {how}"
    if rival.prediction.top1 and ours.prediction.top1:
        gain = ours.prediction.top1.value - rival.prediction.top1.value
        said += f"; ours is predicted {gain:+.1f} points beside it, both by the same predictor"
    return said
