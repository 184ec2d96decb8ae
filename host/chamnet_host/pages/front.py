"""Fronts as one HTML file: a plot of top-1 against cost, published networks beside them, every network in a table."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from chamnet.quantities import format_count
from chamnet.search import format_amount
from chamnet_host.pages.page import fill_page
from chamnet_host.pages.plot import LEFT, TOP, Axis, Plot
from chamnet_host.prediction import Prediction
from chamnet_host.searching.front import Front, FrontNetwork, cost_of
from chamnet_host.texts.search import COST_NAMES, front_remarks

__all__ = ["front_html"]

_WIDE, _HIGH = 900.0, 420.0  # of the frame in px
_LABELS = {
    **COST_NAMES,
    "latency_ms": "latency, ms",
    "energy_mj": "energy, mJ",
    "weight_bytes": "bytes of weights",
}
_SHADES = ("large", "small")  # classes of the page's style that tell two targets apart


def front_html(fronts: Sequence[Front], platform: str) -> str:
    """Return a page on the fronts of one or more targets, all against the same metric.

    Args:
        fronts: At least one.
        platform: What the first was measured on.
    """
    metric = fronts[0].metric
    held = f"; {fronts[0].held} hold all along" if fronts[0].held else ""
    return fill_page(
        "front.html",
        title=escape(f"The most accurate network for every budget on {', '.join(f.target for f in fronts)}"),
        subtitle=escape(f"{platform}{held}"),
        metric=escape(_LABELS[metric]),
        plot=_plot(fronts),
        legend=_legend(fronts),
        tables="\n".join(map(_table, fronts)),
    )


def _plot(fronts: Sequence[Front]) -> str:
    metric = fronts[0].metric
    points = [(each.point.cost, each.point.proven.top1) for front in fronts for each in front.networks]
    beside = [place for front in fronts for each in front.beside if (place := _place(each, metric))]
    costs, tops = zip(*points, *beside, strict=True)
    x = Axis(min(costs) / 1.08, max(costs) * 1.08, LEFT, LEFT + _WIDE)
    y = Axis(min(tops) - 1, max(tops) + 1, TOP + _HIGH, TOP, log=False)
    plot = Plot("front", x, y, _LABELS[metric], "top-1, %")
    body = []
    for number, front in enumerate(fronts):
        shade, index = _SHADES[number % len(_SHADES)], f"f{number}"
        corners = [(each.point.cost, each.point.proven.top1) for each in front.networks]
        body += [plot.line("step", start, (end[0], start[1])) for start, end in pairwise(corners)]
        for i, each in enumerate(front.networks):
            at = x(each.point.cost), y(each.point.proven.top1)
            body.append(_mark(shade, f"{index}-{i}", _tip(front, each), _dot(at)))
    for i, published in enumerate(fronts[0].beside):
        if place := _place(published, metric):
            drawing = _diamond((x(place[0]), y(place[1])))
            body.append(_mark("", f"b{i}", _published_tip(published, metric), drawing))
    return plot.svg(body, lambda value: f"{value:g}")


def _place(prediction: Prediction, metric: str) -> tuple[float, float] | None:
    cost = cost_of(prediction, metric)
    return (cost, prediction.top1.value) if cost is not None and prediction.top1 else None


def _mark(kind: str, index: str, tip: str, drawing: str) -> str:
    return f'<g class="{kind}" data-n="{index}"><title>{escape(tip)}</title>{drawing}</g>'


def _dot(at: tuple[float, float]) -> str:
    return f'<circle class="dot" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="4.2"/>{_touch(at)}'


def _diamond(at: tuple[float, float]) -> str:
    return f'<path class="dot" d="M{at[0]:.1f} {at[1]:.1f}m0-6 6 6-6 6-6-6z"/>{_touch(at)}'


def _touch(at: tuple[float, float]) -> str:
    return f'<circle class="touch" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="8"/>'


def _tip(front: Front, each: FrontNetwork) -> str:
    network, top1 = each.prediction.network, each.prediction.top1
    interval = f", 90 %: {top1.low:.1f} to {top1.high:.1f}" if top1 else ""
    return "\n".join(
        [
            network.name,
            f"{front.target}: {format_amount(front.metric, each.point.cost)}",
            f"top-1 {each.point.proven.top1:.2f} %{interval}; none exceeds {each.point.proven.bound:.2f} %",
            f"{format_count(network.macs)}MACs, {format_count(network.params)} params",
        ]
    )


def _published_tip(each: Prediction, metric: str) -> str:
    cost, top1 = cost_of(each, metric), each.top1
    shown = format_amount(metric, cost) if cost is not None else ""
    return (
        f"{each.network.name}\n{shown}, top-1 {top1.value:.2f} % (predicted)" if top1 else each.network.name
    )


def _legend(fronts: Sequence[Front]) -> str:
    items = [
        (f'<g class="{_SHADES[i % len(_SHADES)]}">{_dot((11, 7))}</g>', front.target)
        for i, front in enumerate(fronts)
    ]
    items.append((_diamond((11, 7)), "published networks, predicted alike"))
    entries = (f'<li><svg viewBox="0 0 22 14">{drawing}</svg>{escape(text)}</li>' for drawing, text in items)
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _table(front: Front) -> str:
    rows = []
    for each in front.networks:
        network, top1 = each.prediction.network, each.prediction.top1
        cells = (
            format_amount(front.metric, each.point.cost),
            f"{each.point.proven.top1:.2f} %",
            f"{top1.low:.1f} to {top1.high:.1f}" if top1 else "",
            f"{each.point.proven.gap:.3f}",
            format_count(network.macs),
            format_count(network.params),
        )
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(f'<tr>{row}<td class="text">{escape(network.name)}</td></tr>')
    names = (COST_NAMES[front.metric], "top-1", "90 %", "gap", "MACs", "params")
    head = "".join(f"<th>{escape(name)}</th>" for name in names) + '<th class="text">network</th>'
    said = "".join(f"<li>{escape(remark)}</li>" for remark in front_remarks(front))
    return (
        f'<h2>{escape(front.target)}</h2><section class="card wide"><ul class="remarks">{said}</ul></section>'
        f'<section class="card wide each"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></section>'
    )
