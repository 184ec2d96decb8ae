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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from chamnet.errors import ConfigError
from chamnet.train.images import FolderImages, Images, MemoryImages
from chamnet.train.jobs import dataset_name

__all__ = ["Dataset", "load_dataset"]

_FASHION = Path("/usr/share/datasets/fashion-mnist")
_DIGITS_TEST = 360  # a fifth
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")


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
