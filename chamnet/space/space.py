"""Search spaces: which architectures there are, and genomes that name them.

A genome is one integer per decision, the value itself (`224, 32, 24, 4, 40, ...`), in the order of
`SearchSpace.decisions`. Arrays of genomes hold *levels* instead: the index of each value on its axis, so
that tables can be gathered from directly.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from chamnet.errors import ConfigError
from chamnet.networks import Architecture, Network, Stage
from chamnet.networks.architecture import Family
from chamnet.ops import Activation, DType

__all__ = ["Axis", "Genome", "Levels", "SearchSpace", "StageAxes"]

Genome = tuple[int, ...]
Levels = npt.NDArray[np.int32]  # n x d


@dataclass(frozen=True, slots=True)
class Axis:
    """One number of the architecture and the values it may take, ascending.

    It is a *decision* where there is more than one value.
    """

    name: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageAxes:
    """The axes of one stage, and its fixed stride; each as in `Stage`, squeeze-excite as 0 or 1."""

    expansion: Axis
    filters: Axis
    blocks: Axis
    kernel: Axis
    se: Axis
    stride: int

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes in canonical order, as `Stage.numbers`."""
        return (self.expansion, self.filters, self.blocks, self.kernel, self.se)


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """All architectures that the axes allow.

    Attributes:
        name: Such as `chamnet-mobile`.
        family: Kind of block.
        resolution, stem, head: Axes of input size, first and last convolution (head values are 0 for none).
        stages: Axes of the stages.
        activation, expand_at_e1, classes, batch, dtype: As in `Architecture`.
    """

    name: str
    family: Family
    resolution: Axis
    stem: Axis
    stages: tuple[StageAxes, ...]
    head: Axis
    activation: Activation = "relu"
    expand_at_e1: bool = True
    classes: int = 1000
    batch: int = 1
    dtype: DType = "f32"

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """Every axis in canonical order: resolution, stem, stages (expansion, filters, blocks, kernel, se), head."""
        inner = (axis for stage in self.stages for axis in stage.axes)
        return (self.resolution, self.stem, *inner, self.head)

    @cached_property
    def decisions(self) -> tuple[Axis, ...]:
        """The axes with a choice; a genome has one integer for each."""
        return tuple(axis for axis in self.axes if len(axis.values) > 1)

    @cached_property
    def digest(self) -> str:
        """Digest of everything but the name: another space's tables are never used for it."""
        inner = (axis for s in self.stages for axis in (s.expansion, s.filters, s.blocks))
        axes = (self.resolution, self.stem, *inner, self.head)
        windows = [
            # without a choice as it was before there could be one: what was measured then still serves
            (s.stride, *s.kernel.values)
            if (len(s.kernel.values), s.se.values) == (1, (0,))
            else (s.stride, s.kernel, s.se)
            for s in self.stages
        ]
        facts = (self.family, axes, windows, self._template)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]

    @property
    def sizes(self) -> npt.NDArray[np.int32]:
        """Number of values of each decision, shape `d`."""
        return np.array([len(axis.values) for axis in self.decisions], dtype=np.int32)

    @property
    def cardinality(self) -> int:
        """How many genomes there are."""
        return math.prod(len(axis.values) for axis in self.decisions)

    def architecture(self, genome: Sequence[int]) -> Architecture:
        """Return the architecture of a genome.

        Raises:
            ConfigError: Wrong length, or a value its decision does not have.
        """
        self.levels([genome])
        chosen = iter(genome)
        value = {axis.name: next(chosen) if len(axis.values) > 1 else axis.values[0] for axis in self.axes}
        stages = tuple(
            Stage(
                expansion=value[stage.expansion.name],
                filters=value[stage.filters.name],
                blocks=value[stage.blocks.name],
                stride=stage.stride,
                kernel=value[stage.kernel.name],
                se=bool(value[stage.se.name]),
            )
            for stage in self.stages
        )
        return replace(
            self._template,
            resolution=value[self.resolution.name],
            stem=value[self.stem.name],
            stages=stages,
            head=value[self.head.name],
        )

    def decode(self, genome: Sequence[int]) -> Network:
        """Return the network of a genome, named after it (`224-32-24-4-40-...`).

        Raises:
            ConfigError: Not a genome of this space.
        """
        return self.architecture(genome).build("-".join(map(str, genome)))

    def genome(self, architecture: Architecture) -> Genome:
        """Return the genome of an architecture.

        Raises:
            ConfigError: The architecture lies outside; the first number that does is named.
        """
        if len(architecture.stages) != len(self.stages) or architecture.family != self.family:
            raise ConfigError(f"not in {self.name}: it has {len(self.stages)} {self.family} stages")
        for stage, axes in zip(architecture.stages, self.stages, strict=True):
            if stage.stride != axes.stride:
                raise ConfigError(f"not in {self.name}: {axes.filters.name.split('.')[0]} has another stride")
        inner = (number for stage in architecture.stages for number in stage.numbers)
        values = (architecture.resolution, architecture.stem, *inner, architecture.head)
        for axis, value in zip(self.axes, values, strict=True):
            if value not in axis.values:
                raise ConfigError(
                    f"not in {self.name}: {axis.name} = {value} is not one of {_shown(axis.values)}"
                )
        return tuple(v for axis, v in zip(self.axes, values, strict=True) if len(axis.values) > 1)

    def holds(self, architecture: Architecture) -> bool:
        """Whether a genome builds this very architecture, activation and all."""
        try:
            return self.architecture(self.genome(architecture)) == architecture
        except ConfigError:
            return False

    def levels(self, genomes: Iterable[Sequence[int]]) -> Levels:
        """Return genomes as levels, shape `n x d`.

        Raises:
            ConfigError: Wrong length, or a value its decision does not have.
        """
        rows = []
        for genome in genomes:
            if len(genome) != len(self.decisions):
                raise ConfigError(
                    f"a genome of {self.name} has {len(self.decisions)} numbers, not {len(genome)}"
                )
            for axis, value in zip(self.decisions, genome, strict=True):
                if value not in self._index[axis.name]:
                    raise ConfigError(f"genome: {axis.name} = {value} is not one of {_shown(axis.values)}")
            rows.append([self._index[a.name][v] for a, v in zip(self.decisions, genome, strict=True)])
        return np.array(rows, dtype=np.int32).reshape(len(rows), len(self.decisions))

    def genomes(self, levels: Levels) -> list[Genome]:
        """Return rows of levels, shape `n x d`, as genomes."""
        return [
            tuple(a.values[i] for a, i in zip(self.decisions, row, strict=True)) for row in levels.tolist()
        ]

    def parse_genome(self, text: str) -> Genome:
        """Read a genome typed as numbers with any of `,`, `-` or space between them.

        Raises:
            ConfigError: Not a genome of this space.
        """
        parts = text.replace(",", " ").replace("-", " ").split()
        if not all(part.isdecimal() for part in parts):
            raise ConfigError(
                f"genome {text!r}: expected {len(self.decisions)} numbers such as 224-32-24-..."
            )
        genome = tuple(int(part) for part in parts)
        self.levels([genome])
        return genome

    def restricted(
        self, fixed: Mapping[str, int] | None = None, *, channel_multiple: int = 1
    ) -> "SearchSpace":
        """Return the part of the space with some decisions settled.

        Args:
            fixed: Axis -> the one value left of it.
            channel_multiple: Of which all filters are multiples: stem, stages and head.

        Raises:
            ConfigError: No such axis, or no value is left of one.
        """
        left = {axis.name: axis.values for axis in self.axes}
        for name, value in (fixed or {}).items():
            if name not in left:
                raise ConfigError(f"{self.name} has no axis {name!r}; it has {', '.join(left)}")
            if value not in left[name]:
                raise ConfigError(f"{name} = {value}: {self.name} has {_shown(left[name])}")
            left[name] = (value,)
        for name in self._filter_axes:
            multiples = tuple(value for value in left[name] if value % channel_multiple == 0)
            if not multiples:
                raise ConfigError(
                    f"no value of {name} in {self.name} is a multiple of {channel_multiple}: {_shown(left[name])}"
                )
            left[name] = multiples
        return self._with_axes(left)

    @property
    def _filter_axes(self) -> tuple[str, ...]:
        return (self.stem.name, *(stage.filters.name for stage in self.stages), self.head.name)

    def _with_axes(self, values: Mapping[str, tuple[int, ...]]) -> "SearchSpace":
        def axis(old: Axis) -> Axis:
            return Axis(old.name, values[old.name])

        stages = tuple(
            StageAxes(
                expansion=axis(s.expansion),
                filters=axis(s.filters),
                blocks=axis(s.blocks),
                kernel=axis(s.kernel),
                se=axis(s.se),
                stride=s.stride,
            )
            for s in self.stages
        )
        return replace(
            self,
            resolution=axis(self.resolution),
            stem=axis(self.stem),
            stages=stages,
            head=axis(self.head),
        )

    def sample(self, count: int, rng: np.random.Generator) -> Levels:
        """Draw genomes uniformly as levels, shape `count x d`."""
        return rng.integers(0, self.sizes, size=(count, len(self.decisions)), dtype=np.int32)

    def extreme(self, *, largest: bool) -> Genome:
        """Return the genome with every decision at its highest or lowest value."""
        return tuple(axis.values[-1 if largest else 0] for axis in self.decisions)

    @cached_property
    def _index(self) -> dict[str, dict[int, int]]:
        """Decision -> value -> level."""
        return {axis.name: {value: i for i, value in enumerate(axis.values)} for axis in self.decisions}

    @cached_property
    def _template(self) -> Architecture:
        return Architecture(
            family=self.family,
            resolution=1,
            stem=1,
            stages=(),
            head=0,
            activation=self.activation,
            expand_at_e1=self.expand_at_e1,
            classes=self.classes,
            batch=self.batch,
            dtype=self.dtype,
        )


def _shown(values: Sequence[int]) -> str:
    if len(values) <= 6:
        return ", ".join(map(str, values))
    return f"{values[0]}, {values[1]}, ... {values[-1]}"
