"""What is asked of a training and what comes of it, as plain data that travels between processes."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from chamnet.errors import ConfigError
from chamnet.files import parts_of
from chamnet.networks import Architecture
from chamnet.train.recipe import Recipe

__all__ = ["DATASETS", "Job", "Outcome", "Progress", "dataset_name"]

DATASETS = ("fashion-mnist", "cifar10", "cifar100", "folder", "digits")  # see chamnet.train.datasets
Progress = Callable[[int, int, float], None]  # epochs done, epochs in all, mean loss of the last one


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training.

    Attributes:
        architecture: Of the network.
        dataset: `NAME` or `NAME:FOLDER`, see `chamnet.train.datasets`.
        recipe: How it is trained.
        seed: Of initial weights, order and augmentation.
        device: `auto`, `cpu`, `cuda`, `cuda:1` ...
        checkpoint: Where the state after each epoch goes, so that it can go on; None for nowhere.
        weights: Where the trained network goes; None for nowhere.
        on_test: Whether to measure the test images, too.
    """

    architecture: Architecture
    dataset: str
    recipe: Recipe
    seed: int = 0
    device: str = "auto"
    checkpoint: Path | None = None
    weights: Path | None = None
    on_test: bool = False

    @property
    def facts(self) -> dict[str, Any]:
        """What the outcome hangs on, but for the network."""
        return {"dataset": dataset_name(self.dataset), "recipe": self.recipe.id, "seed": self.seed}

    @property
    def key(self) -> str:
        """Digest of all that the outcome hangs on."""
        text = json.dumps({**self.facts, "architecture": self.architecture.to_dict()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def kept_in(self, folder: Path) -> Self:
        """Return the job with a checkpoint of its own in a folder."""
        return replace(self, checkpoint=folder / f"{self.key}.pt")

    def forget(self) -> None:
        """Remove the checkpoint, and what processes that were killed left of writing it."""
        if self.checkpoint is not None:
            for path in (self.checkpoint, *parts_of(self.checkpoint)):
                path.unlink(missing_ok=True)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; `from_dict` reads it back."""
        places = {name: str(path) if path else None for name, path in self._places.items()}
        return {
            **places,
            "architecture": self.architecture.to_dict(),
            "dataset": self.dataset,
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "device": self.device,
            "on_test": self.on_test,
        }

    @property
    def _places(self) -> dict[str, Path | None]:
        return {"checkpoint": self.checkpoint, "weights": self.weights}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read plain data.

        Raises:
            ConfigError: Architecture or recipe make no sense.
        """
        read = {
            "architecture": Architecture.from_dict(data["architecture"]),
            "recipe": Recipe.from_dict(data["recipe"]),
            "checkpoint": Path(data["checkpoint"]) if data["checkpoint"] else None,
            "weights": Path(data["weights"]) if data["weights"] else None,
        }
        return cls(**{**data, **read})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a training came to.

    Attributes:
        status: `ok`; `diverged` where its loss was no number any more; `crashed` where its process ended.
        top1: Accuracy in percent on images not trained on; None unless `ok`.
        test_top1: On the test images, where asked for.
        epochs: Done.
        loss: Mean over the last epoch.
        message: What went wrong.
    """

    status: Literal["ok", "diverged", "crashed"]
    top1: float | None = None
    test_top1: float | None = None
    epochs: int = 0
    loss: float | None = None
    message: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; the constructor takes it back."""
        return asdict(self)


def dataset_name(text: str) -> str:
    """Return what a dataset is called in the records: `folder:/data/imagenet` is `imagenet`.

    Raises:
        ConfigError: There is no such dataset.
    """
    name, _, folder = text.partition(":")
    if name not in DATASETS:
        raise ConfigError(
            f"unknown dataset {name!r}; known: {', '.join(DATASETS)}; a folder of images is folder:FOLDER"
        )
    if name != "folder":
        return name
    if not folder:
        raise ConfigError(
            "dataset folder: which folder? Give folder:FOLDER with train/CLASS/*.jpg and val/CLASS/*.jpg"
        )
    return Path(folder).resolve().name
