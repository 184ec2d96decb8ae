"""Datasets that networks are trained on, read from disk; nothing is downloaded.

A dataset is named as `NAME` or `NAME:FOLDER`:

- `fashion-mnist`: idx files, plain or gzipped, as Debian's package `dataset-fashion-mnist` installs them;
- `cifar10`, `cifar100`: the folder `cifar-10-batches-py` or `cifar-100-python`, as torchvision unpacks it;
- `folder:FOLDER`: `train/CLASS/*.jpg` and `val/CLASS/*.jpg`, as ImageNet and torchvision's ImageFolder have it;
- `digits`: 1,797 handwritten digits of 8 pixels that scikit-learn carries, for trying things out.

Images of one channel are repeated to three, so that every network takes the same input.

References:
    [Xiao2017] Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms. arXiv:1708.07747.
    [Krizhevsky2009] Learning Multiple Layers of Features from Tiny Images. 2009.
"""

import gzip
import io
import math
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from chamnet.errors import ConfigError
from chamnet.train.jobs import dataset_name
from chamnet.train.recipe import Augmentation

__all__ = ["Dataset", "FolderImages", "Images", "MemoryImages", "load_dataset"]

_FASHION = Path("/usr/share/datasets/fashion-mnist")
_DIGITS_TEST = 360  # a fifth
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
_CENTRE = 0.875  # of the shorter side, which validation keeps where training crops (He et al., CVPR 2016)
_ASPECTS = (math.log(3 / 4), math.log(4 / 3))
_NONE = Augmentation()
_STATISTICS_OF = 2_000  # image files that mean and deviation are taken from


class Images(Protocol):
    """Labelled images, in memory or as files."""

    def __len__(self) -> int: ...

    def subset(self, rows: Sequence[int]) -> "Images":
        """Return some of them."""

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the three channels, from 0 to 1."""

    def batches(
        self,
        size: int,
        resolution: int,
        *,
        seed: int | None = None,
        augmentation: Augmentation = _NONE,
        loaders: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images, shape `n x 3 x resolution x resolution` from 0 to 1, and labels, shape `n`.

        Args:
            size: Of a batch; a last one of a single image is left out where they are shuffled.
            resolution: Height and width.
            seed: Shuffles and augments; None gives all in order and as they are.
            augmentation: What happens to them where there is a seed.
            loaders: Processes that read files.
        """


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to train on and to measure on.

    Attributes:
        name: As in the records of trainings: the same wherever the files lie.
        classes: How many there are.
        train: To train on.
        test: Never trained on.
    """

    name: str
    classes: int
    train: Images
    test: Images


@dataclass(frozen=True, eq=False)
class MemoryImages:
    """Images in memory.

    Attributes:
        pixels: `uint8`, shape `n x channels x height x width`.
        labels: Shape `n`.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: Sequence[int]) -> "MemoryImages":
        """Return some of them."""
        chosen = torch.as_tensor(rows)
        return replace(self, pixels=self.pixels[chosen], labels=self.labels[chosen])

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the three channels, from 0 to 1."""
        values = self.pixels.float().div_(255).transpose(0, 1).flatten(1)
        return values.mean(1).expand(3), values.std(1).expand(3)

    def batches(
        self,
        size: int,
        resolution: int,
        *,
        seed: int | None = None,
        augmentation: Augmentation = _NONE,
        loaders: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels; see `Images`."""
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        order = (
            torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        )
        resized = self._resized(resolution) if generator is None or not augmentation.crop else self.pixels
        for rows in torch.split(order, size):
            if generator is not None and len(rows) == 1:
                return
            images = resized[rows].float().div_(255)
            if generator is not None:
                images = _augmented(images, resolution, augmentation, generator)
            yield images.expand(-1, 3, -1, -1), self.labels[rows]

    @cached_property
    def _kept(self) -> dict[int, Tensor]:
        return {}

    def _resized(self, resolution: int) -> Tensor:
        """Return the pixels at a resolution; those of the last one asked for are kept."""
        if resolution == self.pixels.shape[-1] == self.pixels.shape[-2]:
            return self.pixels
        if resolution not in self._kept:
            self._kept.clear()
            parts = [_resize(part.float(), resolution) for part in torch.split(self.pixels, 4096)]
            self._kept[resolution] = torch.cat([part.round_().clamp_(0, 255).byte() for part in parts])
        return self._kept[resolution]


