"""HTML files that need nothing else: one look, tooltips on what is drawn."""

from importlib.resources import files
from string import Template

__all__ = ["fill_page"]


def fill_page(name: str, *, title: str, **parts: str) -> str:
    """Return a page of this package with its parts filled in.

    Args:
        name: Of the template of its body.
        title: In HTML, as the parts.
        parts: HTML for each place in the body; frame, style and script are the same for all pages.
    """
    here = files("chamnet_host")
    style, script, frame, body = (
        here.joinpath(file).read_text(encoding="utf-8") for file in ("page.css", "page.js", "page.html", name)
    )
    filled = Template(body).substitute(title=title, **parts)
    return Template(frame).substitute(title=title, style=style, script=script, body=filled)
