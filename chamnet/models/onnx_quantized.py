"""Operators of int8 chains as ONNX nodes, in the QDQ form.

Every operator stands in f32 between nodes that dequantise what it takes and quantise what it gives; runtimes fuse
such a group into an operator of their own that computes with whole numbers. The file's inputs and output stay f32.

Weights are int8, activations uint8: the int8 values of `chamnet.models.quantization`, moved up by 128. ONNX Runtime on
x86 fuses int8 activations only in part; with uint8, networks are 1.6 times as fast (1.31, ChamNet-A and -C, AVX2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chamnet.models.onnx_builder import OnnxBuilder, add_activation, window_attributes
from chamnet.models.quantization import (
    INPUT,
    Quantization,
    addend_quantization,
    output_quantization,
    quantize_bias,
    quantize_weights,
)
from chamnet.models.weights import weight_shapes
from chamnet.ops import OpSpec

__all__ = ["QuantizedOps", "QuantizedValue"]

_UP = 128  # from int8 to uint8


@dataclass(frozen=True, slots=True)
class QuantizedValue:
    """A quantised value of the graph.

    Attributes:
        name: Of the value.
        by: How it stands for real numbers.
    """

    name: str
    by: Quantization


class QuantizedOps:
    """Adds quantised operators to a graph.

    Args:
        graph: Has the weights in f32.
    """

    def __init__(self, graph: OnnxBuilder) -> None:
        self._graph = graph

    def input(self, name: str, shape: Sequence[int]) -> QuantizedValue:
        """Add an input in f32, and quantise it."""
        return self._quantized(f"{name}.quantized", self._graph.input(name, shape), INPUT)

    def op(
        self, name: str, op: OpSpec, value: QuantizedValue, residual: QuantizedValue | None
    ) -> QuantizedValue:
        """Add an operator's nodes, then the addition, then the activation; return its output.

        Raises:
            UnsupportedOpError: A squeeze-excite.
            ValueError: A weight is missing or misshaped.
        """
        quantization = output_quantization(op, value.by)
        real = self._body(name, op, value)
        if op.add and residual is not None:
            # quantised in between, as runtimes add whole numbers only
            addend = self._quantized(f"{name}.addend", real, addend_quantization(op, value.by))
            parts = [self._real(f"{name}.addend.real", addend), self._real(f"{name}.residual", residual)]
            real = self._graph.node(f"{name}.add", "Add", parts)
        real = add_activation(self._graph, name, op, real)
        return self._quantized(f"{name}.quantized", real, quantization)

    def output(self, value: QuantizedValue) -> None:
        """Dequantise the output."""
        self._real("output", value)

    def _body(self, name: str, op: OpSpec, value: QuantizedValue) -> str:
        if op.kind == "linear":  # flattened before: in between, it would keep the group from being fused
            value = QuantizedValue(self._graph.node(f"{name}.flatten", "Flatten", [value.name]), value.by)
        real = self._real(f"{name}.input", value)
        if op.kind == "conv":
            window, weights = window_attributes(op), self._weights(name, op, value.by)
            return self._graph.node(name, "Conv", [real, *weights], group=op.groups, **window)
        if op.kind == "linear":
            return self._graph.node(name, "Gemm", [real, *self._weights(name, op, value.by)], transB=1)
        if op.kind == "gap":
            return self._graph.node(name, "GlobalAveragePool", [real])
        return self._graph.node(name, "MaxPool", [real], **window_attributes(op))

    def _weights(self, name: str, op: OpSpec, source: Quantization) -> list[str]:
        """Add the weight and bias of an operator; return the names of their real values."""
        shapes = weight_shapes(op)
        weight, scales = quantize_weights(self._graph.weight(f"{name}.weight", shapes["weight"]))
        bias, bias_scales = quantize_bias(self._graph.weight(f"{name}.bias", shapes["bias"]), source, scales)
        return [
            self._channels(f"{name}.weight", weight, scales),
            self._channels(f"{name}.bias", bias, bias_scales),
        ]

    def _channels(self, name: str, values: NDArray[np.signedinteger], scales: NDArray[np.float32]) -> str:
        """Add a constant with a scale for each channel; return the name of its real values."""
        constants = {"": values, ".scale": scales, ".zero": np.zeros(scales.shape, values.dtype)}
        names = [self._graph.constant(f"{name}{part}", each) for part, each in constants.items()]
        return self._graph.node(f"{name}.real", "DequantizeLinear", names, axis=0)

    def _quantized(self, name: str, real: str, by: Quantization) -> QuantizedValue:
        return QuantizedValue(self._graph.node(name, "QuantizeLinear", [real, *self._scale(by)]), by)

    def _real(self, name: str, value: QuantizedValue) -> str:
        return self._graph.node(name, "DequantizeLinear", [value.name, *self._scale(value.by)])

    def _scale(self, by: Quantization) -> list[str]:
        """Return the names of scale and zero point; values that are quantised alike share them."""
        scale, zero_point = np.float32(by.scale), np.uint8(by.zero_point + _UP)
        return [
            self._graph.constant(f"scale.{by.scale!r}", scale),
            self._graph.constant(f"zero.{zero_point}", zero_point),
        ]
