"""Write a chain of units as a TFLite file, in f32 or int8.

Tensors are NHWC. Activations are fused into the operator before them; an addition is an operator of its own, as
LiteRT runs it. Tensors are named after the weights (`chamnet.models.weights`).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chamnet.errors import UnsupportedOpError
from chamnet.models.quantization import (
    INPUT,
    Quantization,
    addend_quantization,
    output_quantization,
    quantize_bias,
    quantize_weights,
)
from chamnet.models.tflite_graph import TfliteGraph, Value, whole_tensor
from chamnet.models.tflite_schema import (
    ActivationType,
    AddOptions,
    Builtin,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
    MulOptions,
    Padding,
    PadOptions,
    Pool2DOptions,
    QuantizationParameters,
    ReducerOptions,
    ReshapeOptions,
)
from chamnet.models.weights import Weights, weight_shapes
from chamnet.ops import OpSpec
from chamnet.units import Unit

__all__ = ["tflite_identity_model", "tflite_model"]

Inputs = list[Value | int]

_ACTIVATIONS = {"": ActivationType.NONE, "relu": ActivationType.RELU, "relu6": ActivationType.RELU6}
_GROUPED_VERSION = 6  # of CONV_2D


def tflite_model(blocks: Sequence[Unit], weights: Weights) -> bytes:
    """Return a chain of units as a TFLite file.

    Shapes are fixed. Inputs: `input` and, where a unit takes an external residual, `residual`; output: `output`,
    NHWC, or `n x c` behind a linear layer. All are of the chain's element type.

    Args:
        blocks: The chain; each unit takes the previous one's output. One of them may take an external residual.
        weights: As named and shaped in `chamnet.models.weights`, in f32; more than needed does no harm.

    Raises:
        UnsupportedOpError: An operator that cannot be written; says why.
        ValueError: The units do not fit together, or a weight is missing or misshaped.
    """
    _check(blocks)
    writer = _Writer(weights)
    source = INPUT if blocks[0].dtype == "int8" else None
    value = writer.graph.input("input", _nhwc(blocks[0].in_shape), source)
    residual = value
    for unit in blocks:
        if unit.takes_residual:
            residual = writer.graph.input("residual", _nhwc(unit.out_shape), source)
    for i, unit in enumerate(blocks):
        value = writer.unit(f"block{i}", unit, value, residual)
    return writer.graph.model()


def tflite_identity_model(shape: tuple[int, ...]) -> bytes:
    """Return a model that does nothing, to measure what a call costs.

    Args:
        shape: Of `input` and `output`.
    """
    graph = TfliteGraph()
    sizes = graph.constant("shape", np.array(shape, np.int32))
    graph.node(
        "reshape",
        Builtin.RESHAPE,
        [graph.input("input", shape), sizes],
        shape,
        ReshapeOptions(new_shape=shape),
    )
    return graph.model()


def _check(blocks: Sequence[Unit]) -> None:
    if not blocks:
        raise ValueError("a model has at least one unit")
    if sum(unit.takes_residual for unit in blocks) > 1:
        raise ValueError("two units take an external residual; give blocks with their skips")
    for before, after in pairwise(blocks):
        if (before.out_shape, before.dtype) != (after.in_shape, after.dtype):
            raise ValueError(f"{after.key} does not take the output of {before.key}")
    for op in (op for unit in blocks for op in unit.all_ops):
        if op.dtype not in ("f32", "int8"):
            raise UnsupportedOpError(f"{op.key}: no TFLite file for {op.dtype}; use f32 or int8")
        if op.kind == "linear" and (op.add or op.in_h != 1 or op.in_w != 1):
            raise UnsupportedOpError(f"{op.key}: linear takes 1x1 maps and adds nothing; put gap before it")


class _Writer:
    """Adds units and operators to a graph."""

    def __init__(self, weights: Weights) -> None:
        self.graph = TfliteGraph()
        self._weights = weights

    def unit(self, name: str, unit: Unit, value: Value, residual: Value) -> Value:
        """Add a unit's nodes."""
        if unit.skip:
            residual = value
        if unit.shortcut:
            residual = self._op(f"{name}.shortcut", unit.shortcut, residual, residual)
        for j, op in enumerate(unit.ops):
            value = self._op(f"{name}.op{j}", op, value, residual)
        return value

    def _op(self, name: str, op: OpSpec, value: Value, residual: Value) -> Value:
        """Add an operator's nodes; its activation is fused into the addition if there is one."""
        quantization, addend = None, None
        if value.quantization:
            quantization = output_quantization(op, value.quantization)
            addend = addend_quantization(op, value.quantization)
        act = _ACTIVATIONS[op.act]
        if not op.add:
            return self._body(name, op, value, act, quantization)
        value = self._body(name, op, value, ActivationType.NONE, addend)
        options = AddOptions(activation=act)
        return self.graph.node(
            f"{name}.add", Builtin.ADD, [value, residual], value.shape, options, quantization=quantization
        )

    def _body(
        self, name: str, op: OpSpec, value: Value, act: ActivationType, quantization: Quantization | None
    ) -> Value:
        if op.kind == "conv":
            return self._conv(name, op, value, act, quantization)
        if op.kind == "linear":
            inputs: Inputs = [value, *self._constants(name, op, value)]
            options = FullyConnectedOptions(activation=act)
            shape = op.out_shape[:2]
            return self.graph.node(
                name, Builtin.FULLY_CONNECTED, inputs, shape, options, quantization=quantization
            )
        if op.kind == "maxpool":
            return self._maxpool(name, op, value, act)
        if op.kind == "gap":
            return self._act(f"{name}.act", self._mean(name, op, value), act)
        return self._squeeze_excite(name, op, value)

    def _conv(
        self, name: str, op: OpSpec, value: Value, act: ActivationType, quantization: Quantization | None
    ) -> Value:
        inputs: Inputs = [self._padded(name, op, value), *self._constants(name, op, value)]
        padding = Padding.SAME if _same(op) else Padding.VALID
        window = {"padding": padding, "stride_w": op.stride, "stride_h": op.stride, "activation": act}
        shape = _nhwc(op.out_shape)
        if op.depthwise:
            depthwise = DepthwiseConv2DOptions(depth_multiplier=1, **window)
            return self.graph.node(
                name, Builtin.DEPTHWISE_CONV_2D, inputs, shape, depthwise, quantization=quantization
            )
        version = _GROUPED_VERSION if op.groups > 1 else 1
        options = Conv2DOptions(**window)
        return self.graph.node(
            name, Builtin.CONV_2D, inputs, shape, options, quantization=quantization, version=version
        )

    def _maxpool(self, name: str, op: OpSpec, value: Value, act: ActivationType) -> Value:
        options = Pool2DOptions(
            padding=Padding.SAME if _same(op) else Padding.VALID,
            stride_w=op.stride,
            stride_h=op.stride,
            filter_w=op.kernel,
            filter_h=op.kernel,
            activation=act,
        )
        inputs = [self._padded(name, op, value)]
        shape = _nhwc(op.out_shape)
        return self.graph.node(
            name, Builtin.MAX_POOL_2D, inputs, shape, options, quantization=value.quantization
        )

    def _mean(self, name: str, op: OpSpec, value: Value) -> Value:
        axes = self.graph.constant("height and width", np.array([1, 2], np.int32))
        shape = (op.batch, 1, 1, op.in_c)
        options = ReducerOptions(keep_dims=True)
        return self.graph.node(
            name, Builtin.MEAN, [value, axes], shape, options, quantization=value.quantization
        )

    def _act(self, name: str, value: Value, act: ActivationType) -> Value:
        """Add an activation of its own, behind what cannot fuse it."""
        if act == ActivationType.NONE:
            return value
        return self.graph.node(name, Builtin[act.name], [value], value.shape, quantization=value.quantization)

    def _squeeze_excite(self, name: str, op: OpSpec, value: Value) -> Value:
        pooled = self._mean(f"{name}.pool", op, value)
        reduce = OpSpec(kind="conv", batch=op.batch, in_c=op.in_c, out_c=op.reduced, act="relu")
        expand = OpSpec(kind="conv", batch=op.batch, in_c=op.reduced, out_c=op.in_c)
        hidden = self._conv(f"{name}.reduce", reduce, pooled, ActivationType.RELU, None)
        gate = self._conv(f"{name}.expand", expand, hidden, ActivationType.NONE, None)
        gate = self.graph.node(f"{name}.sigmoid", Builtin.LOGISTIC, [gate], gate.shape)
        return self.graph.node(name, Builtin.MUL, [value, gate], value.shape, MulOptions())

    def _padded(self, name: str, op: OpSpec, value: Value) -> Value:
        """Add a padding of its own where SAME means another: at stride 2, it puts more behind than before."""
        if _same(op):
            return value
        half = op.kernel // 2
        n, h, w, c = value.shape
        sides = np.array([[0, 0], [half, half], [half, half], [0, 0]], np.int32)
        inputs: Inputs = [value, self.graph.constant(f"sides {half}", sides)]
        if op.kind == "maxpool":
            inputs.append(self._lowest(value))
        shape = (n, h + 2 * half, w + 2 * half, c)
        builtin, options = (Builtin.PADV2, None) if op.kind == "maxpool" else (Builtin.PAD, PadOptions())
        return self.graph.node(
            f"{name}.pad", builtin, inputs, shape, options, quantization=value.quantization
        )

    def _lowest(self, value: Value) -> int:
        """Add the constant that no maximum picks, of a value's type, and return its number."""
        if not value.quantization:
            return self.graph.constant("lowest", np.array(np.finfo(np.float32).min, np.float32))
        parameters = whole_tensor(value.quantization)
        return self.graph.constant(f"lowest {value.quantization}", np.array(-128, np.int8), parameters)

    def _constants(self, name: str, op: OpSpec, value: Value) -> list[int]:
        """Add the weight and bias of an operator, quantised if its input is, and return their numbers."""
        shapes = weight_shapes(op)
        weight, bias = (_checked(self._weights, f"{name}.{part}", shape) for part, shape in shapes.items())
        if not value.quantization:
            laid_out = self.graph.constant(f"{name}.weight", _laid_out(weight, op))
            return [laid_out, self.graph.constant(f"{name}.bias", bias)]
        steps, scales = quantize_weights(weight)
        bias_steps, bias_scales = quantize_bias(bias, value.quantization, scales)
        count = 1 if op.kind == "linear" else op.out_c  # those of a linear layer are all the same
        dimension = 3 if op.depthwise else 0
        of_weight, of_bias = _symmetric(scales[:count], dimension), _symmetric(bias_scales[:count], 0)
        return [
            self.graph.constant(f"{name}.weight", _laid_out(steps, op), of_weight),
            self.graph.constant(f"{name}.bias", bias_steps, of_bias),
        ]


