"""`chamnet-host accuracy`: how good the accuracy predictor is, and fitting it anew."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.gp import KernelName
from chamnet.quantities import format_count
from chamnet_host.options import AsJson, Seed
from chamnet_host.output import print_json, print_table, print_text, progress_bar

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="How good the accuracy predictor is, and fitting it anew.")


@app.command()
def show(
    predictor: Annotated[
        Path | None,
        typer.Option(
            "--predictor", help="A fitted predictor (.npz). Default: the shipped one.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the predictor stands on, and its error when networks or whole families are left out."""
    _report(AccuracyPredictor.load(predictor), as_json, "accuracy show")


@app.command()
def fit(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (.npz).")],
    kernel: Annotated[str, typer.Option(help="additive, matern, or rbf (the paper's).")] = "additive",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    r"""Fit a predictor to the published networks; needs PyTorch and BoTorch (pip install 'chamnet\[fit]')."""
    from chamnet.predictors.accuracy_fit import fit_default

    with progress_bar("fit", unit="fits"):
        predictor = fit_default(seed=seed, kernel=cast(KernelName, kernel))
    predictor.save(output)
    _report(predictor, as_json, "accuracy fit")


def _report(predictor: AccuracyPredictor, as_json: bool, command: str) -> None:
    summary = predictor.summary()
    if as_json:
        print_json(command, {"summary": summary})
        return
    _report_pool(predictor, summary)
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
