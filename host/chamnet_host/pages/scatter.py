"""A verdict on predicted latencies as one HTML file that needs nothing else: plots, tables, every network."""

from collections.abc import Sequence
from html import escape

from chamnet.predictors.verdict import SMALL_MACS, Judged, Report
from chamnet.quantities import format_count
from chamnet_host.pages.page import fill_page, html_table
from chamnet_host.pages.plot import LEFT, TOP, Axis, Plot
from chamnet_host.texts.verdict import (
    TextTable,
    baseline_table,
    heading,
    percent,
    remarks,
    signed_percent,
    size_table,
)

__all__ = ["scatter_html"]

_BANDS = (0.10, 0.05)  # wide first: the narrow one is drawn over it
_LEAST_RANGE = 0.12  # of the error plot: good predictors still show the 10 % band


def scatter_html(
    title: str,
    subtitle: str,
    judged: Sequence[Judged],
    report: Report,
    *,
    apart: Sequence[Report] = (),
) -> str:
    """Return a page with predicted against measured latencies, errors against MACs, and the verdicts.

    Args:
        title: What was judged.
        subtitle: Where, how, and when.
        judged: The networks to draw, of every group.
        report: The verdict that the page leads with.
        apart: Verdicts on groups judged by themselves; their tables follow.

    Raises:
        ValueError: No networks to draw.
    """
    if not judged:
        raise ValueError("no networks to draw")
    groups = sorted({each.group for each in judged}, reverse=True)
    return fill_page(
        "scatter.html",
        title=escape(title),
        subtitle=escape(subtitle),
        heading=escape(heading(report)),
        figures=_figures(report),
        predicted=_predicted_plot(judged, groups),
        errors=_error_plot(judged, groups),
        legend=_legend(judged, groups),
        verdicts="\n".join(map(_verdict, (report, *apart))),
        networks=_networks(judged),
    )


def _figures(report: Report) -> str:
    whole = report.whole
    verdict = whole.predictor
    shown = [
        ("MAPE", percent(verdict.mape, 2)),
        ("bias", signed_percent(verdict.bias, 2)),
        ("within 5 %", percent(verdict.within_5)),
        ("within 10 %", percent(verdict.within_10)),
        ("worst", signed_percent(verdict.worst)),
        ("truth, split-half", percent(whole.noise.mean, 2)),
    ]
    if verdict.interval:
        shown.append(("in 90 % interval", percent(verdict.interval.share)))
    if whole.improvement is not None:
        shown.append(("vs counts", f"{whole.improvement:.1f}×"))
    tiles = (
        f'<div class="card"><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>' for name, text in shown
    )
    return f'<dl class="figures">{"".join(tiles)}</dl>'


def _predicted_plot(judged: Sequence[Judged], groups: Sequence[str]) -> str:
    ends = [ms for each in judged for ms in (each.measured_ms, each.predicted_ms)]
    low, high = min(ends) / 1.12, max(ends) * 1.12
    side = 560.0
    x = Axis(low, high, LEFT, LEFT + side)
    y = Axis(low, high, TOP + side, TOP)
    plot = Plot("predicted", x, y, "measured, ms", "predicted, ms")
    body = [_diagonal(plot, width) for width in _BANDS]
    body.append(plot.line("exact", (low, low), (high, high)))
    for i, each in _drawn(judged, groups):
        whisker = plot.line("whisker", (each.measured_ms, each.low_ms), (each.measured_ms, each.high_ms))
        at = x(each.measured_ms), y(each.predicted_ms)
        body.append(_mark("network", i, each, whisker + _shape(at, groups.index(each.group))))
    return plot.svg(body, lambda value: f"{value:g}")


def _diagonal(plot: Plot, width: float) -> str:
    low, high = plot.x.low, plot.x.high
    corners = [(low, low * (1 + width)), (high, high * (1 + width)), (high, high * (1 - width))]
    return plot.area("band", [*corners, (low, low * (1 - width))])


def _error_plot(judged: Sequence[Judged], groups: Sequence[str]) -> str:
    errors = [each.error for each in judged]
    mmacs = [each.macs / 1e6 for each in judged]
    x = Axis(min(mmacs) / 1.15, max(mmacs) * 1.15, LEFT, LEFT + 400)
    low, high = min(-_LEAST_RANGE, 1.15 * min(errors)), max(_LEAST_RANGE, 1.15 * max(errors))
    y = Axis(100 * low, 100 * high, TOP + 400, TOP, log=False)
    plot = Plot("errors", x, y, "MMACs", "error, %")
    body = [
        plot.area("band", [(x.low, w), (x.high, w), (x.high, -w), (x.low, -w)])
        for w in (100 * width for width in _BANDS)
    ]
    body.append(plot.line("exact", (x.low, 0), (x.high, 0)))
    border = SMALL_MACS / 1e6
    if x.low < border < x.high:
        body.append(plot.line("border", (border, y.low), (border, y.high)))
    for i, each in _drawn(judged, groups):
        at = each.macs / 1e6
        ends = (100 * (ms / each.measured_ms - 1) for ms in (each.low_ms, each.high_ms))
        whisker = plot.line("whisker", (at, next(ends)), (at, next(ends)))
        dot = _shape((x(at), y(100 * each.error)), groups.index(each.group))
        body.append(_mark("error", i, each, whisker + dot))
    return plot.svg(body, lambda value: f"{value:+g}" if value else "0")


