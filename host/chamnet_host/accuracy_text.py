"""What a predictor stands on and how wrong it is, as text."""

from typing import Any

from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.quantities import format_count
from chamnet_host.output import print_table, print_text

__all__ = ["report_predictor"]


def report_predictor(predictor: AccuracyPredictor) -> None:
    """Print what a predictor stands on, and its error when networks or whole families are left out."""
    _report_pool(predictor, predictor.summary())
    validation = predictor.validation
    scores = [("one network left out", validation.one_out)]
    scores += [(f"family left out: {name}", score) for name, score in validation.families.items()]
    scores += [(f"outside the structure: {name}", score) for name, score in validation.beyond.items()]
    rows = [
        (
            name,
            str(score.count),
            f"{score.mae:.2f}",
            f"{score.bias:+.2f}",
            f"{score.tau:.2f}",
            f"{100 * score.coverage_naive:.0f} %",
            f"{100 * score.coverage:.0f} %",
        )
        for name, score in scores
    ]
    print_table(("test", "networks", "error", "bias", "tau", "naive 90 %", "90 %"), rows)
    print_text(
        "errors in points of top-1; tau ranks; the last columns say how many fall into the 90 % interval"
    )


def _report_pool(predictor: AccuracyPredictor, summary: dict[str, Any]) -> None:
    lowest, highest = (format_count(macs) for macs in predictor.macs_range)
    print_text(
        f"{summary['networks']} networks, {summary['dataset']} top-1 at {summary['precision']}, {lowest} to {highest} MACs,"
        f" {summary['kernel']} kernel"
    )
    for name, recipe in summary["recipes"].items():
        default = " (default)" if name == predictor.default_recipe else ""
        print_text(f"  recipe {name}{default}: {recipe['networks']} networks, {recipe['source']}")