def _symmetric(scales: NDArray[np.float32], dimension: int) -> QuantizationParameters:
    zeros = (0,) * len(scales)
    return QuantizationParameters(
        scale=tuple(scales.tolist()), zero_point=zeros, quantized_dimension=dimension
    )


def _nhwc(shape: tuple[int, int, int, int]) -> tuple[int, ...]:
    n, c, h, w = shape
    return n, h, w, c


def _laid_out(weight: NDArray[Any], op: OpSpec) -> NDArray[Any]:
    """Return OHWI of OIHW, 1HWC of a depthwise convolution's; a linear layer's as they are."""
    if op.kind == "linear":
        return weight
    return weight.transpose(1, 2, 3, 0) if op.depthwise else weight.transpose(0, 2, 3, 1)


def _same(op: OpSpec) -> bool:
    """Whether TFLite's SAME is the symmetric padding of half a window."""
    half = op.kernel // 2
    return all(
        out == -(-size // op.stride) and max((out - 1) * op.stride + op.kernel - size, 0) // 2 == half
        for size, out in ((op.in_h, op.out_h), (op.in_w, op.out_w))
    )


def _checked(weights: Weights, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    found = weights.get(name)
    if found is None or found.shape != shape:
        state = "missing" if found is None else f"of shape {found.shape}"
        raise ValueError(f"weight {name!r} is {state}; its shape must be {shape}")
    return found
