"""HTML files that need nothing else: one look, tooltips on what is drawn."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from chamnet_host.texts.verdict import TextTable, is_numeric

__all__ = ["fill_page", "html_table"]


def fill_page(name: str, *, title: str, **parts: str) -> str:
    """Return a page of this package with its parts filled in.

    Args:
        name: Of the template of its body.
        title: In HTML, as the parts.
        parts: HTML for each place in the body; frame, style and script are the same for all pages.
    """
    here = files("chamnet_host.pages")
    style, script, frame, body = (
        here.joinpath(file).read_text(encoding="utf-8") for file in ("page.css", "page.js", "page.html", name)
    )
    filled = Template(body).substitute(title=title, **parts)
    return Template(frame).substitute(title=title, style=style, script=script, body=filled)


def html_table(table: TextTable) -> str:
    """Return a table; columns that hold numbers are right-aligned."""
    kinds = ["" if is_numeric(table, i) else ' class="text"' for i in range(len(table.columns))]

    def row(tag: str, cells: Sequence[str]) -> str:
        marked = zip(kinds, cells, strict=True)
        return f"<tr>{''.join(f'<{tag}{kind}>{escape(cell)}</{tag}>' for kind, cell in marked)}</tr>"

    body = "".join(row("td", cells) for cells in table.rows)
    return f"<table><thead>{row('th', table.columns)}</thead><tbody>{body}</tbody></table>"
