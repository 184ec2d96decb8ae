"""Networks taken apart, as one HTML file: bars of MACs and milliseconds, stage by stage and size by size."""

from collections.abc import Callable, Sequence
from html import escape

from chamnet.quantities import format_count
from chamnet_host.breakdown import Breakdown, Share
from chamnet_host.pages.page import fill_page

__all__ = ["breakdown_html"]

_WIDE, _BAR, _GAP, _NAMES = 620.0, 13.0, 10.0, 110.0  # px
_SHADES = ("large", "small")


def breakdown_html(parts: Sequence[Breakdown], platform: str) -> str:
    """Return a page on networks taken apart, one bar for each beside the others.

    Args:
        parts: At least one.
        platform: What latencies are predicted for.
    """
    names = " and ".join(each.prediction.network.name for each in parts)
    sections: list[str] = []
    kinds: tuple[tuple[str, Callable[[Breakdown], tuple[Share, ...]]], ...] = (
        ("By stage", lambda each: each.stages),
        ("By size of the feature map", lambda each: each.sizes),
    )
    for title, shares_of in kinds:
        for what, value_of in (("share of MACs, %", _macs_share), ("ms", _latency)):
            drawn = _bars(parts, shares_of, value_of)
            if drawn:
                sections.append(
                    f'<section class="card wide lead"><h3>{title}: {what}</h3>{drawn}{_legend(parts)}</section>'
                )
    return fill_page(
        "breakdown.html",
        title=escape(f"Where compute and time go: {names}"),
        subtitle=escape(platform),
        sections="\n".join(sections),
    )


def _macs_share(share: Share, whole: Breakdown) -> float | None:
    return 100 * share.macs / whole.prediction.network.macs


def _latency(share: Share, whole: Breakdown) -> float | None:
    return share.latency_ms


def _bars(
    parts: Sequence[Breakdown],
    shares_of: Callable[[Breakdown], tuple[Share, ...]],
    value_of: Callable[[Share, Breakdown], float | None],
) -> str:
    """Return grouped bars; nothing where there are no values."""
    names = list(dict.fromkeys(share.name for each in parts for share in shares_of(each)))
    held = {
        (number, share.name): value
        for number, each in enumerate(parts)
        for share in shares_of(each)
        if (value := value_of(share, each)) is not None
    }
    if not held:
        return ""
    most, group = max(held.values()), len(parts) * _BAR + _GAP
    drawn = []
    for row, name in enumerate(names):
        top = row * group
        drawn.append(
            f'<text x="{_NAMES - 8:g}" y="{top + group / 2:g}" text-anchor="end">{escape(name)}</text>'
        )
        for number, each in enumerate(parts):
            value = held.get((number, name), 0.0)
            width, y = _WIDE * value / most, top + number * _BAR
            tip = f"{each.prediction.network.name}\n{name}: {value:.3g}"
            shade = _SHADES[number % len(_SHADES)]
            drawn.append(
                f'<g class="{shade}" data-n="{row}-{number}"><title>{escape(tip)}</title><rect class="dot" x="{_NAMES:g}"'
                f' y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{_BAR - 2:g}"/></g>'
                f'<text x="{_NAMES + width + 6:.1f}" y="{y + _BAR - 3:.1f}">{value:.3g}</text>'
            )
    height = len(names) * group
    return f'<svg viewBox="0 0 {_NAMES + _WIDE + 60:g} {height:g}" role="img">{"".join(drawn)}</svg>'


def _legend(parts: Sequence[Breakdown]) -> str:
    entries = []
    for number, each in enumerate(parts):
        network, shade = each.prediction.network, _SHADES[number % len(_SHADES)]
        swatch = f'<svg viewBox="0 0 22 14"><g class="{shade}"><rect class="dot" width="22" height="12"/></g></svg>'
        entries.append(f"<li>{swatch}{escape(network.name)}, {format_count(network.macs)}MACs</li>")
    return f'<ul class="legend">{"".join(entries)}</ul>'
