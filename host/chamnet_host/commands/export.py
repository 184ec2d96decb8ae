"""`chamnet-host export`: a network as a model file."""

from pathlib import Path
from typing import Annotated

import typer

from chamnet.errors import ConfigError, StoreError
from chamnet.lut import Store
from chamnet.models import onnx_model, random_weights
from chamnet.networks import Network
from chamnet.space import load_space
from chamnet_host.options import DB, SPACE, AsJson, Db, Seed, SpaceName
from chamnet_host.output import print_json, print_text
from chamnet_host.subjects import LAST_SEARCH, read_networks

__all__ = ["register"]

_FORMATS = ("onnx", "torch")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(export)


def export(
    network: Annotated[
        str, typer.Argument(help="Published name, genome, JSON file of a search or an architecture, or best.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    format_: Annotated[
        str, typer.Option("--format", "-f", help="onnx (runs at once) or torch (to train).")
    ] = "onnx",
    space: SpaceName = SPACE,
    db: Db = DB,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Write a network as an ONNX model, or as a torch checkpoint to train.

    Weights are random (from the seed): latency does not depend on them, accuracy comes from training. A torch
    file holds `architecture` (as JSON text) and `state_dict`, for `chamnet.models.torch_module.ChainModule`.

    Example: `chamnet-host export best -o best.onnx`
    """
    if format_ not in _FORMATS:
        raise ConfigError(f"unknown format {format_!r}; known: {', '.join(_FORMATS)}")
    last_search = None
    if db.exists():
        with Store.open(db) as store:
            last_search = store.get(LAST_SEARCH)
    chosen = read_networks([network], load_space(space), last_search)
    if len(chosen) > 1:
        names = ", ".join(each.name for each in chosen)
        raise ConfigError(
            f"{network}: holds {len(chosen)} networks, export takes one, such as best:1 or a genome: {names}"
        )
    try:
        (_write_onnx if format_ == "onnx" else _write_torch)(chosen[0], output, seed)
    except OSError as error:
        raise StoreError(
            f"{output}: cannot be written ({error.strerror}); choose another file with -o"
        ) from error
    size = output.stat().st_size
    if as_json:
        body = {"network": chosen[0].name, "format": format_, "file": str(output), "bytes": size}
        print_json("export", {**body, "architecture": chosen[0].architecture.to_dict()})
        return
    print_text(f"{output}: {chosen[0].name}, {format_}, {size / 1e6:.1f} MB")


def _write_onnx(network: Network, path: Path, seed: int) -> None:
    path.write_bytes(onnx_model(network.blocks, random_weights(network.blocks, seed=seed)))


def _write_torch(network: Network, path: Path, seed: int) -> None:
    import json

    try:
        import torch
    except ModuleNotFoundError as error:
        raise ConfigError("--format torch needs PyTorch: pip install 'chamnet[torch]'") from error
    from chamnet.models.torch_module import ChainModule

    module = ChainModule(network.blocks, generator=torch.Generator().manual_seed(seed))
    held = {"architecture": json.dumps(network.architecture.to_dict()), "state_dict": module.state_dict()}
    with path.open("wb") as file:
        torch.save(held, file)
