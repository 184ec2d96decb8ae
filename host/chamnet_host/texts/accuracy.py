"""What a predictor stands on and how wrong it is, as text."""

from typing import Any

from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.left_out import LeftOut, Quality
from chamnet.quantities import format_count
from chamnet_host.output import print_table, print_text
from chamnet_host.texts.verdict import TextTable

__all__ = ["learning_table", "quality_table", "report_predictor"]


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
    print_table(("test", "trainings", "error", "bias", "tau", "naive 90 %", "90 %"), rows)
    print_text(
        "errors in points of top-1; tau ranks; the last columns say how many fall into the 90 % interval"
    )


def _report_pool(predictor: AccuracyPredictor, summary: dict[str, Any]) -> None:
    lowest, highest = (format_count(macs) for macs in predictor.macs_range)
    print_text(
        f"{_count(summary)}, {summary['dataset']} top-1 at {summary['precision']}, {lowest} to {highest} MACs,"
        f" {summary['kernel']} kernel"
    )
    for name, recipe in summary["recipes"].items():
        default = " (default)" if name == predictor.default_recipe else ""
        print_text(f"  recipe {name}{default}: {_count(recipe)}, {recipe['source']}")


def _count(of: dict[str, Any]) -> str:
    networks, trainings = of["networks"], of["trainings"]
    return f"{networks} networks" if trainings == networks else f"{networks} networks, {trainings} trainings"


def quality_table(left_out: LeftOut) -> TextTable:
    """Return the table of how well networks left out are predicted, by recipe."""
    columns = ("recipe", "networks", "RMSE", "error", "bias", "tau", "tau top 20 %", "in 90 %")
    rows = tuple((name, str(quality.count), *_cells(quality)) for name, quality in left_out.recipes.items())
    return TextTable(columns, rows)


def learning_table(left_out: LeftOut) -> TextTable:
    """Return the table of how pools of fewer networks predict the others."""
    columns = ("networks", "others", "RMSE", "error", "bias", "tau", "tau top 20 %", "in 90 %")
    rows = tuple(
        (str(size), str(quality.count), *_cells(quality)) for size, quality in left_out.learning.items()
    )
    return TextTable(columns, rows)


def _cells(quality: Quality) -> tuple[str, ...]:
    return (
        f"{quality.rmse:.2f}",
        f"{quality.mae:.2f}",
        f"{quality.bias:+.2f}",
        f"{quality.tau:.2f}",
        f"{quality.tau_top:.2f}",
        f"{100 * quality.coverage:.0f} %",
    )
