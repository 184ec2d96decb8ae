"""The tables of a TFLite file that chains of units need, and how they are packed and read.

A small subset of LiteRT's `schema.fbs`, where the meaning of every field is told, so that writing a file takes no
runtime: `tflite-runtime` ships no schema at all, and that of `ai-edge-litert` loads native code. Fields outside the
subset are dropped on reading.
"""

from dataclasses import dataclass
from enum import IntEnum

from chamnet.models import flatbuffer
from chamnet.models.flatbuffer import BOOL, FLOAT32, INT8, INT32, INT64, UINT32, Union, slot

__all__ = [
    "ActivationType",
    "AddOptions",
    "Buffer",
    "Builtin",
    "Conv2DOptions",
    "DepthwiseConv2DOptions",
    "FullyConnectedOptions",
    "Model",
    "MulOptions",
    "Operator",
    "OperatorCode",
    "Options",
    "PadOptions",
    "Padding",
    "Pool2DOptions",
    "QuantizationParameters",
    "ReducerOptions",
    "ReshapeOptions",
    "SubGraph",
    "Tensor",
    "TensorType",
    "pack",
    "unpack",
]

_IDENTIFIER = b"TFL3"


class Builtin(IntEnum):
    """Operators."""

    ADD = 0
    CONV_2D = 3
    DEPTHWISE_CONV_2D = 4
    FULLY_CONNECTED = 9
    LOGISTIC = 14
    MAX_POOL_2D = 17
    MUL = 18
    RELU = 19
    RELU6 = 21
    RESHAPE = 22
    PAD = 34
    MEAN = 40
    PADV2 = 60


class TensorType(IntEnum):
    """Element types."""

    FLOAT32 = 0
    FLOAT16 = 1
    INT32 = 2
    UINT8 = 3
    INT64 = 4
    INT16 = 7
    INT8 = 9


class Padding(IntEnum):
    """How a window meets the border."""

    SAME = 0
    VALID = 1


class ActivationType(IntEnum):
    """Fused activations."""

    NONE = 0
    RELU = 1
    RELU_N1_TO_1 = 2
    RELU6 = 3
    TANH = 4
    SIGN_BIT = 5


@dataclass(frozen=True, kw_only=True)
class Conv2DOptions:
    """Of CONV_2D."""

    padding: int = slot(0, INT8, 0)
    stride_w: int = slot(1, INT32, 0)
    stride_h: int = slot(2, INT32, 0)
    activation: int = slot(3, INT8, 0)
    dilation_w: int = slot(4, INT32, 1)
    dilation_h: int = slot(5, INT32, 1)


@dataclass(frozen=True, kw_only=True)
class DepthwiseConv2DOptions:
    """Of DEPTHWISE_CONV_2D."""

    padding: int = slot(0, INT8, 0)
    stride_w: int = slot(1, INT32, 0)
    stride_h: int = slot(2, INT32, 0)
    depth_multiplier: int = slot(3, INT32, 0)
    activation: int = slot(4, INT8, 0)
    dilation_w: int = slot(5, INT32, 1)
    dilation_h: int = slot(6, INT32, 1)


@dataclass(frozen=True, kw_only=True)
class Pool2DOptions:
    """Of pools."""

    padding: int = slot(0, INT8, 0)
    stride_w: int = slot(1, INT32, 0)
    stride_h: int = slot(2, INT32, 0)
    filter_w: int = slot(3, INT32, 0)
    filter_h: int = slot(4, INT32, 0)
    activation: int = slot(5, INT8, 0)


@dataclass(frozen=True, kw_only=True)
class FullyConnectedOptions:
    """Of FULLY_CONNECTED."""

    activation: int = slot(0, INT8, 0)


@dataclass(frozen=True, kw_only=True)
class AddOptions:
    """Of ADD."""

    activation: int = slot(0, INT8, 0)


@dataclass(frozen=True, kw_only=True)
class MulOptions:
    """Of MUL."""

    activation: int = slot(0, INT8, 0)


