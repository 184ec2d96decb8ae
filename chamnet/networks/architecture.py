"""Architectures: the numbers that define a network, and the network they define.

Structure follows section 7.1 of the ChamNet fact sheet, decoded from the released Caffe2 graphs:
stem 3x3 stride 2, seven stages of inverted residuals [Sandler2018]_, a 1x1 head, global average pool,
classifier. Bottleneck networks follow [He2016]_ with the stride on the 3x3 ("v1.5", torchvision).

References:
    [Sandler2018] MobileNetV2: Inverted Residuals and Linear Bottlenecks. CVPR 2018.
    [He2016] Deep Residual Learning for Image Recognition. CVPR 2016.
    [Dai2019] ChamNet: Towards Efficient Network Design through Platform-Aware Model Adaptation. CVPR 2019.
    [Tan2019] MnasNet: Platform-Aware Neural Architecture Search for Mobile. CVPR 2019.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

from chamnet.errors import ConfigError
from chamnet.networks import blocks
from chamnet.ops import Activation, DType
from chamnet.units import Granularity, Unit

__all__ = ["Architecture", "Family", "Network", "Stage", "stage_block"]

Family = Literal["inverted_residual", "bottleneck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Blocks that share expansion, filters and kernel; the first one carries the stride.

    Attributes:
        expansion: Inner channels over input channels (inverted residual), or output channels over
            inner channels (bottleneck).
        filters: Output channels.
        blocks: Number of blocks.
        stride: Stride of the first block.
        kernel: Size of the spatial convolution.
        se: Whether squeeze-excite follows the depthwise convolution.
    """

    expansion: int
    filters: int
    blocks: int
    stride: int
    kernel: int = 3
    se: bool = False

    @property
    def numbers(self) -> tuple[int, ...]:
        """Expansion, filters, blocks, kernel, and squeeze-excite as 0 or 1: what a space may leave open, in its order."""
        return (self.expansion, self.filters, self.blocks, self.kernel, int(self.se))


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """All numbers of a network.

    Attributes:
        family: Kind of block.
        resolution: Height and width of the input.
        stem: Filters of the first convolution.
        stages: The stages, in order.
        head: Filters of the last 1x1 convolution; 0 for none (bottleneck).
        activation: Of every block.
        expand_at_e1: Whether the 1x1 expansion exists at expansion 1, as in the released ChamNets.
        classes: Outputs of the classifier.
        batch: Images at a time.
        dtype: Element type of weights and activations.
    """

    family: Family = "inverted_residual"
    resolution: int
    stem: int
    stages: tuple[Stage, ...]
    head: int
    activation: Activation = "relu"
    expand_at_e1: bool = True
    classes: int = 1000
    batch: int = 1
    dtype: DType = "f32"

    def build(self, name: str = "") -> "Network":
        """Return the network these numbers define."""
        return Network(name, self, tuple(block.cast(self.dtype) for block in _build_blocks(self)))

    @property
    def trained(self) -> "Architecture":
        """The same as it is trained and told apart: one image at a time, at 32 bits."""
        return replace(self, batch=1, dtype="f32")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "architecture") -> "Architecture":
        """Read plain data.

        Raises:
            ConfigError: A key is unknown or missing, or a number makes no sense; `source` is named.
        """
        try:
            stages = tuple(Stage(**stage) for stage in data["stages"])
            architecture = cls(**{**data, "stages": stages})
            if architecture.dtype not in get_args(DType):
                raise ValueError(f"dtype {architecture.dtype!r}; known: {', '.join(get_args(DType))}")
            architecture.build()
        except (KeyError, TypeError, ValueError) as error:
            known = ", ".join(field.name for field in fields(cls))
            raise ConfigError(f"{source}: not an architecture ({error}); its keys are {known}") from error
        return architecture


@dataclass(frozen=True)
class Network:
    """A serial chain of blocks, ready to be measured or written as a model.

    Attributes:
        name: For people; empty for a nameless genome.
        architecture: The numbers it was built from.
        blocks: Whole blocks in order; `units` gives them at either granularity.
    """

    name: str
    architecture: Architecture
    blocks: tuple[Unit, ...]

    def units(self, granularity: Granularity) -> tuple[Unit, ...]:
        """Return the chain as blocks or as single operators."""
        if granularity == "block":
            return self.blocks
        return tuple(single for block in self.blocks for single in block.split())

    def cast(self, dtype: DType) -> "Network":
        """Return the same network with another element type."""
        return (
            self
            if dtype == self.architecture.dtype
            else replace(self.architecture, dtype=dtype).build(self.name)
        )

    @cached_property
    def digest(self) -> str:
        """Digest of the chain itself: equal for a network however it was named."""
        return hashlib.sha256("|".join(block.key for block in self.blocks).encode()).hexdigest()[:16]

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of conv and linear weights at the architecture's batch."""
        return sum(block.macs for block in self.blocks)

    @cached_property
    def weights(self) -> int:
        """Conv and linear weights."""
        return sum(block.weights for block in self.blocks)

    @cached_property
    def params(self) -> int:
        """Trainable parameters: weights, batch norm, biases."""
        return sum(block.params for block in self.blocks)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of weights with batch norm folded."""
        return sum(block.weight_bytes for block in self.blocks)

    @cached_property
    def peak_activation_bytes(self) -> int:
        """Largest working set of activations of any operator."""
        return max(block.peak_activation_bytes for block in self.blocks)


def stage_block(arch: Architecture, stage: Stage, shape: blocks.Shape, stride: int) -> Unit:
    """Return one block of a stage on an input of `shape`."""
    if arch.family == "bottleneck":
        inner = stage.filters // stage.expansion
        return blocks.bottleneck(shape, stage.filters, inner, stride=stride, act=arch.activation)
    return blocks.inverted_residual(
        shape,
        stage.filters,
        stage.expansion,
        stride=stride,
        kernel=stage.kernel,
        se=stage.se,
        act=arch.activation,
        expand=stage.expansion > 1 or arch.expand_at_e1,
    )


def _build_blocks(arch: Architecture) -> list[Unit]:
    shape = blocks.Shape(arch.batch, 3, arch.resolution, arch.resolution)
    chain: list[Unit] = []

    def append(unit: Unit) -> None:
        nonlocal shape
        chain.append(unit)
        shape = blocks.Shape(*unit.out_shape)

    bottleneck = arch.family == "bottleneck"
    append(blocks.conv(shape, arch.stem, kernel=7 if bottleneck else 3, stride=2, act=arch.activation))
    if bottleneck:
        append(blocks.maxpool(shape))
    for stage in arch.stages:
        for index in range(stage.blocks):
            append(stage_block(arch, stage, shape, stage.stride if index == 0 else 1))
    if arch.head:
        append(blocks.conv(shape, arch.head, act=arch.activation))
    append(blocks.global_pool(shape))
    append(blocks.classifier(shape, arch.classes))
    return chain
