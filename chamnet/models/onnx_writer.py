"""Write a chain of units as an ONNX file.

Activations and additions are nodes of their own: fusing them is what the runtime is measured for. Nodes are named
after the weights (`chamnet.models.weights`). int8 chains are in `onnx_quantized`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

from chamnet.errors import UnsupportedOpError
from chamnet.models.onnx_builder import OnnxBuilder, add_activation, window_attributes
from chamnet.models.onnx_quantized import QuantizedOps
from chamnet.models.weights import Weights, weight_shapes
from chamnet.ops import OpSpec
from chamnet.units import Unit

__all__ = ["identity_model", "onnx_model"]

V = TypeVar("V")


def onnx_model(blocks: Sequence[Unit], weights: Weights) -> bytes:
    """Return a chain of units as an ONNX file.

    Shapes are fixed. Inputs: `input` and, where a unit takes an external residual, `residual`; output: `output`,
    NCHW, or `n x c` behind a linear layer; all in f32, whatever is between.

    Args:
        blocks: The chain; each unit takes the previous one's output. One of them may take an external residual.
        weights: As named and shaped in `chamnet.models.weights`; more than needed does no harm.

    Raises:
        UnsupportedOpError: An element type or operator that cannot be written; says what can.
        ValueError: The units do not fit together, or a weight is missing or misshaped.
    """
    _check(blocks)
    graph = OnnxBuilder(weights)
    if blocks[0].dtype == "int8":
        _write(QuantizedOps(graph), blocks)
    else:
        _write(_FloatOps(graph), blocks)
    last = blocks[-1].ops[-1]
    return graph.model(last.out_shape[:2] if last.kind == "linear" else last.out_shape)


def identity_model(shape: Sequence[int]) -> bytes:
    """Return a model that does nothing, to measure what a call costs.

    Args:
        shape: Of `input` and `output`.
    """
    graph = OnnxBuilder({})
    graph.node("identity", "Identity", [graph.input("input", shape)])
    return graph.model(shape)


def _check(blocks: Sequence[Unit]) -> None:
    if not blocks:
        raise ValueError("a model has at least one unit")
    if sum(unit.takes_residual for unit in blocks) > 1:
        raise ValueError("two units take an external residual; give blocks with their skips")
    for before, after in pairwise(blocks):
        if before.out_shape != after.in_shape:
            raise ValueError(f"{after.key} does not take the output of {before.key}")
    for op in (op for unit in blocks for op in unit.all_ops):
        if op.dtype != blocks[0].dtype:
            raise UnsupportedOpError(f"{op.key}: a chain has one element type, here {blocks[0].dtype}")
        if op.kind == "linear" and (op.add or op.in_h != 1 or op.in_w != 1):
            raise UnsupportedOpError(f"{op.key}: linear takes 1x1 maps and adds nothing; put gap before it")


class _Ops(Protocol[V]):
    """Adds operators to a graph. Values are what it makes of them; None: there is no residual."""

    def input(self, name: str, shape: Sequence[int]) -> V:
        """Add an input."""
        ...

    def op(self, name: str, op: OpSpec, value: V, residual: V | None) -> V:
        """Add an operator's nodes, then the addition, then the activation; return its output."""
        ...

    def output(self, value: V) -> None:
        """Add what the output needs behind the last operator."""
        ...


def _write(ops: _Ops[V], blocks: Sequence[Unit]) -> None:
    value = ops.input("input", blocks[0].in_shape)
    residuals = [ops.input("residual", unit.out_shape) for unit in blocks if unit.takes_residual]
    for i, unit in enumerate(blocks):
        value = _write_unit(ops, f"block{i}", unit, value, residuals[0] if residuals else None)
    ops.output(value)


def _write_unit(ops: _Ops[V], name: str, unit: Unit, value: V, residual: V | None) -> V:
    """Add a unit and return its output."""
    if unit.skip:
        residual = value
        if unit.shortcut:
            residual = ops.op(f"{name}.shortcut", unit.shortcut, value, None)
    for j, op in enumerate(unit.ops):
        value = ops.op(f"{name}.op{j}", op, value, residual)
    return value


class _FloatOps:
    """Adds operators in f32. Values are names."""

    def __init__(self, graph: OnnxBuilder) -> None:
        self._graph = graph

    def input(self, name: str, shape: Sequence[int]) -> str:
        return self._graph.input(name, shape)

    def op(self, name: str, op: OpSpec, value: str, residual: str | None) -> str:
        if op.kind == "se":
            return self._squeeze_excite(name, op, value, residual)
        value = self._body(name, op, value)
        return add_activation(self._graph, name, op, self._sum(name, op, value, residual))

    def output(self, value: str) -> None:
        """Do nothing: the last node gives it."""

    def _body(self, name: str, op: OpSpec, value: str) -> str:
        if op.kind == "conv":
            window = window_attributes(op)
            return self._graph.node(
                name, "Conv", [value, *self._weights(name, op)], group=op.groups, **window
            )
        if op.kind == "linear":
            flat = self._graph.node(f"{name}.flatten", "Flatten", [value])
            return self._graph.node(name, "Gemm", [flat, *self._weights(name, op)], transB=1)
        if op.kind == "gap":
            return self._graph.node(name, "GlobalAveragePool", [value])
        return self._graph.node(name, "MaxPool", [value], **window_attributes(op))

    def _squeeze_excite(self, name: str, op: OpSpec, value: str, residual: str | None) -> str:
        reduce, reduce_bias, expand, expand_bias = self._weights(name, op)
        node = self._graph.node
        pooled = node(f"{name}.pool", "GlobalAveragePool", [value])
        hidden = node(f"{name}.reduce", "Conv", [pooled, reduce, reduce_bias])
        hidden = node(f"{name}.relu", "Relu", [hidden])
        gate = node(f"{name}.expand", "Conv", [hidden, expand, expand_bias])
        gate = node(f"{name}.sigmoid", "Sigmoid", [gate])
        return self._sum(name, op, node(name, "Mul", [value, gate]), residual)

    def _sum(self, name: str, op: OpSpec, value: str, residual: str | None) -> str:
        if not op.add or residual is None:
            return value
        return self._graph.node(f"{name}.add", "Add", [value, residual])

    def _weights(self, name: str, op: OpSpec) -> list[str]:
        """Add the weights of an operator and return their names."""
        parts = {f"{name}.{part}": shape for part, shape in weight_shapes(op).items()}
        return [self._graph.constant(part, self._graph.weight(part, shape)) for part, shape in parts.items()]
