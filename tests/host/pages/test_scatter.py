import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from chamnet.predictors.verdict import Judged, Known, Report, judge
from chamnet_host.pages.scatter import scatter_html

EVIL = '<script>alert("x")</script> & co'
VOID = {"meta", "br", "link"}


class Page(HTMLParser):
    """Reads a page, and fails on a tag that is not closed in turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.titles: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "title":
            self.titles.append(data)
        self.text += data

    def marks(self, kind: str) -> list[dict[str, str | None]]:
        return [
            attrs
            for tag, attrs in self.tags
            if tag == "g" and (attrs.get("class") or "").split()[:1] == [kind]
        ]


def networks(count: int, group: str = "random", name: str = "net") -> list[Judged]:
    rng = np.random.default_rng(count)
    made = []
    for i in range(count):
        macs = int(math.exp(rng.uniform(math.log(2e7), math.log(7e8))))
        truth_ms = 0.3 + macs / 6e7
        predicted_ms = truth_ms * math.exp(rng.normal(0, 0.03))
        made.append(
            Judged(
                name=f"{name}{i}",
                group=group,
                macs=macs,
                weight_bytes=int(rng.uniform(2e6, 2e7)),
                visits_ms=tuple((truth_ms * np.exp(rng.normal(0, 0.01, 20))).tolist()),
                predicted_ms=predicted_ms,
                low_ms=0.95 * predicted_ms,
                high_ms=1.05 * predicted_ms,
                coverage={"measured": 0.5, "interpolated": 0.5, "missing": 0.0},
                sums_ms={"isolated operators": 1.2 * truth_ms},
            )
        )
    return made


RANDOM = networks(200)
PUBLISHED = networks(34, "published", EVIL)
KNOWN = [
    Known(macs=n.macs, weight_bytes=n.weight_bytes, measured_ms=n.measured_ms, sums_ms=n.sums_ms)
    for n in networks(10)
]


def verdict(judged: list[Judged]) -> Report:
    return judge(judged, KNOWN)


def page(judged: list[Judged] = RANDOM) -> str:
    return scatter_html("Latency on local", "LiteRT int8", judged, verdict(judged))


def test_every_network_has_one_mark_in_each_plot() -> None:
    read = Page(page(RANDOM + PUBLISHED))
    for kind in ("network", "error"):
        assert sorted(int(mark["data-n"] or "") for mark in read.marks(kind)) == list(range(234))
    small = sum(each.macs < 100_000_000 for each in RANDOM + PUBLISHED)
    assert sum("small" in (mark["class"] or "") for mark in read.marks("network")) == small


def test_marks_lie_where_the_numbers_say() -> None:
    """Two networks span the axes: a decade apart in both, they lie on a line at 45 degrees."""
    first, second = networks(2)
    first = exact(first, 1.0)
    second = exact(second, 10.0)
    dot = r'class="network[^>]*>.*?class="dot" cx="([\d.]+)" cy="([\d.]+)"'
    circles = re.findall(dot, page([first, second]), flags=re.DOTALL)
    (x1, y1), (x2, y2) = [(float(x), float(y)) for x, y in circles]
    assert x2 - x1 == pytest.approx(y1 - y2, abs=0.2)
    assert x2 - x1 == pytest.approx(560 * math.log(10) / math.log(10 * 1.12**2), abs=0.2)


def exact(network: Judged, ms: float) -> Judged:
    return Judged(
        name=network.name,
        group=network.group,
        macs=network.macs,
        weight_bytes=network.weight_bytes,
        visits_ms=(ms, ms),
        predicted_ms=ms,
        low_ms=ms,
        high_ms=ms,
        coverage=network.coverage,
    )


def test_tooltips_tell_name_measured_predicted_and_error() -> None:
    network = RANDOM[7]
    (tip,) = {text for text in Page(page()).titles if text.startswith(f"{network.name}\n")}
    assert f"measured {network.measured_ms:.3f} ms" in tip
    assert f"predicted {network.predicted_ms:.3f} ms" in tip
    assert f"error {100 * network.error:+.1f} %" in tip


def test_names_and_titles_are_escaped() -> None:
    html = scatter_html(EVIL, EVIL, PUBLISHED, verdict(PUBLISHED))
    assert html.count("<script>") == 1  # our own
    read = Page(html)
    assert EVIL in read.titles
    assert any(text.startswith(f"{EVIL}3\n") for text in read.titles)


def test_page_needs_nothing_else() -> None:
    html = page(RANDOM + PUBLISHED)
    assert not re.search(r"https?:|//[\w.]+\.\w|@import|\burl\((?!#)", html)
    assert not [tag for tag, attrs in Page(html).tags if tag in ("link", "img", "iframe") or "src" in attrs]
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html


def test_verdicts_of_groups_judged_apart_follow() -> None:
    html = scatter_html(
        "t", "s", RANDOM + PUBLISHED, verdict(RANDOM), apart=[verdict(PUBLISHED), verdict(RANDOM[:50])]
    )
    headings = ("200 random networks", "34 published networks", "50 random networks")
    places = [html.index(f"Verdict on {heading}") for heading in headings]
    assert places == sorted(places)
    assert html.count("Predictor and baselines") == 3
    assert html.count("sum of isolated operators, scaled") == 3


def test_one_network_alone_and_a_wild_prediction_are_drawn() -> None:
    (alone,) = networks(1)
    wild = Judged(
        name="wild",
        group="random",
        macs=alone.macs,
        weight_bytes=1,
        visits_ms=(1.0, 1.1),
        predicted_ms=50.0,
        low_ms=1e-6,
        high_ms=1e6,
        coverage={"missing": 1.0},
    )
    for judged in ([alone], [alone, wild]):
        html = page(judged)
        assert len(Page(html).marks("network")) == len(judged)
        assert "nan" not in re.sub(r"<script>.*</script>", "", html, flags=re.DOTALL).lower()
        assert all(abs(float(y)) < 3000 for y in re.findall(r' [xy][12]?="(-?[\d.]+)"', html))


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="no networks"):
        scatter_html("t", "s", [], verdict(RANDOM))
