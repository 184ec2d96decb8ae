"""Datasets read from disk, and what happens to their images."""

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from chamnet.errors import ConfigError
from chamnet.train.datasets import load_dataset
from chamnet.train.jobs import dataset_name
from chamnet.train.recipe import Augmentation

Image = pytest.importorskip("PIL.Image")


def write_idx(path: Path, values: np.ndarray, zipped: bool) -> None:
    content = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes() + values.tobytes()
    path = path.with_name(path.name + ".gz") if zipped else path
    path.write_bytes(gzip.compress(content) if zipped else content)


@pytest.fixture(params=[False, True], ids=["plain", "zipped"])
def fashion(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 10)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(tmp_path / f"{part}-images-idx3-ubyte", images, request.param)
        write_idx(
            tmp_path / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10, request.param
        )
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 3)):
        for label, name in enumerate(("cat", "dog")):
            place = tmp_path / "pets" / part / name
            place.mkdir(parents=True)
            for i in range(count):
                shape = (40 + 8 * i, 64, 3)
                pixels = (rng.integers(0, 120, shape) + 120 * label).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    return tmp_path / "pets"


def test_the_digits_are_always_there() -> None:
    dataset = load_dataset("digits")
    assert (dataset.classes, len(dataset.train), len(dataset.test)) == (10, 1437, 360)
    images, labels = next(dataset.test.batches(32, 20))
    assert images.shape == (32, 3, 20, 20)
    assert 0 <= images.min() < images.max() <= 1
    assert labels.dtype == torch.int64


def test_fashion_mnist_from_a_folder(fashion: Path) -> None:
    dataset = load_dataset(f"fashion-mnist:{fashion}")
    assert (dataset.name, dataset.classes, len(dataset.train), len(dataset.test)) == (
        "fashion-mnist",
        10,
        30,
        10,
    )


def test_a_missing_or_broken_idx_file_is_named(fashion: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="apt install dataset-fashion-mnist"):
        load_dataset(f"fashion-mnist:{tmp_path / 'none'}")
    (broken,) = fashion.glob("t10k-labels*")
    content = gzip.decompress(broken.read_bytes()) if broken.suffix == ".gz" else broken.read_bytes()
    broken.write_bytes(gzip.compress(content[:-2]) if broken.suffix == ".gz" else content[:-2])
    with pytest.raises(ConfigError, match="t10k-labels-idx1-ubyte: not an idx file"):
        load_dataset(f"fashion-mnist:{fashion}")


@pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="not installed")
def test_fashion_mnist_as_debian_installs_it() -> None:
    dataset = load_dataset("fashion-mnist")
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
    mean, deviation = dataset.train.statistics()  # as everybody normalises it
    assert mean[0].item() == pytest.approx(0.2860, abs=1e-3)
    assert deviation[0].item() == pytest.approx(0.3530, abs=1e-3)


def test_cifar_as_torchvision_unpacks_it(tmp_path: Path) -> None:
    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    pixels = np.arange(4 * 3072, dtype=np.uint32).astype(np.uint8).reshape(4, 3072)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        held = {"data": pixels, "labels": [0, 1, 2, 3], "filenames": ["a"] * 4}
        (root / name).write_bytes(pickle.dumps(held, protocol=2))
    for place in (tmp_path, root):
        dataset = load_dataset(f"cifar10:{place}")
        assert (len(dataset.train), len(dataset.test), dataset.classes) == (20, 4, 10)
    images, _ = next(dataset.test.batches(4, 32))
    assert images[0, 1, 0, 5].item() == pytest.approx(pixels[0, 1024 + 5] / 255)  # channels first


def test_a_pickle_that_could_run_code_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "cifar-100-python"
    root.mkdir()
    (root / "train").write_bytes(pickle.dumps({"data": print}))
    with pytest.raises(ConfigError, match=r"builtins\.print"):
        load_dataset(f"cifar100:{tmp_path}")


def test_missing_cifar_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cifar-10-python\.tar\.gz"):
        load_dataset(f"cifar10:{tmp_path}")


def test_a_folder_of_images(folder: Path) -> None:
    dataset = load_dataset(f"folder:{folder}")
    assert (dataset.name, dataset.classes, len(dataset.train), len(dataset.test)) == ("pets", 2, 12, 6)
    images, labels = next(dataset.test.batches(6, 32))
    assert images.shape == (6, 3, 32, 32)
    bright = images.mean((1, 2, 3))
    assert bright[labels == 1].min() > bright[labels == 0].max()


def test_who_reads_the_files_makes_no_difference(folder: Path) -> None:
    dataset = load_dataset(f"folder:{folder}")
    how = Augmentation(flip=True, crop=(0.3, 1.0), shift=2)
    one, two = (
        torch.cat(
            [images for images, _ in dataset.train.batches(5, 24, seed=3, augmentation=how, loaders=loaders)]
        )
        for loaders in (0, 2)
    )
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda root: [p.unlink() for p in (root / "train" / "dog").iterdir()], "no images of class dog"),
        (lambda root: (root / "val" / "dog").rename(root / "val" / "cow"), "different classes: cow, dog"),
        (
            lambda root: (root / "train").rename(root / "training"),
            "no such folder; a dataset has FOLDER/train/CLASS",
        ),
    ],
)
def test_a_folder_laid_out_otherwise_is_refused(
    folder: Path, break_it: Callable[[Path], object], said: str
) -> None:
    break_it(folder)
    with pytest.raises(ConfigError, match=said):
        load_dataset(f"folder:{folder}")


def test_a_broken_image_file_is_named(folder: Path) -> None:
    (folder / "val" / "cat" / "1.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"1\.png: cannot be read as an image"):
        list(load_dataset(f"folder:{folder}").test.batches(6, 32))


def test_names() -> None:
    assert dataset_name("folder:/data/imagenet/") == "imagenet"
    assert dataset_name("fashion-mnist:/data") == "fashion-mnist"
    with pytest.raises(ConfigError, match="folder:FOLDER"):
        dataset_name("imagenet")
    with pytest.raises(ConfigError, match="which folder"):
        dataset_name("folder")
