"""How well an accuracy predictor tells networks left out, as one HTML file that needs nothing else."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from chamnet.predictors.left_out import LeftOut, LeftOutNetwork
from chamnet.quantities import format_count
from chamnet_host.pages.page import fill_page, html_table
from chamnet_host.pages.plot import LEFT, TOP, Axis, Plot
from chamnet_host.texts.accuracy import learning_table, quality_table
from chamnet_host.texts.verdict import TextTable

__all__ = ["accuracy_html"]

_SIDE, _SMALL = 560.0, 400.0
_KINDS = ("large", "small")  # colours of the first and of other recipes


def accuracy_html(title: str, subtitle: str, left_out: LeftOut, recipe: str) -> str:
    """Return a page with predictions of networks left out, their residuals, and the learning curve.

    Args:
        title: What was judged.
        subtitle: On what it stands.
        left_out: What leaving out says.
        recipe: That the page leads with.
    """
    recipes = [recipe, *(name for name in left_out.recipes if name != recipe)]
    tables = [
        f'<section class="card wide"><h3>{escape(name)}</h3>{html_table(table)}</section>'
        for name, table in (
            ("Networks left out", quality_table(left_out)),
            (f"Learning curve, {recipe}", learning_table(left_out)),
        )
    ]
    return fill_page(
        "accuracy.html",
        title=escape(title),
        subtitle=escape(subtitle),
        heading=escape(
            f"{left_out.recipes[recipe].count} networks of recipe {recipe}, each left out in turn"
        ),
        figures=_figures(left_out, recipe),
        predicted=_predicted_plot(left_out.networks, recipes),
        residuals=_residual_plot(left_out.networks, recipes),
        learning=_learning_plot(left_out),
        tables="\n".join(tables),
        networks=_networks(left_out.networks),
    )


def _figures(left_out: LeftOut, recipe: str) -> str:
    quality = left_out.recipes[recipe]
    shown = [
        ("error (RMSE)", f"{quality.rmse:.2f}"),
        ("Kendall tau", f"{quality.tau:.2f}"),
        ("tau, best fifth", f"{quality.tau_top:.2f}"),
        ("in 90 % interval", f"{100 * quality.coverage:.0f} %"),
    ]
    if left_out.seed_sd is not None:
        shown.append(("between seeds", f"{left_out.seed_sd:.2f}"))
    tiles = (
        f'<div class="card"><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>' for name, text in shown
    )
    return f'<dl class="figures">{"".join(tiles)}</dl>'


def _predicted_plot(networks: Sequence[LeftOutNetwork], recipes: Sequence[str]) -> str:
    ends = [value for each in networks for value in (each.top1, each.predicted)]
    margin = max(0.06 * (max(ends) - min(ends)), 0.1)
    low, high = min(ends) - margin, max(ends) + margin
    x = Axis(low, high, LEFT, LEFT + _SIDE, log=False)
    plot = Plot(
        "predicted", x, Axis(low, high, TOP + _SIDE, TOP, log=False), "trained top-1, %", "predicted top-1, %"
    )
    body = [plot.line("exact", (low, low), (high, high))]
    for i, each in enumerate(networks):
        whisker = plot.line("whisker", (each.top1, each.low), (each.top1, each.high))
        body.append(_mark("network", i, each, recipes, whisker + _dot(plot, each.top1, each.predicted)))
    return plot.svg(body, lambda value: f"{value:g}")


def _residual_plot(networks: Sequence[LeftOutNetwork], recipes: Sequence[str]) -> str:
    mmacs = [each.macs / 1e6 for each in networks]
    residuals = [each.predicted - each.top1 for each in networks]
    reach = 1.15 * max(0.2, *(abs(residual) for residual in residuals))
    x = Axis(min(mmacs) / 1.15, max(mmacs) * 1.15, LEFT, LEFT + _SMALL)
    plot = Plot(
        "residuals", x, Axis(-reach, reach, TOP + _SMALL, TOP, log=False), "MMACs", "predicted less trained"
    )
    body = [plot.line("exact", (x.low, 0), (x.high, 0))]
    for i, (each, at, residual) in enumerate(zip(networks, mmacs, residuals, strict=True)):
        whisker = plot.line("whisker", (at, each.low - each.top1), (at, each.high - each.top1))
        body.append(_mark("error", i, each, recipes, whisker + _dot(plot, at, residual)))
    return plot.svg(body, lambda value: f"{value:+g}" if value else "0")


def _learning_plot(left_out: LeftOut) -> str:
    curve = sorted(left_out.learning.items())
    if len(curve) < 2:
        return "<p>Too few networks for a curve.</p>"
    sizes, errors = [size for size, _ in curve], [quality.rmse for _, quality in curve]
    x = Axis(sizes[0] / 1.1, sizes[-1] * 1.1, LEFT, LEFT + _SMALL)
    plot = Plot(
        "learning", x, Axis(0.0, 1.1 * max(errors), TOP + 260, TOP, log=False), "networks", "RMSE, points"
    )
    body = [plot.line("step", start, end) for start, end in pairwise(zip(sizes, errors, strict=True))]
    for size, quality in curve:
        tip = escape(f"{size} networks: RMSE {quality.rmse:.2f} points, tau {quality.tau:.2f}")
        body.append(f'<g class="network large"><title>{tip}</title>{_dot(plot, size, quality.rmse)}</g>')
    return plot.svg(body, lambda value: f"{value:g}")


def _dot(plot: Plot, x: float, y: float) -> str:
    at = f'cx="{plot.x(x):.1f}" cy="{plot.y(y):.1f}"'
    return f'<circle class="dot" {at} r="4.2"/><circle class="touch" {at} r="8"/>'


def _mark(kind: str, index: int, each: LeftOutNetwork, recipes: Sequence[str], drawing: str) -> str:
    tip = "\n".join(
        [
            each.name,
            f"trained {each.top1:.2f} % ({each.seeds} seed{'s' if each.seeds > 1 else ''}, {each.recipe})",
            f"predicted {each.predicted:.2f} %, 90 %: {each.low:.2f} to {each.high:.2f}",
            f"{format_count(each.macs)}MACs",
        ]
    )
    colour = _KINDS[min(recipes.index(each.recipe), len(_KINDS) - 1)]
    return f'<g class="{kind} {colour}" data-n="{index}"><title>{escape(tip)}</title>{drawing}</g>'


def _networks(networks: Sequence[LeftOutNetwork]) -> str:
    columns = ("network", "recipe", "seeds", "MMACs", "trained", "predicted", "residual")
    rows = tuple(
        (
            each.name,
            each.recipe,
            str(each.seeds),
            f"{each.macs / 1e6:.2f}",
            f"{each.top1:.2f}",
            f"{each.predicted:.2f}",
            f"{each.predicted - each.top1:+.2f}",
        )
        for each in sorted(networks, key=lambda each: -abs(each.predicted - each.top1))
    )
    summary = f"Every network, largest residual first ({len(networks)})"
    table = html_table(TextTable(columns, rows))
    return f'<details class="card wide each"><summary>{summary}</summary>{table}</details>'
