"""`chamnet-host explain`: where compute and time go inside networks, side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from chamnet.errors import NotProfiledError
from chamnet.quantities import format_count
from chamnet_host.breakdown import Breakdown, Share, break_down
from chamnet_host.options import (
    DB,
    SPACE,
    AsJson,
    Backend,
    Db,
    Dtype,
    Networks,
    Profiles,
    SpaceName,
    Target,
)
from chamnet_host.output import print_json, print_table, print_text, write_text
from chamnet_host.pages.breakdown import breakdown_html
from chamnet_host.session import Session
from chamnet_host.subjects import LAST_SEARCH, read_networks

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(name="explain")(explain_command)


def explain_command(
    networks: Networks,
    target: Target = None,
    backend: Backend = None,
    dtype: Dtype = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with bars.", show_default=False)
    ] = None,
    space: SpaceName = SPACE,
    db: Db = DB,
    profiles: Profiles = None,
    as_json: AsJson = False,
) -> None:
    """Show where MACs and milliseconds go: by stage, and by the size of the feature map.

    Put a baseline beside a result: networks adapted to a device move compute from the first stages to the last.
    Latencies need a table of the device (`profile`), energies a meter (`profile --energy`); MACs need nothing.

    Examples: `chamnet-host explain best mobilenet-v2-1.0-224`, `chamnet-host explain chamnet-c chamnet-a --html page.html`
    """
    with Session.open(
        db, target=target, space=space, profiles=profiles, backend=backend, dtype=dtype
    ) as session:
        chosen = read_networks(networks, session.space, session.store.get(LAST_SEARCH))
        parts = [break_down(session.predict(network)) for network in chosen]
        name, platform = session.device.name, _platform(session)
    if html:
        write_text("--html", html, breakdown_html(parts, platform or "no device was profiled"))
    if as_json:
        print_json("explain", {"target": name, "networks": [each.to_json() for each in parts]})
        return
    _report(parts, "by stage", lambda each: each.stages)
    _report(parts, "by size of the feature map", lambda each: each.sizes)
    print_text(
        f"  ms as predicted on {platform}" if platform else f"  no latencies: {name} has not been profiled"
    )


def _platform(session: Session) -> str | None:
    try:
        return str(session.measured[1])
    except NotProfiledError:
        return None


def _report(
    parts: Sequence[Breakdown], title: str, shares_of: Callable[[Breakdown], tuple[Share, ...]]
) -> None:
    names = list(dict.fromkeys(share.name for each in parts for share in shares_of(each)))
    if title != "by stage":
        names.sort(key=lambda name: -int(name.split()[0]))
    else:
        names.sort(key=_place)
    metered = any(each.prediction.energy for each in parts)
    heads = ("", "ms", "mJ") if metered else ("", "ms")
    columns = ["", *(column for each in parts for column in (each.prediction.network.name, *heads))]
    rows = []
    for name in names:
        cells = [name]
        for each in parts:
            share = next((share for share in shares_of(each) if share.name == name), Share(name))
            cells += _cells(share, each)[: 1 + len(heads)]
        rows.append(tuple(cells))
    print_table(tuple(columns), rows, title)


def _place(name: str) -> int:
    """Return a stage's place among those of all networks."""
    ends = {"stem": 0, "head": 1_000, "classifier": 1_001}
    return ends[name] if name in ends else int(name.split()[1])


def _cells(share: Share, whole: Breakdown) -> list[str]:
    latency = whole.prediction.latency
    spent = "" if latency is None or share.latency_ms is None else f"{share.latency_ms:.3f}"
    if not share.macs and not spent:
        return [""] * 4
    return [
        format_count(share.macs),
        f"{100 * share.macs / whole.prediction.network.macs:.1f} %",
        spent,
        "" if share.energy_mj is None else f"{share.energy_mj:.3f}",
    ]
