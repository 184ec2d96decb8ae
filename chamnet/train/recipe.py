"""Recipes: how a network is trained, as TOML files, shipped or the user's own.

```toml
epochs = 90
batch = 256

[optimiser]
name = "sgd"
rate = 0.1
momentum = 0.9
weight_decay = 4e-5

[schedule]
shape = "cosine"
warmup = 5

[augmentation]
crop = [0.35, 1.0]
flip = true
```

Every key is documented at the attribute of its name below; what is left out has the value shown there. The input size
is the network's own resolution, never the recipe's.
"""

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self, get_args, get_origin

from chamnet.errors import ConfigError

__all__ = ["Augmentation", "Optimiser", "Recipe", "Resources", "Schedule", "available_recipes", "load_recipe"]

_OPTIMISERS = ("sgd", "rmsprop", "adamw")
_SHAPES = ("cosine", "linear", "constant")


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """Table `[optimiser]`.

    Attributes:
        name: `sgd` (with Nesterov's momentum), `rmsprop` or `adamw`.
        rate: Highest learning rate, at the batch size of the recipe.
        momentum: Of `sgd` and `rmsprop`.
        weight_decay: Of weights; biases and batch norms have none.
    """

    name: str = "sgd"
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 4e-5

    def _check(self) -> None:
        _one_of("name", self.name, _OPTIMISERS)
        _within("rate", self.rate, 0, math.inf, open_low=True)
        _within("momentum", self.momentum, 0, 1)
        _within("weight_decay", self.weight_decay, 0, math.inf)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Table `[schedule]`: the learning rate over the steps of a training.

    Attributes:
        shape: How it falls to 0 after the warm-up: `cosine` or `linear`; `constant` does not.
        warmup: Epochs, or a part of one, in which it rises from 0.
    """

    shape: str = "cosine"
    warmup: float = 0.0

    def _check(self) -> None:
        _one_of("shape", self.shape, _SHAPES)
        _within("warmup", self.warmup, 0, math.inf)

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """Return the share of the highest rate at a step, from 0."""
        warmup = self.warmup * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(steps - warmup, 1)
        if self.shape == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        return 1 - done if self.shape == "linear" else 1.0


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Table `[augmentation]`: what happens to training images.

    Attributes:
        flip: Whether half of them are mirrored left to right.
        shift: Pixels, at the network's resolution, by which they move in either direction at most.
        crop: Smallest and largest share of the area of a random crop, of an aspect ratio from 3/4 to 4/3, that is
            resized to the network's resolution [Szegedy2015]_; none where empty.

    References:
        [Szegedy2015] Going Deeper with Convolutions. CVPR 2015, section 6.
    """

    flip: bool = False
    shift: int = 0
    crop: tuple[float, ...] = ()

    def _check(self) -> None:
        _within("shift", self.shift, 0, 64)
        if self.crop and not (len(self.crop) == 2 and 0 < self.crop[0] <= self.crop[1] <= 1):
            raise ValueError(f"crop {list(self.crop)} is not [smallest, largest] share of the area")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Table `[resources]`: what one training takes of a machine; makes no difference to what it comes to.

    Attributes:
        cpus: Processor cores, which are also the threads that compute. Sums are rounded differently with another
            number, so this one does count as part of the recipe.
        gpus: GPUs; parts of one, such as 0.25, share it among trainings.
        loaders: Processes that read and resize image files.
    """

    cpus: int = 1
    gpus: float = 0.0
    loaders: int = 0

    def _check(self) -> None:
        _within("cpus", self.cpus, 1, 1024)
        _within("gpus", self.gpus, 0, 64)
        _within("loaders", self.loaders, 0, 1024)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes:
        name: For people: the file's name.
        epochs: Passes over the training images.
        batch: Images in a step.
        images: How many of the training images are used, always the same ones; 0 for all.
        held_out: Training images put aside, always the same ones: accuracy is measured on them, so that test images
            stay unseen while networks are chosen. 0 measures on the dataset's validation images.
        label_smoothing: Share of the target that goes to all classes alike.
        ema: Decay of the moving average of weights that is measured; 0 measures the last weights.
        mixed_precision: Whether matrices are multiplied in 16 bits, on CUDA devices only.
        optimiser, schedule, augmentation, resources: The tables of these names.
    """

    name: str
    epochs: int
    batch: int = 128
    images: int = 0
    held_out: int = 0
    label_smoothing: float = 0.0
    ema: float = 0.0
    mixed_precision: bool = False
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    resources: Resources = field(default_factory=Resources)

    @property
    def id(self) -> str:
        """Name and a digest of all that makes a difference, so that a changed file is another recipe."""
        content = asdict(self)
        del content["name"], content["resources"]["gpus"], content["resources"]["loaders"]
        return f"{self.name}-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "recipe") -> Self:
        """Read plain data.

        Raises:
            ConfigError: A key is unknown or missing, or a value makes no sense; `source` is named.
        """
        try:
            made: Self = _build(cls, data, "")
            return made
        except ValueError as error:
            raise ConfigError(f"recipe {source}: {error}") from error

    def _check(self) -> None:
        _within("epochs", self.epochs, 1, 100_000)
        _within("batch", self.batch, 2, 1_000_000)  # batch norm needs two images
        _within("images", self.images, 0, math.inf)
        _within("held_out", self.held_out, 0, math.inf)
        _within("label_smoothing", self.label_smoothing, 0, 0.99)
        _within("ema", self.ema, 0, 0.999999)
        if self.schedule.warmup >= self.epochs:
            raise ValueError(
                f"schedule.warmup {self.schedule.warmup:g} leaves nothing of {self.epochs} epochs"
            )


