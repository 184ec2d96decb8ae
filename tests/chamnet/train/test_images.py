"""Images in batches: their order, and what happens to them in training."""

from pathlib import Path

import pytest
import torch

from chamnet.train.images import FolderImages, MemoryImages
from chamnet.train.recipe import Augmentation


@pytest.fixture
def images() -> MemoryImages:
    pixels = torch.zeros(64, 1, 8, 8, dtype=torch.uint8)
    pixels[:, :, :, 0] = 255  # a bright left edge
    return MemoryImages(pixels, torch.arange(64))


def test_every_image_comes_once_in_an_order_of_the_seed(images: MemoryImages) -> None:
    order = torch.cat([labels for _, labels in images.batches(10, 8, seed=1)])
    again = torch.cat([labels for _, labels in images.batches(10, 8, seed=1)])
    other = torch.cat([labels for _, labels in images.batches(10, 8, seed=2)])
    assert torch.equal(order, again)
    assert not torch.equal(order, other)
    assert order.sort().values.tolist() == list(range(64))


def test_a_last_batch_of_one_image_is_left_out_of_training_only(images: MemoryImages) -> None:
    assert sum(len(labels) for _, labels in images.batches(63, 8, seed=1)) == 63
    assert sum(len(labels) for _, labels in images.batches(63, 8)) == 64


def test_about_half_are_mirrored(images: MemoryImages) -> None:
    changed, _ = next(images.batches(64, 8, seed=0, augmentation=Augmentation(flip=True)))
    left, right = changed[:, 0, 0, 0], changed[:, 0, 0, -1]
    assert torch.equal(left + right, torch.ones(64))
    assert 16 <= int(right.sum()) <= 48


def test_a_shift_moves_by_so_many_pixels_at_most(images: MemoryImages) -> None:
    changed, _ = next(images.batches(64, 8, seed=0, augmentation=Augmentation(shift=2)))
    assert changed[:, :, :, 3:].sum() == 0
    assert {int(row.argmax()) for row in changed[:, 0, 4] if row.sum()} == {0, 1, 2}


def test_a_crop_is_resized_to_the_resolution(images: MemoryImages) -> None:
    changed, _ = next(images.batches(64, 16, seed=0, augmentation=Augmentation(crop=(0.3, 0.5))))
    assert changed.shape == (64, 3, 16, 16)
    assert 0 <= changed.min() <= changed.max() <= 1 + 1e-6


def test_subsets_of_files() -> None:
    chosen = FolderImages((Path("a"), Path("b"), Path("c")), (0, 1, 2)).subset([2, 0])
    assert (chosen.paths, chosen.labels) == ((Path("c"), Path("a")), (2, 0))
