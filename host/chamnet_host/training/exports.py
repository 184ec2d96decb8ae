"""Networks as model files: what `export` writes, and what it says beside them."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chamnet.errors import ConfigError, StoreError
from chamnet.models import Weights, onnx_model, random_weights
from chamnet.models.tflite_writer import tflite_model
from chamnet.networks import Network
from chamnet.units import Unit

if TYPE_CHECKING:
    from chamnet.train.trainer import Trained

__all__ = ["FORMATS", "facts_path", "trained_network", "write_random", "write_trained"]

_WRITERS: dict[str, Callable[[Sequence[Unit], Weights], bytes]] = {"onnx": onnx_model, "tflite": tflite_model}
FORMATS = (*_WRITERS, "torch")


def write_random(network: Network, path: Path, *, form: str, seed: int) -> None:
    """Write a network with random weights.

    Args:
        network: To write.
        path: Of the file.
        form: One of `FORMATS`.
        seed: Of the weights.

    Raises:
        ConfigError: PyTorch is needed and not installed.
        StoreError: The file cannot be written.
    """
    with _writing(path):
        if form == "torch":
            _write_torch(network, path, seed)
        else:
            path.write_bytes(_WRITERS[form](network.blocks, random_weights(network.blocks, seed=seed)))


def write_trained(trained: "Trained", source: Path, path: Path, *, form: str) -> None:
    """Write a trained network; beside ONNX and TFLite files, `facts_path` says what its images are.

    Args:
        trained: To write.
        source: The file it was read from, which is a torch file already.
        path: Of the file.
        form: One of `FORMATS`.

    Raises:
        StoreError: A file cannot be written.
    """
    from chamnet.models.torch_module import fold

    network = trained_network(trained, source)
    with _writing(path):
        if form == "torch":
            path.write_bytes(source.read_bytes())
            return
        path.write_bytes(_WRITERS[form](network.blocks, fold(trained.module)))
    beside = facts_path(path)
    with _writing(beside):
        beside.write_text(json.dumps(_facts(trained, network, form), indent=1) + "\n", encoding="utf-8")


def trained_network(trained: "Trained", source: Path) -> Network:
    """Return the network that a file of a training holds, named after the file, for one image at a time."""
    return trained.architecture.trained.build(source.stem)


def facts_path(path: Path) -> Path:
    """Return the JSON file beside a model that says how its images are normalised.

    >>> facts_path(Path("best.onnx")).name
    'best.onnx.json'
    """
    return path.with_name(path.name + ".json")


def _facts(trained: "Trained", network: Network, form: str) -> dict[str, Any]:
    """Return what an application has to know.

    The normalisation is not folded into the first convolution: it pads with zeros behind it, so that would be inexact
    at the borders.
    """
    n, c, h, w = network.blocks[0].in_shape
    layout, shape = ("NHWC", (n, h, w, c)) if form == "tflite" else ("NCHW", (n, c, h, w))
    return {
        "input": {
            "name": "input",
            "layout": layout,
            "shape": shape,
            "channels": "RGB",
            "range": [0, 1],  # of pixels, before mean and deviation
            "mean": trained.mean.tolist(),
            "deviation": trained.deviation.tolist(),
        },
        "output": {"name": "output", "classes": network.architecture.classes},
        "training": trained.training,
        "architecture": network.architecture.to_dict(),
    }


def _write_torch(network: Network, path: Path, seed: int) -> None:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ConfigError("--format torch needs PyTorch: pip install 'chamnet[torch]'") from error
    from chamnet.models.torch_module import ChainModule

    module = ChainModule(network.blocks, generator=torch.Generator().manual_seed(seed))
    held = {"architecture": json.dumps(network.architecture.to_dict()), "state_dict": module.state_dict()}
    with path.open("wb") as file:
        torch.save(held, file)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror}); choose another file with -o"
        ) from error
