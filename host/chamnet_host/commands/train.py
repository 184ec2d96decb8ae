"""`chamnet-host train`: train one network, for its weights."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from chamnet.errors import ChamNetError, ConfigError
from chamnet.lut import Store
from chamnet.networks import Network
from chamnet.predictors.trainings import Training, TrainingLog
from chamnet.space import load_space
from chamnet.train import Job, Outcome, dataset_name, load_recipe
from chamnet_host.accuracies import scratch_folder
from chamnet_host.options import (
    DB,
    SPACE,
    AsJson,
    Dataset,
    Db,
    Device,
    OneNetwork,
    RecipeName,
    Seed,
    SpaceName,
)
from chamnet_host.output import note, print_json, print_text, progress_bar
from chamnet_host.subjects import is_published, read_network

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(train)


def train(
    network: OneNetwork,
    dataset: Dataset,
    recipe: RecipeName,
    space: SpaceName = SPACE,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write. Default: the network's name and .pt.",
            metavar="FILE.pt",
            show_default=False,
        ),
    ] = None,
    on_test: Annotated[bool, typer.Option("--test", help="Measure the test images, too.")] = False,
    device: Device = "auto",
    db: Db = DB,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    r"""Train a network, write its weights, and store its accuracy.

    Its state is kept beside the store after every epoch: stop it with Ctrl-C whenever you like, the same command goes
    on. It is the training that `accuracy build` does for the same network, dataset, recipe and seed. A published network
    is built with the dataset's number of classes. Needs chamnet\[train].

    Example: `chamnet-host train best:1 --space chamnet-mobile-28 --dataset fashion-mnist --recipe fashion-quick --test
    -o best.pt`, then `chamnet-host export --weights best.pt --check fashion-mnist -o best.onnx`
    """
    how, called = load_recipe(recipe), dataset_name(dataset)
    if find_spec("torch") is None:
        raise ConfigError("training needs PyTorch: pip install 'chamnet[train]'")
    chosen = read_network(network, load_space(space), db)
    chosen = _for_dataset(chosen, dataset)
    job = Job(
        architecture=chosen.architecture,
        dataset=dataset,
        recipe=how,
        seed=seed,
        device=device,
        weights=_file(output, chosen),
        on_test=on_test,
    )
    job = job.kept_in(scratch_folder(db))
    with Store.open(db) as store:
        outcome = _run(job, chosen.name)
        training = Training(
            name=chosen.name,
            architecture=chosen.architecture,
            dataset=called,
            recipe=how.id,
            seed=seed,
            top1=outcome.top1,
            source="train",
        )
        stored = _store(TrainingLog(store), training)
    job.forget()
    if outcome.top1 is None:
        raise ChamNetError(_advice(job, chosen.name, outcome))
    _report(job, training, outcome, stored, as_json=as_json)


def _for_dataset(network: Network, dataset: str) -> Network:
    """Return a network for one image at a time; a published one with the classes of the dataset."""
    architecture = network.architecture.trained
    if is_published(network):
        from chamnet.train.datasets import load_dataset

        classes = load_dataset(dataset).classes
        if classes != architecture.classes:
            note(
                f"{network.name} is built with the {classes} classes of {dataset}, not its {architecture.classes}"
            )
            architecture = replace(architecture, classes=classes)
    return architecture.build(network.name)


def _file(output: Path | None, network: Network) -> Path:
    path = output or Path(f"{network.name.replace('/', '-') or 'network'}.pt")
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; give a file with -o")
    return path


def _run(job: Job, name: str) -> Outcome:
    from chamnet.train.trainer import train as train_network

    if job.checkpoint is not None and job.checkpoint.exists():
        note("an earlier run was stopped; going on after its last epoch")
    note(
        f"training {name} on {job.dataset} by {job.recipe.id}, seed {job.seed}; after Ctrl-C the same command goes on"
    )
    with progress_bar("train", unit="epochs") as show:
        return train_network(
            job, progress=lambda epoch, epochs, loss: show(epoch, epochs, f"loss {loss:.3f}")
        )


def _store(log: TrainingLog, training: Training) -> Training:
    """Store a training unless it is; return what is stored."""
    for each in log.read(training.dataset):
        if (each.recipe, each.seed) == (training.recipe, training.seed) and each.key == training.key:
            if each.top1 != training.top1:
                note(
                    f"the store has {_shown(each.top1)} for this training (from {each.source}), and keeps it; now it came to"
                    f" {_shown(training.top1)}: another processor or another PyTorch gives other sums"
                )
            return each
    log.append([training])
    return training


def _shown(top1: float | None) -> str:
    return "a diverged loss" if top1 is None else f"{top1:.2f} %"


def _advice(job: Job, name: str, outcome: Outcome) -> str:
    """Return what to do about a training that diverged."""
    recipe = job.recipe
    return (
        f"{name}: the loss was no number any more in epoch {outcome.epochs + 1} of {recipe.epochs}, which is stored; in a"
        f" copy of recipe {recipe.name} as a .toml file lower optimiser.rate (now {recipe.optimiser.rate:g}) or raise"
        f" schedule.warmup (now {recipe.schedule.warmup:g} epochs)"
    )


def _report(job: Job, training: Training, outcome: Outcome, stored: Training, *, as_json: bool) -> None:
    if job.weights is None or training.top1 is None:
        raise ValueError("only a training that ended well, with weights, is reported")
    size = job.weights.stat().st_size
    if as_json:
        body = {
            "network": training.name,
            **job.facts,
            "top1": training.top1,
            "test_top1": outcome.test_top1,
            "stored_top1": stored.top1,
            "epochs": outcome.epochs,
            "loss": outcome.loss,
            "file": str(job.weights),
            "bytes": size,
            "architecture": training.architecture.to_dict(),
        }
        print_json("train", body)
        return
    held_out = job.recipe.held_out
    measured = f"{held_out:,} training images held out" if held_out else "the test images"
    accuracies = [f"{training.top1:.2f} % on {measured}"]
    if outcome.test_top1 is not None and held_out:
        accuracies.append(f"{outcome.test_top1:.2f} % on the test images")
    print_text(f"{training.name}: {', '.join(accuracies)} of {training.dataset}")
    print_text(f"{job.weights}: {size / 1e6:.2f} MB, trained by {training.recipe}, seed {training.seed}")
    model = job.weights.with_suffix(".onnx").name
    note(f"next: `chamnet-host export --weights {job.weights} --check {job.dataset} -o {model}`")
