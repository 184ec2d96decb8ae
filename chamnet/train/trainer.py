"""Trains a network by a recipe: deterministic by its seed, stopped and continued at any epoch.

The same network, recipe, seed, number of threads and kind of processor give the same weights, whether or not the
training was cut off in between.
"""

import hashlib
import json
import math
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from torch.utils import deterministic as deterministic_mode

from chamnet.errors import ConfigError, StoreError
from chamnet.files import write_whole
from chamnet.models.torch_module import ChainModule
from chamnet.networks import Architecture
from chamnet.train.datasets import Dataset, load_dataset
from chamnet.train.images import Images
from chamnet.train.jobs import Job, Outcome, Progress
from chamnet.train.recipe import Optimiser, Recipe

__all__ = ["evaluate", "load_trained", "train"]

_SPLIT_SEED = 20_181_221  # puts training images aside, the same ones for every training
_UNREADABLE = (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError)
_EVALUATED = 512  # images at a time


def train(job: Job, *, progress: Progress = lambda epoch, epochs, loss: None) -> Outcome:
    """Train a network, or go on where it was cut off.

    Args:
        job: What to train, and how.
        progress: Called after every epoch.

    Raises:
        ConfigError: The dataset is not there or does not fit the network, or a GPU was asked for and there is none.
        StoreError: A checkpoint cannot be written.
    """
    device = find_device(job.device)
    dataset = load_dataset(job.dataset)
    check_fits(job.architecture, dataset)
    recipe = job.recipe
    learnt, measured = split(dataset, recipe)
    with _reproducible(recipe.resources.cpus):
        run = _Run(job, learnt, device)
        run.resume()
        while run.epoch < recipe.epochs and not run.diverged:
            run.one_epoch()
            run.save()
            progress(run.epoch, recipe.epochs, run.loss)
        if run.diverged:
            return Outcome(status="diverged", epochs=run.epoch, loss=None)
        top1 = evaluate(run.answering, measured, job.architecture.resolution, run.statistics, device)
        on_test = None
        if job.on_test:
            on_test = evaluate(
                run.answering, dataset.test, job.architecture.resolution, run.statistics, device
            )
    if job.weights is not None:
        run.write(job.weights, top1)
    return Outcome(status="ok", top1=top1, test_top1=on_test, epochs=run.epoch, loss=run.loss)


