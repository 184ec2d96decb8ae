"""`chamnet-host accuracy`: how good the accuracy predictor is, and fitting it anew."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from chamnet.errors import ConfigError
from chamnet.lut import Store
from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.gp import KernelName
from chamnet.predictors.left_out import leave_out
from chamnet.predictors.trainings import TrainingLog, pool_of, trainings_inside
from chamnet.space import load_space
from chamnet_host.accuracies import (
    keep_predictor,
    load_predictor,
    read_trainings,
    shipped_table,
    shipped_tables,
    write_trainings,
)
from chamnet_host.commands.accuracy_build import build
from chamnet_host.options import DB, SPACE, AsJson, Db, Predictor, Seed, SpaceName, check_one_of
from chamnet_host.output import note, print_json, print_table, print_text, progress_bar, write_text
from chamnet_host.pages.accuracy import accuracy_html
from chamnet_host.texts.accuracy import learning_table, quality_table, report_predictor

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="How good the accuracy predictor is; training networks or bringing accuracies, and fitting to them.",
)
app.command()(build)


@app.command()
def show(predictor: Predictor = None, db: Db = DB, as_json: AsJson = False) -> None:
    """Show what the predictor stands on, and its error when networks or whole families are left out."""
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(db, create=False)) if predictor and db.exists() else None
        _report(load_predictor(store, predictor), as_json, "accuracy show")


@app.command()
def report(
    predictor: Predictor = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", help="Write a page with plots to this file.", metavar="FILE", show_default=False
        ),
    ] = None,
    db: Db = DB,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Judge a predictor: every network left out in turn, and pools of fewer networks.

    tau is Kendall's rank correlation; "tau top 20 %" ranks the most accurate fifth by itself, which is what a search
    lives from.

    Example: `chamnet-host accuracy report --predictor mine --html accuracy.html`
    """
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(db, create=False)) if predictor and db.exists() else None
        judged = load_predictor(store, predictor)
    left_out = leave_out(judged, seed=seed)
    name = predictor or "shipped"
    if html:
        stands_on = (
            f"{len(judged.pool)} trainings on {judged.pool.dataset}, {judged.model.kernel.name} kernel"
        )
        page = accuracy_html(f"Accuracy predictor {name}", stands_on, left_out, judged.default_recipe)
        write_text("--html", html, page)
    if as_json:
        print_json("accuracy report", {"predictor": name, **left_out.to_dict()})
        return
    table = quality_table(left_out)
    print_table(table.columns, table.rows, "each network predicted from all others")
    if left_out.learning:
        table = learning_table(left_out)
        print_table(
            table.columns,
            table.rows,
            f"\n{judged.default_recipe}: pools of fewer networks predict the others",
        )
    seeds = f"; seeds of one network differ by {left_out.seed_sd:.2f}" if left_out.seed_sd is not None else ""
    print_text(f"errors in points of top-1{seeds}")
    if html:
        note(f"plots: {html}")


@app.command(name="import")
def import_command(
    source: Annotated[
        str,
        typer.Argument(
            help="A .csv or .parquet file, or the name of a table that comes with ChamNet: fashion-mnist-28.",
            metavar="FILE",
        ),
    ],
    space: SpaceName = SPACE,
    dataset: Annotated[
        str, typer.Option(help="What they were trained on, where the file has no such column.")
    ] = "imagenet",
    recipe: Annotated[
        str, typer.Option(help="How they were trained, where the file has no such column.")
    ] = "own",
    db: Db = DB,
    as_json: AsJson = False,
) -> None:
    """Bring accuracies of networks that were trained elsewhere into the store.

    One row per training: top1 in percent; the network as genome (224-32-24-...), as network (a published name), or one
    column for each decision of the space; recipe, seed and dataset if they differ. Nothing is stored where a row is wrong.

    Example: `chamnet-host accuracy import trained.csv --space mobile-wide`, then
    `chamnet-host accuracy fit --space mobile-wide --as mine` and `chamnet-host search -b 8ms --predictor mine`
    """
    chosen = load_space(space)
    file = shipped_table(source) if source in shipped_tables() else Path(source)
    trainings = read_trainings(file, chosen, dataset=dataset, recipe=recipe)
    with Store.open(db) as store:
        added = TrainingLog(store).append(trainings)
    networks = len({training.key[0] for training in trainings})
    if as_json:
        known = len(trainings) - added
        body = {"file": source, "added": added, "already_stored": known, "networks": networks}
        print_json("accuracy import", {**body, "space": chosen.name})
        return
    print_text(
        f"{source}: {added:,} trainings added, {len(trainings) - added:,} were there before, of {networks:,} networks of"
        f" {chosen.name}"
    )
    note(f"next: `chamnet-host accuracy fit --space {space} --as NAME`")


@app.command(name="export")
def export_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (.csv).")],
    space: SpaceName = SPACE,
    dataset: Annotated[
        str | None, typer.Option(help="Only trainings on this dataset.", show_default=False)
    ] = None,
    db: Db = DB,
    as_json: AsJson = False,
) -> None:
    """Write the stored trainings of a space's networks as a table that `accuracy import` reads."""
    chosen = load_space(space)
    with Store.open(db, create=False) as store:
        trainings = trainings_inside(TrainingLog(store).read(dataset), chosen)
    write_trainings(output, trainings, chosen)
    if as_json:
        print_json("accuracy export", {"file": str(output), "trainings": len(trainings)})
        return
    print_text(f"{output}: {len(trainings):,} trainings of networks of {chosen.name}")


@app.command()
def fit(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write (.npz).", show_default=False)
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--as", help="Name to keep it under in the store.", metavar="NAME", show_default=False),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            help="Fit to the imported trainings of this space. Default: to the published networks.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Of the trainings, where there are several.", show_default=False),
    ] = None,
    kernel: Annotated[
        str,
        typer.Option(
            help="additive (the search proves its answers), sum (learns most from few trainings), matern, matern-ard, or rbf"
            " (the paper's)."
        ),
    ] = "additive",
    db: Db = DB,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    r"""Fit a predictor to imported trainings or the published networks; needs PyTorch and BoTorch (chamnet\[fit]).

    Example: `chamnet-host accuracy fit --space mobile-wide --as mine`
    """
    if not output and not name:
        raise ConfigError("where to? Give --as NAME to keep the predictor in the store, or -o FILE.npz")
    check_one_of("--kernel", kernel, get_args(KernelName))
    from chamnet.predictors.accuracy_fit import fit_accuracy, fit_default

    with ExitStack() as stack:
        store = stack.enter_context(Store.open(db, create=space is None)) if name or space else None
        pool = pool_of(TrainingLog(store).read(dataset), load_space(space)) if store and space else None
        with progress_bar("fit", unit="fits"):
            if pool:
                predictor = fit_accuracy(pool, seed=seed, kernel=cast(KernelName, kernel))
            else:
                predictor = fit_default(seed=seed, kernel=cast(KernelName, kernel))
        if output:
            predictor.save(output)
        if store and name:
            keep_predictor(store, name, predictor)
    _report(predictor, as_json, "accuracy fit")


def _report(predictor: AccuracyPredictor, as_json: bool, command: str) -> None:
    if as_json:
        print_json(command, {"summary": predictor.summary()})
        return
    report_predictor(predictor)