@dataclass(frozen=True, eq=False)
class FolderImages:
    """Images as files.

    Attributes:
        paths: Of the files, `n` of them.
        labels: Of each.
    """

    paths: tuple[Path, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, rows: Sequence[int]) -> "FolderImages":
        """Return some of them."""
        return FolderImages(tuple(self.paths[i] for i in rows), tuple(self.labels[i] for i in rows))

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of the three channels, from 0 to 1, of files spread over all."""
        rows = np.linspace(0, len(self) - 1, min(len(self), _STATISTICS_OF)).astype(int)
        small = torch.stack([_read(self.paths[i], 64, None, _NONE) for i in rows])
        values = small.transpose(0, 1).flatten(1)
        return values.mean(1), values.std(1)

    def batches(
        self,
        size: int,
        resolution: int,
        *,
        seed: int | None = None,
        augmentation: Augmentation = _NONE,
        loaders: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images and labels; see `Images`."""
        rows = np.arange(len(self)) if seed is None else np.random.default_rng(seed).permutation(len(self))
        batches = [rows[start : start + size].tolist() for start in range(0, len(rows), size)]
        if seed is not None and len(batches[-1]) == 1:
            batches.pop()
        loader = torch.utils.data.DataLoader(
            _Files(self, resolution, seed, augmentation), batch_sampler=batches, num_workers=loaders
        )
        yield from loader


class _Files(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Reads one file at a time; what happens to it hangs on the seed and its row alone, not on who reads it."""

    def __init__(
        self, images: FolderImages, resolution: int, seed: int | None, augmentation: Augmentation
    ) -> None:
        self._images, self._resolution = images, resolution
        self._seed, self._augmentation = seed, augmentation

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        rng = None if self._seed is None else np.random.default_rng((self._seed, row))
        return _read(self._images.paths[row], self._resolution, rng, self._augmentation), self._images.labels[
            row
        ]


def load_dataset(text: str) -> Dataset:
    """Read a dataset, named as above.

    Raises:
        ConfigError: It is not there or not laid out as it should be; the message says how to get it.
    """
    called = dataset_name(text)
    name, _, folder = text.partition(":")
    if name == "digits":
        return _digits()
    if name == "folder":
        return _folder(Path(folder), called)
    if name == "fashion-mnist":
        return _fashion(Path(folder) if folder else _FASHION)
    return _cifar(name, Path(folder or "."))


def _digits() -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ConfigError("the digits come with scikit-learn: pip install 'chamnet[train]'") from error
    held = load_digits()
    pixels = np.round(held.images * (255 / 16)).astype(np.uint8)[:, None]
    every = MemoryImages(torch.tensor(pixels), torch.tensor(held.target, dtype=torch.int64))
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(0)).tolist()
    return Dataset("digits", 10, every.subset(order[_DIGITS_TEST:]), every.subset(order[:_DIGITS_TEST]))


def _fashion(folder: Path) -> Dataset:
    parts = []
    for part in ("train", "t10k"):
        pixels = _idx(folder / f"{part}-images-idx3-ubyte", 3)
        labels = _idx(folder / f"{part}-labels-idx1-ubyte", 1)
        if len(pixels) != len(labels):
            raise ConfigError(f"{folder}: {len(pixels):,} {part} images, but {len(labels):,} labels")
        parts.append(MemoryImages(torch.tensor(pixels[:, None]), torch.tensor(labels, dtype=torch.int64)))
    return Dataset("fashion-mnist", 10, *parts)


def _idx(path: Path, dimensions: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Read an idx file of bytes: two zeros, type 8, the number of dimensions, big-endian sizes, the values."""
    zipped = path.with_name(path.name + ".gz")
    try:
        content = path.read_bytes() if path.exists() else gzip.decompress(zipped.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError(
            f"dataset fashion-mnist: no {zipped} (nor without .gz); on Debian and Ubuntu `apt install dataset-fashion-mnist`"
            " brings it, elsewhere take the four files of github.com/zalandoresearch/fashion-mnist and give"
            " --dataset fashion-mnist:FOLDER"
        ) from error
    except (OSError, EOFError) as error:
        raise ConfigError(f"{zipped}: cannot be read ({error})") from error
    head = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:head], ">u4").tolist()
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) != head + math.prod(shape):
        raise ConfigError(f"{path}: not an idx file of {dimensions} dimensions, or cut short; get it again")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _cifar(name: str, folder: Path) -> Dataset:
    ten = name == "cifar10"
    inner = "cifar-10-batches-py" if ten else "cifar-100-python"
    root = folder if folder.name == inner else folder / inner
    train = [f"data_batch_{i}" for i in range(1, 6)] if ten else ["train"]
    key = "labels" if ten else "fine_labels"
    parts = []
    for files in (train, ["test_batch"] if ten else ["test"]):
        pixels, labels = [], []
        for file in files:
            try:
                held = _Arrays(io.BytesIO((root / file).read_bytes()), encoding="latin1").load()
                pixels.append(np.asarray(held["data"], np.uint8).reshape(-1, 3, 32, 32))
                labels.append(np.asarray(held[key], np.int64))
            except FileNotFoundError as error:
                raise ConfigError(
                    f"dataset {name}: no {root / file}; unpack {inner.replace('-batches-py', '-python')}.tar.gz of"
                    f" cs.toronto.edu/~kriz/cifar.html, and give --dataset {name}:FOLDER for the folder with {inner}"
                ) from error
            except (OSError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
                raise ConfigError(f"{root / file}: not a file of {name} ({error}); get it again") from error
        parts.append(MemoryImages(torch.tensor(np.concatenate(pixels)), torch.tensor(np.concatenate(labels))))
    return Dataset(name, 10 if ten else 100, *parts)


class _Arrays(pickle.Unpickler):
    """Reads pickles that hold nothing but numbers, texts and arrays: CIFAR's format is one."""

    _ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "scalar", "encode"})

    def find_class(self, module: str, name: str) -> Any:
        """Refuse everything that could run code."""
        if module.partition(".")[0] not in ("numpy", "_codecs") or name not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _folder(folder: Path, name: str) -> Dataset:
    train, classes = _listed(folder / "train")
    test, others = _listed(folder / "val" if (folder / "val").is_dir() else folder / "test")
    if classes != others:
        odd = sorted(set(classes) ^ set(others))
        raise ConfigError(
            f"{folder}: train and validation images have different classes: {', '.join(odd[:5])}"
        )
    return Dataset(name, len(classes), train, test)


