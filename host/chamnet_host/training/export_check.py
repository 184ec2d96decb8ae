"""Whether an exported model answers as the network that was trained, on test images and in the runtime it is for."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chamnet.errors import ChamNetError, ConfigError

if TYPE_CHECKING:
    from chamnet.train.datasets import Dataset
    from chamnet.train.trainer import Trained

__all__ = ["Verdict", "check_classes", "check_export"]

_MOST_IMAGES = 2_000
_AT_A_TIME = 64
_POINTS = 0.1  # of accuracy, that the two may differ by
_SHARE = 1e-3  # of predictions, that may differ
_RUNTIMES = {
    "onnx": "chamnet_host.training.runtimes.onnxruntime",
    "tflite": "chamnet_host.training.runtimes.litert",
}
_Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_Progress = Callable[[int, int], None]  # images done, images in all
_Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How an exported model compares with the trained network.

    Attributes:
        dataset: Whose test images both saw.
        images: How many.
        top1: Of the exported model, in percent.
        torch_top1: Of the trained network, in percent.
        differing: Images for which the two named different classes.
    """

    dataset: str
    images: int
    top1: float
    torch_top1: float
    differing: int

    @property
    def agrees(self) -> bool:
        """Whether they differ by no more than what sums in another order explain."""
        return abs(self.top1 - self.torch_top1) <= _POINTS and self.differing <= _SHARE * self.images


def check_classes(trained: "Trained", dataset: "Dataset") -> None:
    """Refuse a dataset of other classes than a network's.

    Raises:
        ConfigError: It is one.
    """
    if dataset.classes != trained.architecture.classes:
        raise ConfigError(
            f"--check {dataset.name}: it has {dataset.classes} classes, the network {trained.architecture.classes};"
            f" it was trained on {trained.training['dataset']}"
        )


def check_export(
    path: Path,
    form: str,
    *,
    trained: "Trained",
    dataset: "Dataset",
    progress: _Progress = lambda done, total: None,
) -> Verdict:
    """Compare an exported model with the trained network on test images, 2,000 at most, spread over all.

    Args:
        path: Of the model; it takes one image at a time.
        form: Of `chamnet_host.training.exports.FORMATS`.
        trained: What it was made of.
        dataset: Whose test images; `check_classes` has nothing against it.
        progress: Called after every few images.

    Raises:
        ConfigError: The runtime is not installed.
        ChamNetError: The two differ.
    """
    found, wanted, labels = _answers(_loaded(path, form), trained, dataset, progress)
    verdict = Verdict(
        dataset=dataset.name,
        images=len(labels),
        top1=100 * float(np.mean(found == labels)),
        torch_top1=100 * float(np.mean(wanted == labels)),
        differing=int(np.sum(found != wanted)),
    )
    if not verdict.agrees:
        raise ChamNetError(
            f"{path}: does not answer as the trained network: {verdict.top1:.2f} % instead of"
            f" {verdict.torch_top1:.2f} % on {verdict.images:,} test images of {dataset.name}, another class for"
            f" {verdict.differing:,} of them; do not use this file, and try another --format"
        )
    return verdict


def _loaded(path: Path, form: str) -> _Run:
    """Return a function from normalised images, `n x 3 x h x w`, to their scores, `n x classes`."""
    if form in _RUNTIMES:
        load: Callable[[Path], _Run] = import_module(_RUNTIMES[form]).load
        return load(path)
    import torch

    from chamnet.train.trainer import load_trained

    module = load_trained(path).module

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            scores: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
        return scores

    return run


def _answers(
    run: _Run, trained: "Trained", dataset: "Dataset", progress: _Progress
) -> tuple[_Numbers, _Numbers, _Numbers]:
    """Return the classes that a model names, those that the trained network names, and the right ones."""
    import torch

    count = min(len(dataset.test), _MOST_IMAGES)
    rows = np.linspace(0, len(dataset.test) - 1, count).astype(
        int
    )  # files are sorted by class: take some of each
    images, resolution = dataset.test.subset(rows.tolist()), trained.architecture.resolution
    found, wanted, right = [], [], []
    for pixels, labels in images.batches(_AT_A_TIME, resolution):
        normalised = (pixels - trained.mean[:, None, None]) / trained.deviation[:, None, None]
        with torch.inference_mode():
            wanted.append(trained.module(normalised).argmax(1).numpy())
        found.append(run(np.ascontiguousarray(normalised.numpy())).argmax(1))
        right.append(labels.numpy())
        progress(sum(map(len, found)), count)
    return np.concatenate(found), np.concatenate(wanted), np.concatenate(right)
