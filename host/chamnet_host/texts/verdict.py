"""A verdict on predicted latencies in words: tables for the terminal and the report, Markdown for documents."""

from collections.abc import Callable
from typing import NamedTuple

from chamnet.predictors.verdict import Report, SizeClass, Verdict

__all__ = [
    "TextTable",
    "baseline_table",
    "heading",
    "is_numeric",
    "markdown",
    "percent",
    "remarks",
    "signed_percent",
    "size_table",
]

_MEASURES: tuple[tuple[str, Callable[[Verdict], str]], ...] = (
    ("MAPE", lambda verdict: percent(verdict.mape, 2)),
    ("bias", lambda verdict: signed_percent(verdict.bias, 2)),
    ("within 5 %", lambda verdict: percent(verdict.within_5)),
    ("within 10 %", lambda verdict: percent(verdict.within_10)),
    ("worst", lambda verdict: signed_percent(verdict.worst)),
)


class TextTable(NamedTuple):
    """A table in text; `print_table(*table)` prints it.

    Attributes:
        columns: Headings.
        rows: Cells, as many a row as there are headings.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def heading(report: Report) -> str:
    """Say on how many networks of which groups it stands, such as `200 random networks`."""
    count = report.whole.predictor.count
    return f"{count} {' and '.join(report.groups)} {'network' if count == 1 else 'networks'}"


def baseline_table(report: Report) -> TextTable:
    """Return the errors of the predictor and of each baseline, on all networks."""
    verdicts = (report.whole.predictor, *report.whole.baselines)
    rows = (
        (verdict.name, *(measure(verdict) for _, measure in _MEASURES), verdict.worst_name)
        for verdict in verdicts
    )
    return TextTable(("", *(name for name, _ in _MEASURES), "worst network"), tuple(rows))


def size_table(report: Report) -> TextTable:
    """Return the predictor's errors by size of network, with the noise of the truth and the best count."""
    columns = (
        "size",
        "networks",
        *(name for name, _ in _MEASURES),
        "split-half",
        "excess",
        "vs counts",
    )
    return TextTable(columns, tuple(_size_row(each) for each in report.classes))


def remarks(report: Report) -> list[str]:
    """Return sentences on the noise of the truth, the error beyond it, the intervals, and the best count."""
    whole = report.whole
    noise, predictor = whole.noise, whole.predictor
    said = [
        f"Truth: medians of odd and even visits differ by {percent(noise.mean, 2)} on average, "
        f"{percent(noise.worst)} at worst ({noise.worst_name}); "
        f"the standard error of a measured latency is {percent(noise.deviation, 2)}.",
        f"Error: {percent(predictor.rms, 2)} rms, {percent(predictor.excess, 2)} once that noise is taken off; "
        f"the median error is {percent(predictor.median_error, 2)}.",
    ]
    if interval := predictor.interval:
        said.append(
            f"Intervals: {interval.inside} of {predictor.count} networks lie inside their 90 % interval, "
            f"{percent(interval.share)} (95 % binomial interval {percent(interval.low)} to {percent(interval.high)}): "
            f"{'consistent' if interval.consistent else 'not consistent'} with 90 %; "
            f"half a median interval is {percent(interval.half_width)}."
        )
    if whole.improvement is not None:
        said.append(
            f"Baselines: the best one without measured units ({whole.best_counted}, fitted to the "
            f"{report.known} calibration networks) has {whole.improvement:.1f} times the predictor's MAPE."
        )
    shares = ", ".join(f"{percent(share)} {source}" for source, share in report.coverage.items())
    said.append(f"Predicted time by source of its rows: {shares}.")
    ranks = [(each.name, each.spearman) for each in (predictor, *whole.baselines)]
    shown = (f"{rank:.3f} {name}" for name, rank in ranks if rank is not None and not name.endswith("scaled"))
    if known := ", ".join(shown):  # a scale changes no rank
        said.append(f"Rank correlation (Spearman), which tells methods apart badly: {known}.")
    return said


def markdown(report: Report) -> str:
    """Return both tables and the remarks as Markdown, without a heading."""
    tables = (baseline_table(report), size_table(report))
    return (
        "\n\n".join([*map(_markdown_table, tables), "\n".join(f"- {_plain(r)}" for r in remarks(report))])
        + "\n"
    )


def is_numeric(table: TextTable, column: int) -> bool:
    """Return whether a column holds numbers, which are aligned to the right; the first names its rows."""
    cells = [row[column] for row in table.rows]
    return column > 0 and all(cell[:1] in "+-" or cell[:1].isdigit() for cell in cells)


def percent(share: float, digits: int = 1) -> str:
    """Write a share in percent.

    >>> percent(0.0314)
    '3.1 %'
    """
    return f"{100 * share:.{digits}f} %"


def signed_percent(share: float, digits: int = 1) -> str:
    """Write a share in percent, with its sign.

    >>> signed_percent(-0.0314, 2)
    '-3.14 %'
    """
    return f"{100 * share:+.{digits}f} %"


def _size_row(size: SizeClass) -> tuple[str, ...]:
    verdict = size.predictor
    return (
        size.name,
        str(verdict.count),
        *(measure(verdict) for _, measure in _MEASURES),
        percent(size.noise.mean, 2),
        percent(verdict.excess, 2),
        f"{size.improvement:.1f}×" if size.improvement is not None else "-",
    )


def _markdown_table(table: TextTable) -> str:
    numeric = [is_numeric(table, i) for i in range(len(table.columns))]
    rule = ["---:" if right else "---" for right in numeric]
    return "\n".join(f"| {' | '.join(map(_plain, cells))} |" for cells in (table.columns, rule, *table.rows))


def _plain(text: str) -> str:
    """Keep names from ending a cell or starting markup."""
    return "".join(f"\\{letter}" if letter in "\\|*_`<&[" else letter for letter in text)