@dataclass(frozen=True, kw_only=True)
class ReshapeOptions:
    """Of RESHAPE."""

    new_shape: tuple[int, ...] = slot(0, (INT32,), ())


@dataclass(frozen=True, kw_only=True)
class PadOptions:
    """Of PAD."""


@dataclass(frozen=True, kw_only=True)
class ReducerOptions:
    """Of MEAN."""

    keep_dims: bool = slot(0, BOOL, False)


Options = (
    Conv2DOptions
    | DepthwiseConv2DOptions
    | Pool2DOptions
    | FullyConnectedOptions
    | AddOptions
    | MulOptions
    | ReshapeOptions
    | PadOptions
    | ReducerOptions
)
_OPTIONS: dict[int, type] = {
    1: Conv2DOptions,
    2: DepthwiseConv2DOptions,
    5: Pool2DOptions,
    8: FullyConnectedOptions,
    11: AddOptions,
    17: ReshapeOptions,
    21: MulOptions,
    22: PadOptions,
    27: ReducerOptions,
}


@dataclass(frozen=True, kw_only=True)
class QuantizationParameters:
    """Scales and zero points of a tensor: one, or one a channel of a dimension."""

    scale: tuple[float, ...] = slot(2, (FLOAT32,), ())
    zero_point: tuple[int, ...] = slot(3, (INT64,), ())
    quantized_dimension: int = slot(6, INT32, 0)


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor; constant if its buffer holds data."""

    shape: tuple[int, ...] = slot(0, (INT32,), ())
    type: int = slot(1, INT8, 0)
    buffer: int = slot(2, UINT32, 0)
    name: str = slot(3, str, "")
    quantization: QuantizationParameters | None = slot(4, QuantizationParameters)  # noqa: RUF009, only declares
    shape_signature: tuple[int, ...] = slot(7, (INT32,), ())  # with -1 where a size is not fixed


@dataclass(frozen=True, kw_only=True)
class OperatorCode:
    """An operator and the version of its meaning. Old readers look at the deprecated code."""

    deprecated_builtin_code: int = slot(0, INT8, 0)
    custom_code: str = slot(1, str, "")
    version: int = slot(2, INT32, 1)
    builtin_code: int = slot(3, INT32, 0)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """A node: indices of its operator code and of its tensors; -1 is an input left out."""

    opcode_index: int = slot(0, UINT32, 0)
    inputs: tuple[int, ...] = slot(1, (INT32,), ())
    outputs: tuple[int, ...] = slot(2, (INT32,), ())
    options: Options | None = slot(4, Union(_OPTIONS))  # noqa: RUF009, only declares


@dataclass(frozen=True, kw_only=True)
class SubGraph:
    """A graph; its operators are in the order in which they run."""

    tensors: tuple[Tensor, ...] = slot(0, (Tensor,), ())
    inputs: tuple[int, ...] = slot(1, (INT32,), ())
    outputs: tuple[int, ...] = slot(2, (INT32,), ())
    operators: tuple[Operator, ...] = slot(3, (Operator,), ())
    name: str = slot(4, str, "")


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """Data of constants; the first of a model is empty."""

    data: bytes = slot(0, bytes, b"")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A file."""

    version: int = slot(0, UINT32, 0)
    operator_codes: tuple[OperatorCode, ...] = slot(1, (OperatorCode,), ())
    subgraphs: tuple[SubGraph, ...] = slot(2, (SubGraph,), ())
    description: str = slot(3, str, "")
    buffers: tuple[Buffer, ...] = slot(4, (Buffer,), ())


def pack(model: Model) -> bytes:
    """Return a model as a file."""
    return flatbuffer.pack(model, _IDENTIFIER)


def unpack(data: bytes) -> Model:
    """Read a file.

    Raises:
        ValueError: It is no TFLite file, or broken.
    """
    return flatbuffer.unpack(Model, data, _IDENTIFIER)
