"""Labelled images, in memory or as files: in batches, resized, and changed at random for training."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from chamnet.errors import ConfigError
from chamnet.train.recipe import Augmentation

__all__ = ["FolderImages", "Images", "MemoryImages"]

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