def find_device(name: str) -> torch.device:
    """Return a torch device; `auto` is the first GPU, or the CPU where there is none.

    Raises:
        ConfigError: A GPU was asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r}; known: auto, cpu, cuda, cuda:1, ...") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device {name}: torch {torch.__version__} sees no CUDA device; --device cpu trains without"
        )
    return device


def check_fits(architecture: Architecture, dataset: Dataset) -> None:
    """Refuse a network whose classifier does not fit a dataset.

    Raises:
        ConfigError: It says what to do.
    """
    if architecture.classes != dataset.classes:
        raise ConfigError(
            f"{dataset.name} has {dataset.classes} classes, the network {architecture.classes}; copy the space's TOML file"
            f" and write `classes = {dataset.classes}` in it"
        )


def split(dataset: Dataset, recipe: Recipe) -> tuple[Images, Images]:
    """Return the images to train on and those to measure on.

    Raises:
        ConfigError: The recipe wants more images than there are.
    """
    count = len(dataset.train)
    images = recipe.images or count - recipe.held_out
    if images < 2 or images + recipe.held_out > count:
        raise ConfigError(
            f"recipe {recipe.name}: images = {recipe.images:,} and held_out = {recipe.held_out:,}, but {dataset.name} has"
            f" {count:,} training images"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(_SPLIT_SEED)).tolist()
    measured = dataset.train.subset(order[count - recipe.held_out :]) if recipe.held_out else dataset.test
    return dataset.train.subset(order[:images]), measured


def evaluate(
    module: nn.Module,
    images: Images,
    resolution: int,
    statistics: tuple[Tensor, Tensor],
    device: torch.device,
) -> float:
    """Return the top-1 accuracy in percent.

    Args:
        module: Takes normalised images, gives a score for each class.
        images: To measure on.
        resolution: Of the network.
        statistics: Mean and deviation of each channel.
        device: Where the module is.
    """
    module.eval()
    right = 0
    with torch.inference_mode():
        for pixels, labels in images.batches(_EVALUATED, resolution):
            scores = module(_normalised(pixels.to(device), statistics))
            right += int((scores.argmax(1).cpu() == labels).sum())
    return 100 * right / len(images)


class _Run:
    """One training: its network, optimiser, moving average, and where it has got to."""

    def __init__(self, job: Job, images: Images, device: torch.device) -> None:
        recipe, seed = job.recipe, job.seed
        self._job, self._images, self._device = job, images, device
        self.epoch, self.loss, self.diverged = 0, math.nan, False
        mean, deviation = images.statistics()
        self.statistics = mean.to(device), deviation.clamp(min=1e-3).to(device)
        blocks = job.architecture.build().blocks
        generator = torch.Generator().manual_seed(_mixed(seed, "weights"))
        self._module = ChainModule(blocks, generator=generator).to(device)
        self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # half the time on CPUs
        self._average = _averaged(self._module, recipe.ema) if recipe.ema else None
        self._optimiser = _optimiser(self._module, recipe.optimiser)
        whole, rest = divmod(len(images), recipe.batch)
        self._per_epoch = whole + (rest > 1)
        self._mixed_precision = recipe.mixed_precision and device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._mixed_precision)

    @property
    def answering(self) -> nn.Module:
        """The network that is measured: the moving average, where there is one."""
        return self._average.module if self._average is not None else self._module

    def one_epoch(self) -> None:
        """Train on every image once; `diverged` tells whether the loss was no number any more."""
        recipe, total, seen = self._job.recipe, 0.0, 0
        self._module.train()
        batches = self._images.batches(
            recipe.batch,
            self._job.architecture.resolution,
            seed=_mixed(self._job.seed, f"epoch {self.epoch}"),
            augmentation=recipe.augmentation,
            loaders=recipe.resources.loaders,
        )
        for number, (pixels, labels) in enumerate(batches):
            step = self.epoch * self._per_epoch + number
            factor = recipe.schedule.factor(step, recipe.epochs * self._per_epoch, self._per_epoch)
            for group in self._optimiser.param_groups:
                group["lr"] = recipe.optimiser.rate * factor
            loss = self._step(pixels.to(self._device), labels.to(self._device))
            total, seen = total + loss * len(labels), seen + len(labels)
            if not math.isfinite(loss):
                self.diverged = True
                return
        self.epoch, self.loss = self.epoch + 1, total / seen

    def _step(self, pixels: Tensor, labels: Tensor) -> float:
        images = _normalised(pixels, self.statistics)
        with torch.autocast(self._device.type, enabled=self._mixed_precision):
            scores = self._module(images)
            loss = functional.cross_entropy(scores, labels, label_smoothing=self._job.recipe.label_smoothing)
        self._optimiser.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimiser)
        self._scaler.update()
        if self._average is not None:
            self._average.update_parameters(self._module)
        return float(loss.detach())

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one of this very training."""
        path = self._job.checkpoint
        if path is None or not path.exists():
            return
        try:
            held = torch.load(path, map_location=self._device, weights_only=True)
        except _UNREADABLE:
            return  # damaged, or of another version: start anew
        if held.get("job") != self._job.key:
            return
        self.epoch, self.loss = held["epoch"], held["loss"]
        self._module.load_state_dict(held["module"])
        self._optimiser.load_state_dict(held["optimiser"])
        self._scaler.load_state_dict(held["scaler"])
        if self._average is not None:
            self._average.load_state_dict(held["average"])

    def save(self) -> None:
        """Write the checkpoint."""
        if self._job.checkpoint is None or self.diverged or self.epoch == self._job.recipe.epochs:
            return
        held = {
            "job": self._job.key,
            "epoch": self.epoch,
            "loss": self.loss,
            "module": self._module.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.state_dict() if self._average is not None else None,
        }
        _write(held, self._job.checkpoint)

    def write(self, path: Path, top1: float) -> None:
        """Write the trained network for `load_trained`."""
        mean, deviation = self.statistics
        held = {
            "architecture": json.dumps(self._job.architecture.to_dict()),
            "state_dict": {name: value.cpu() for name, value in self.answering.state_dict().items()},
            "mean": mean.cpu(),
            "deviation": deviation.cpu(),
            "training": json.dumps({**self._job.facts, "top1": top1}),
        }
        _write(held, path)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network.

    Attributes:
        module: In eval mode.
        architecture: Of the network.
        mean, deviation: Of each channel, which images are normalised by before they go in.
        training: Dataset, recipe, seed, and the accuracy it came to.
    """

    module: ChainModule
    architecture: Architecture
    mean: Tensor
    deviation: Tensor
    training: dict[str, Any]


def load_trained(path: Path) -> Trained:
    """Read what a training wrote.

    Raises:
        ConfigError: It is not there or no such file.
    """
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        architecture = Architecture.from_dict(json.loads(held["architecture"]), str(path))
        module = ChainModule(architecture.build().blocks)
        module.load_state_dict(held["state_dict"])
        training = json.loads(held["training"])
        mean, deviation = held["mean"], held["deviation"]
    except (*_UNREADABLE, TypeError) as error:
        raise ConfigError(f"{path}: no trained network ({error}); `chamnet-host train` writes one") from error
    return Trained(module.eval(), architecture, mean, deviation, training)


def _averaged(module: nn.Module, decay: float) -> AveragedModel:
    """Return a moving average of weights and batch norms; its decay grows to the given one, so early steps are forgotten."""

    def average(old: Any, new: Any, steps: Tensor | int) -> None:
        if not new[0].is_floating_point():  # batch norms count their batches
            torch._foreach_copy_(old, new)
            return
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        torch._foreach_lerp_(old, new, 1 - kept)

    return AveragedModel(module, multi_avg_fn=average, use_buffers=True)


def _optimiser(module: nn.Module, how: Optimiser) -> torch.optim.Optimizer:
    weights = [parameter for parameter in module.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in module.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": how.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if how.name == "sgd":
        return torch.optim.SGD(
            groups, lr=how.rate, momentum=how.momentum, nesterov=how.momentum > 0, foreach=True
        )
    if how.name == "rmsprop":
        return torch.optim.RMSprop(
            groups, lr=how.rate, momentum=how.momentum, alpha=0.9, eps=1e-3, foreach=True
        )
    return torch.optim.AdamW(groups, lr=how.rate, foreach=True)


def _normalised(pixels: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
    mean, deviation = statistics
    normalised = (pixels - mean[:, None, None]) / deviation[:, None, None]
    return normalised.contiguous(memory_format=torch.channels_last)


def _mixed(seed: int, purpose: str) -> int:
    """Return a seed of its own for each purpose."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:7], "big")


def _write(held: dict[str, Any], path: Path) -> None:
    try:
        write_whole(path, partial(torch.save, held))
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error


@contextmanager
def _reproducible(threads: int) -> Iterator[None]:
    before, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what torch asks for
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    deterministic_mode.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # we read none; filling took 7 % of a step
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(deterministic)