def _drawn(judged: Sequence[Judged], groups: Sequence[str]) -> list[tuple[int, Judged]]:
    """Return networks with their index in drawing order: the smaller group on top."""
    sizes = {group: sum(each.group == group for each in judged) for group in groups}
    return sorted(enumerate(judged), key=lambda each: -sizes[each[1].group])


def _mark(kind: str, index: int, network: Judged, drawing: str) -> str:
    tip = escape("\n".join(_tip(network)))
    return f'<g class="{kind} {_size(network)}" data-n="{index}"><title>{tip}</title>{drawing}</g>'


def _tip(network: Judged) -> list[str]:
    shares = (f"{percent(share, 0)} {source}" for source, share in network.coverage.items() if share)
    return [
        network.name,
        f"measured {network.measured_ms:.3f} ms, {len(network.visits_ms)} visits, split-half {percent(network.split_half)}",
        f"predicted {network.predicted_ms:.3f} ms, 90 %: {network.low_ms:.3f} to {network.high_ms:.3f}",
        f"error {signed_percent(network.error)}",
        f"{network.group}, {format_count(network.macs)}MACs; rows {', '.join(shares)}",
    ]


def _size(network: Judged) -> str:
    return "small" if network.macs < SMALL_MACS else "large"


def _shape(at: tuple[float, float], group: int) -> str:
    """Return a group's shape, with room for a pointer around it."""
    x, y = at
    touch = f'<circle class="touch" cx="{x:.1f}" cy="{y:.1f}" r="8"/>'
    if group == 0:
        return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4.2"/>{touch}'
    path = ("m0-6 6 6-6 6-6-6z", "m0-6 5.5 10h-11z", "m-4.5-4.5h9v9h-9z")[(group - 1) % 3]
    return f'<path class="dot" d="M{x:.1f} {y:.1f}{path}"/>{touch}'


def _legend(judged: Sequence[Judged], groups: Sequence[str]) -> str:
    sizes = {"small": "under 100 MMACs", "large": "100 MMACs and over"}
    present = {_size(each) for each in judged}
    dot = _shape((11, 7), 0)
    items = [(f'<g class="{size}">{dot}</g>', text) for size, text in sizes.items() if size in present]
    if len(groups) > 1:
        items += [(_shape((11, 7), i), group) for i, group in enumerate(groups)]
    items.append(('<line class="exact" x1="0" y1="7" x2="22" y2="7"/>', "exact"))
    band = '<rect class="band" width="22" height="14"/>'
    items.append((f'{band}<rect class="band" y="3.5" width="22" height="7"/>', "within 5 and 10 %"))
    items.append(('<line class="whisker" x1="11" y1="0" x2="11" y2="14"/>', "90 % interval"))
    entries = (f'<li><svg viewBox="0 0 22 14">{drawing}</svg>{escape(text)}</li>' for drawing, text in items)
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _verdict(report: Report) -> str:
    tables = (("Predictor and baselines", baseline_table(report)), ("Predictor by size", size_table(report)))
    cards = [f"<h3>{title}</h3>{html_table(table)}" for title, table in tables]
    said = "".join(f"<li>{escape(remark)}</li>" for remark in remarks(report))
    cards.append(f'<h3>In words</h3><ul class="remarks">{said}</ul>')
    sections = "\n".join(f'<section class="card wide">{card}</section>' for card in cards)
    return f"<h2>Verdict on {escape(heading(report))}</h2>\n{sections}"


def _networks(judged: Sequence[Judged]) -> str:
    columns = ("network", "group", "MMACs", "measured ms", "predicted ms", "error", "split-half")
    rows = (
        (
            each.name,
            each.group,
            f"{each.macs / 1e6:.1f}",
            f"{each.measured_ms:.3f}",
            f"{each.predicted_ms:.3f}",
            signed_percent(each.error),
            percent(each.split_half),
        )
        for each in sorted(judged, key=lambda each: -abs(each.error))
    )
    table = html_table(TextTable(columns, tuple(rows)))
    summary = f"Every network, largest error first ({len(judged)})"
    return f'<details class="card wide each"><summary>{summary}</summary>{table}</details>'
