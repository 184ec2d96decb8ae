"""The page of an accuracy predictor."""

from html.parser import HTMLParser

from chamnet.predictors import AccuracyPredictor
from chamnet.predictors.left_out import leave_out
from chamnet_host.pages.accuracy import accuracy_html
from chamnet_host.texts.accuracy import learning_table, quality_table


class Counter(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.classes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.classes += (dict(attrs).get("class") or "").split()


def test_every_network_is_drawn_in_both_plots_and_listed() -> None:
    left_out = leave_out(AccuracyPredictor.load())
    page = accuracy_html("Accuracy <shipped>", "on imagenet", left_out, "chamnet")
    counter = Counter()
    counter.feed(page)
    assert counter.classes.count("error") == len(left_out.networks)
    assert counter.classes.count("network") == len(left_out.networks) + len(left_out.learning)
    assert "Accuracy &lt;shipped&gt;" in page
    assert "src=" not in page  # needs nothing else
    assert page.count("mobilenet-v2-1.4-224") >= 2


def test_tables_have_a_row_each() -> None:
    left_out = leave_out(AccuracyPredictor.load())
    assert [row[0] for row in quality_table(left_out).rows] == ["chamnet", "mobilenet-v2"]
    assert [row[0] for row in learning_table(left_out).rows] == ["10", "20"]
