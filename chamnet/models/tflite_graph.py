"""A TFLite graph that grows node by node: tensors and operators are numbered here, and nowhere else.

Operators have the oldest versions of their meaning that they need, so that old runtimes read the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chamnet.models.quantization import Quantization
from chamnet.models.tflite_schema import (
    Buffer,
    Builtin,
    Model,
    Operator,
    OperatorCode,
    Options,
    QuantizationParameters,
    SubGraph,
    Tensor,
    TensorType,
    pack,
)
from chamnet.ops import DType

__all__ = ["TfliteGraph", "Value", "whole_tensor"]

_SCHEMA_VERSION = 3
_TYPES = {"f32": TensorType.FLOAT32, "int8": TensorType.INT8}
_INT8_VERSIONS = {
    Builtin.ADD: 2,
    Builtin.CONV_2D: 3,
    Builtin.DEPTHWISE_CONV_2D: 3,
    Builtin.FULLY_CONNECTED: 4,
    Builtin.MAX_POOL_2D: 2,
    Builtin.MEAN: 2,
    Builtin.PAD: 2,
    Builtin.PADV2: 2,
    Builtin.RELU: 2,
    Builtin.RELU6: 2,
}


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of activations.

    Attributes:
        index: Its number in the graph.
        shape: NHWC, or `n x c` behind a linear layer.
        quantization: None in f32.
    """

    index: int
    shape: tuple[int, ...]
    quantization: Quantization | None = None

    @property
    def dtype(self) -> DType:
        """Element type."""
        return "int8" if self.quantization else "f32"


def whole_tensor(quantization: Quantization) -> QuantizationParameters:
    """Return one scale and zero point for a whole tensor."""
    return QuantizationParameters(scale=(quantization.scale,), zero_point=(quantization.zero_point,))


class TfliteGraph:
    """A graph that grows; the node added last gives the output."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._buffers = [Buffer()]  # the first stands for "no data"
        self._operators: list[Operator] = []
        self._codes: list[OperatorCode] = []
        self._inputs: list[int] = []
        self._constants: dict[str, int] = {}

    def input(self, name: str, shape: tuple[int, ...], quantization: Quantization | None = None) -> Value:
        """Add an input."""
        value = self._value(name, shape, quantization)
        self._inputs.append(value.index)
        return value

    def constant(
        self, name: str, values: NDArray[np.generic], quantization: QuantizationParameters | None = None
    ) -> int:
        """Add a constant unless one of its name is there, and return its number.

        Args:
            name: Of the tensor.
            values: Of f32, int8 or int32.
            quantization: How they stand for real numbers, if they are quantised.
        """
        if name not in self._constants:
            self._constants[name] = len(self._tensors)
            little_endian = values.astype(values.dtype.newbyteorder("<"), copy=False)
            self._buffers.append(Buffer(data=little_endian.tobytes()))
            self._tensors.append(
                Tensor(
                    shape=values.shape,
                    type=TensorType[values.dtype.name.upper()],
                    buffer=len(self._buffers) - 1,
                    name=name,
                    quantization=quantization,
                )
            )
        return self._constants[name]

    def node(
        self,
        name: str,
        builtin: Builtin,
        inputs: Sequence[Value | int],
        shape: tuple[int, ...],
        options: Options | None = None,
        *,
        quantization: Quantization | None = None,
        version: int = 1,
    ) -> Value:
        """Add an operator and return its output.

        Args:
            name: Of its output.
            builtin: Which operator.
            inputs: Activations, and numbers of constants.
            shape: Of its output.
            options: Its parameters.
            quantization: Of its output; None in f32.
            version: The oldest of the operator that knows these options in f32.
        """
        value = self._value(name, shape, quantization)
        if quantization:
            version = max(version, _INT8_VERSIONS.get(builtin, 1))
        self._operators.append(
            Operator(
                opcode_index=self._code(builtin, version),
                inputs=tuple(each.index if isinstance(each, Value) else each for each in inputs),
                outputs=(value.index,),
                options=options,
            )
        )
        return value

    def model(self) -> bytes:
        """Return the file; the last node's output becomes `output`."""
        (last,) = self._operators[-1].outputs
        self._tensors[last] = replace(self._tensors[last], name="output")
        graph = SubGraph(
            tensors=tuple(self._tensors),
            inputs=tuple(self._inputs),
            outputs=(last,),
            operators=tuple(self._operators),
            name="main",
        )
        return pack(
            Model(
                version=_SCHEMA_VERSION,
                operator_codes=tuple(self._codes),
                subgraphs=(graph,),
                description="chamnet",
                buffers=tuple(self._buffers),
            )
        )

    def _value(self, name: str, shape: tuple[int, ...], quantization: Quantization | None) -> Value:
        value = Value(len(self._tensors), shape, quantization)
        parameters = whole_tensor(quantization) if quantization else None
        kind = _TYPES[value.dtype]
        self._tensors.append(Tensor(shape=shape, type=kind, name=name, quantization=parameters))
        return value

    def _code(self, builtin: Builtin, version: int) -> int:
        """Return the number of an operator code, added if it is new."""
        code = OperatorCode(deprecated_builtin_code=builtin, builtin_code=builtin, version=version)
        if code not in self._codes:
            self._codes.append(code)
        return self._codes.index(code)
