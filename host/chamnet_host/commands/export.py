"""`chamnet-host export`: a network as a model file."""

from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chamnet.errors import ConfigError
from chamnet.networks import Network
from chamnet.space import load_space
from chamnet_host.options import DB, SPACE, AsJson, Db, Seed, SpaceName
from chamnet_host.output import print_json, print_text, progress_bar
from chamnet_host.subjects import is_published, read_network
from chamnet_host.training.exports import FORMATS, facts_path, trained_network, write_random, write_trained

if TYPE_CHECKING:
    from chamnet.train.trainer import Trained
    from chamnet_host.training.export_check import Verdict

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(export)


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    network: Annotated[
        str | None,
        typer.Argument(
            help="Published name, genome, JSON file of a search or an architecture, or best. Default: that of --weights.",
            metavar="NETWORK",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option("--format", "-f", help="onnx, tflite (both run at once), or torch (to train)."),
    ] = "onnx",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="File that `train` wrote. Default: random weights, from the seed.",
            metavar="FILE.pt",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            help="Run the file on test images of this dataset (2,000 at most), and compare it with the trained network:"
            " named as for `train --dataset`.",
            metavar="DATASET",
            show_default=False,
        ),
    ] = None,
    space: SpaceName = SPACE,
    db: Db = DB,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    r"""Write a network as an ONNX or TFLite model, or as a torch checkpoint to train.

    Weights are random, since latency does not depend on them, or those of --weights. Then FILE.json beside the model says
    what goes in: each channel, from 0 to 1, minus `mean`, divided by `deviation`. A torch file holds `architecture` (as
    JSON text) and `state_dict`, for `chamnet.models.torch_module.ChainModule`.

    Example: `chamnet-host export best -o best.onnx`, or
    `chamnet-host export --weights best.pt --check fashion-mnist -f tflite -o best.tflite`
    """
    if form not in FORMATS:
        raise ConfigError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    chosen = None if network is None else read_network(network, load_space(space), db)
    if weights is not None:
        _export_trained(weights, output, form=form, named=chosen, check=check, as_json=as_json)
        return
    if chosen is None:
        raise ConfigError(
            "which network? Name one, or give --weights FILE.pt that `chamnet-host train` wrote"
        )
    if check is not None:
        raise ConfigError("--check goes with --weights: random weights name classes at random")
    write_random(chosen, output, form=form, seed=seed)
    if as_json:
        print_json("export", _body(chosen, form, output))
        return
    print_text(_line(chosen, form, output))


def _export_trained(
    weights: Path, output: Path, *, form: str, named: Network | None, check: str | None, as_json: bool
) -> None:
    if find_spec("torch") is None:
        raise ConfigError("--weights needs PyTorch: pip install 'chamnet[train]'")
    from chamnet.train.datasets import load_dataset
    from chamnet.train.trainer import load_trained

    trained = load_trained(weights)
    network = trained_network(trained, weights)
    if named is not None:
        _check_same(named, network, weights)
        network = replace(network, name=named.name)
    verdict = None
    if check is None:
        write_trained(trained, weights, output, form=form)
    else:
        from chamnet_host.training.export_check import check_classes, check_export

        dataset = load_dataset(check)
        check_classes(trained, dataset)
        write_trained(trained, weights, output, form=form)
        with progress_bar("check", unit="images") as show:
            verdict = check_export(
                output,
                form,
                trained=trained,
                dataset=dataset,
                progress=lambda done, total: show(done, total, ""),
            )
    if as_json:
        body = {**_body(network, form, output), **_trained_body(trained, output, form, verdict)}
        print_json("export", body)
        return
    print_text(_line(network, form, output))
    _report_trained(trained, output, form, verdict)


def _check_same(named: Network, network: Network, weights: Path) -> None:
    """Refuse weights of another network.

    Raises:
        ConfigError: They are; it says what to do.
    """
    architecture = named.architecture.trained
    if is_published(named):  # trained with the classes of its dataset
        architecture = replace(architecture, classes=network.architecture.classes)
    if architecture.build().digest != network.digest:
        raise ConfigError(
            f"{weights}: holds weights of another network than {named.name}; leave the network out to export what the file"
            " holds"
        )


def _body(network: Network, form: str, path: Path) -> dict[str, Any]:
    return {
        "network": network.name,
        "format": form,
        "file": str(path),
        "bytes": path.stat().st_size,
        "architecture": network.architecture.to_dict(),
    }


def _trained_body(trained: "Trained", path: Path, form: str, verdict: "Verdict | None") -> dict[str, Any]:
    return {
        "facts": None if form == "torch" else str(facts_path(path)),
        "mean": trained.mean.tolist(),
        "deviation": trained.deviation.tolist(),
        "training": trained.training,
        "check": asdict(verdict) if verdict else None,
    }


def _line(network: Network, form: str, path: Path) -> str:
    return f"{path}: {network.name}, {form}, {path.stat().st_size / 1e6:.2f} MB"


def _report_trained(trained: "Trained", path: Path, form: str, verdict: "Verdict | None") -> None:
    mean, deviation = (
        ", ".join(f"{x:.4f}" for x in each.tolist()) for each in (trained.mean, trained.deviation)
    )
    where = "in the file" if form == "torch" else f"in {facts_path(path)}"
    print_text(f"  images: channels from 0 to 1, minus {mean}, divided by {deviation}; {where}")
    if verdict:
        print_text(
            f"  {verdict.top1:.2f} % on {verdict.images:,} test images of {verdict.dataset}, {verdict.torch_top1:.2f} % before"
            f" the export; another class for {verdict.differing:,} of them"
        )
