"""Architectures as the numbers that the accuracy predictor sees.

The numbers are the axes of a space (resolution, stem, expansion, filters, blocks, kernel and squeeze-excite of each
stage, head), each scaled to [0, 1] by its range there. Values off the grid or outside the range are welcome: nothing is
rounded or clipped. Axes with a single value are no features; networks that differ in them are called extrapolated.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from chamnet.errors import ConfigError
from chamnet.networks import Architecture
from chamnet.space import Levels, SearchSpace

__all__ = ["HOW_TO_FIT", "Structure"]

HOW_TO_FIT = (
    "bring accuracies of such networks (`chamnet-host accuracy import FILE --space SPACE`), fit a predictor to them"
    " (`chamnet-host accuracy fit --space SPACE --as NAME`) and give it with --predictor NAME"
)

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What the networks of a pool have in common, and the ranges of what they have not.

    Attributes:
        family: Kind of block.
        names: Axes in canonical order, as `SearchSpace.axes`.
        low, high: Range of each axis.
        strides: Of each stage.
        classes: Outputs of the classifier.
    """

    family: str
    names: tuple[str, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    strides: tuple[int, ...]
    classes: int

    @classmethod
    def of(cls, space: SearchSpace) -> "Structure":
        """Return the structure of a space."""
        return cls(
            family=space.family,
            names=tuple(axis.name for axis in space.axes),
            low=tuple(axis.values[0] for axis in space.axes),
            high=tuple(axis.values[-1] for axis in space.axes),
            strides=tuple(stage.stride for stage in space.stages),
            classes=space.classes,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Structure":
        """Read what `to_dict` gave, lists as tuples."""
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**plain)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the axes that are features, `d` of them."""
        return tuple(self.names[i] for i in self._varying)

    def scale(self, values: npt.ArrayLike) -> FloatArray:
        """Return features, shape `n x d`, from the values of every axis, shape `n x len(names)`."""
        low, high = np.array(self.low, dtype=float), np.array(self.high, dtype=float)
        scaled = (np.asarray(values, dtype=float) - low) / np.where(high > low, high - low, 1.0)
        varying: FloatArray = scaled[:, list(self._varying)]
        return varying

    def conforms(self, values: npt.ArrayLike) -> BoolArray:
        """Return whether axes without a range have their one value, shape `n`."""
        fixed = [i for i in range(len(self.names)) if i not in self._varying]
        same: BoolArray = (np.asarray(values)[:, fixed] == np.array(self.low)[fixed]).all(axis=1)
        return same

    def values(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.int64]:
        """Return the values of every axis, shape `n x len(names)`.

        Raises:
            ConfigError: An architecture has other blocks or another number of stages.
        """
        rows = []
        for arch in architectures:
            self._check(arch.family, len(arch.stages))
            inner = (number for stage in arch.stages for number in stage.numbers)
            rows.append([arch.resolution, arch.stem, *inner, arch.head])
        return np.array(rows, dtype=np.int64).reshape(-1, len(self.names))

    def values_of(self, space: SearchSpace, levels: Levels) -> npt.NDArray[np.int64]:
        """Return the values of every axis of genomes, shape `n x len(names)`."""
        columns, decision = [], 0
        for axis in space.axes:
            choices = np.array(axis.values, dtype=np.int64)
            free = len(choices) > 1
            columns.append(choices[levels[:, decision]] if free else np.full(len(levels), choices[0]))
            decision += free
        return np.stack(columns, axis=1)

    def admits(self, arch: Architecture) -> bool:
        """Whether strides and classes are the pool's."""
        return self._same([stage.stride for stage in arch.stages], arch.classes)

    def admits_space(self, space: SearchSpace) -> bool:
        """Whether strides and classes of a space's networks are the pool's."""
        return self._same([stage.stride for stage in space.stages], space.classes)

    def refusal(self, space: SearchSpace) -> str | None:
        """Return why nothing learned from the pool can rank a space's networks; None where it can."""
        if (space.family, len(space.stages)) != (self.family, len(self.strides)):
            return (
                f"it knows networks of {len(self.strides)} {self._kind} stages, and {space.name} has"
                f" {len(space.stages)} {space.family.replace('_', ' ')} stages"
            )
        strides = tuple(stage.stride for stage in space.stages)
        if strides != self.strides:
            return f"it knows networks of strides {self.strides}, and those of {space.name} are {strides}"
        for i, axis in enumerate(space.axes):
            if len(axis.values) > 1 and i not in self._varying:
                return (
                    f"all networks it knows have {self.names[i]} = {self.low[i]}, and {space.name} has a choice; settle"
                    f" it with --fix {axis.name}=VALUE"
                )
        return None

    @cached_property
    def _varying(self) -> tuple[int, ...]:
        ranges = enumerate(zip(self.low, self.high, strict=True))
        return tuple(i for i, (low, high) in ranges if high > low)

    def _same(self, strides: list[int], classes: int) -> bool:
        return (tuple(strides), classes) == (self.strides, self.classes)

    def _check(self, family: str, stages: int) -> None:
        if (family, stages) != (self.family, len(self.strides)):
            raise ConfigError(
                f"no accuracy for {stages} {family.replace('_', ' ')} stages: the predictor knows networks of"
                f" {len(self.strides)} {self._kind} stages; {HOW_TO_FIT}"
            )

    @property
    def _kind(self) -> str:
        return self.family.replace("_", " ")