def _listed(folder: Path) -> tuple[FolderImages, list[str]]:
    wanted = "FOLDER/train/CLASS/*.jpg and FOLDER/val/CLASS/*.jpg"
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; a dataset has {wanted}")
    classes = sorted(each.name for each in folder.iterdir() if each.is_dir())
    found = [
        (path, label)
        for label, each in enumerate(classes)
        for path in sorted((folder / each).rglob("*"))
        if path.suffix.lower() in _SUFFIXES
    ]
    empty = sorted(set(range(len(classes))) - {label for _, label in found})
    if len(classes) < 2 or empty:
        which = f"no images of class {classes[empty[0]]}" if empty else f"{len(classes)} classes"
        raise ConfigError(f"{folder}: {which}; a dataset has {wanted}, of two classes at least")
    return FolderImages(tuple(path for path, _ in found), tuple(label for _, label in found)), classes


def _augmented(images: Tensor, resolution: int, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Return a batch of images from 0 to 1, changed at random, at a resolution."""
    count = len(images)
    if how.crop:
        images = _cropped(images, resolution, how.crop, generator)
    if how.flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    if how.shift:
        reach = how.shift
        padded = functional.pad(images, (reach, reach, reach, reach))
        offsets = torch.randint(0, 2 * reach + 1, (2, count), generator=generator)
        steps = torch.arange(resolution)
        rows = (offsets[0][:, None] + steps)[:, None, :, None]
        columns = (offsets[1][:, None] + steps)[:, None, None, :]
        images = padded[
            torch.arange(count)[:, None, None, None],
            torch.arange(images.shape[1])[:, None, None],
            rows,
            columns,
        ]
    return images


def _cropped(images: Tensor, resolution: int, share: Sequence[float], generator: torch.Generator) -> Tensor:
    """Return a random crop of each image, resized; bilinear, at points between pixels."""
    count = len(images)
    area = share[0] + (share[1] - share[0]) * torch.rand(count, generator=generator)
    aspect = torch.exp(
        _ASPECTS[0] + (_ASPECTS[1] - _ASPECTS[0]) * torch.rand(count, generator=generator)
    ).sqrt()
    scale = torch.stack([(area.sqrt() * aspect).clamp(max=1), (area.sqrt() / aspect).clamp(max=1)])
    centre = (1 - scale) * (2 * torch.rand(2, count, generator=generator) - 1)
    moves = torch.zeros(count, 2, 3)
    moves[:, 0, 0], moves[:, 1, 1], moves[:, :, 2] = scale[0], scale[1], centre.T
    shape = [count, images.shape[1], resolution, resolution]
    grid = functional.affine_grid(moves, shape, align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _resize(images: Tensor, resolution: int) -> Tensor:
    size = (resolution, resolution)
    return functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)


def _read(path: Path, resolution: int, rng: np.random.Generator | None, how: Augmentation) -> Tensor:
    """Return an image file from 0 to 1, shape `3 x resolution x resolution`."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError("image files need Pillow: pip install 'chamnet[train]'") from error
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read as an image ({error})") from error
    size = (resolution, resolution)
    if rng is None or not how.crop:
        side = min(image.size) * _CENTRE
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize(size, Image.Resampling.BILINEAR, (left, top, left + side, top + side))
    else:
        image = image.resize(size, Image.Resampling.BILINEAR, _box(image.width, image.height, rng, how.crop))
    pixels = torch.tensor(np.asarray(image)).permute(2, 0, 1).float().div_(255)
    if rng is None:
        return pixels
    rest = replace(how, crop=())
    return _augmented(
        pixels[None], resolution, rest, torch.Generator().manual_seed(int(rng.integers(2**63)))
    )[0]


def _box(
    width: int, height: int, rng: np.random.Generator, share: Sequence[float]
) -> tuple[float, float, float, float]:
    area = rng.uniform(share[0], share[1]) * width * height
    aspect = math.exp(rng.uniform(*_ASPECTS))
    wide, high = min(math.sqrt(area * aspect), width), min(math.sqrt(area / aspect), height)
    left, top = rng.uniform(0, width - wide), rng.uniform(0, height - high)
    return left, top, left + wide, top + high
