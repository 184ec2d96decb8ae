"""HTML files that need nothing else: one look, tooltips on what is drawn."""

from importlib.resources import files
from string import Template

__all__ = ["fill_page"]


def fill_page(name: str, **parts: str) -> str:
    """Return a page of this package with its parts filled in.

    Args:
        name: Of the template.
        parts: HTML for each place in it; style and script are the same for all pages.
    """
    here = files("chamnet_host")
    style, script, page = (
        here.joinpath(file).read_text(encoding="utf-8") for file in ("page.css", "page.js", name)
    )
    return Template(page).substitute(style=style, script=script, **parts)