def available_recipes() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(
        file.name.removesuffix(".toml") for file in _shipped().iterdir() if file.name.endswith(".toml")
    )


def load_recipe(name: str) -> Recipe:
    """Return a shipped recipe by name, or one from a TOML file by path.

    Raises:
        ConfigError: No such recipe or file, or the file says something it should not.
    """
    if name in available_recipes():
        text = (_shipped() / f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"recipe {name}: cannot be read ({error})") from error
    else:
        known = ", ".join(available_recipes())
        raise ConfigError(f"unknown recipe {name!r}; known: {known}, or a .toml file")
    try:
        return Recipe.from_dict(
            {"name": Path(name).stem if name.endswith(".toml") else name, **tomllib.loads(text)}, name
        )
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"recipe {name}: not TOML ({error})") from error


def _shipped() -> Traversable:
    return resources.files(__package__) / "recipes"


def _build(cls: Any, data: object, where: str) -> Any:
    """Make a recipe or one of its tables from plain data.

    Raises:
        ValueError: It says what is wrong.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where.rstrip('.')} must be a table")  # noqa: TRY004 - the file is at fault, not the caller
    known = {each.name: each for each in fields(cls)}
    if unknown := sorted(data.keys() - known.keys()):
        raise ValueError(
            f"unknown key {', '.join(where + key for key in unknown)}; known: {', '.join(known)}"
        )
    needed = {name for name, each in known.items() if each.default is each.default_factory is MISSING}
    if missing := sorted(needed - data.keys()):
        raise ValueError(f"missing key {', '.join(where + key for key in missing)}")
    values = {key: _value(known[key].type, value, where + key) for key, value in data.items()}
    made = cls(**values)
    try:
        made._check()
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
    return made


def _value(kind: Any, value: object, where: str) -> Any:
    if isinstance(kind, type) and hasattr(kind, "_check"):
        return _build(kind, value, where + ".")
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(_value(get_args(kind)[0], each, where) for each in value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{where} = {value!r} is not {_KINDS.get(kind, 'a list of numbers')}")
    return value


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{key} {value!r}; known: {', '.join(known)}")


def _within(key: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    if not (low < value if open_low else low <= value) or not value <= high:
        raise ValueError(
            f"{key} = {value:g} is not {'above' if open_low else 'at least'} {low:g} and at most {high:g}"
        )
