"""Write a chain of units as an ONNX file, through our own small message subset.

Readable by ONNX Runtime 1.17 and newer. Activations and additions are nodes of their own: fusing them is what
the runtime is measured for. Nodes are named after the weights (`chamnet.models.weights`).
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from chamnet.errors import UnsupportedOpError
from chamnet.models.weights import Weights
from chamnet.ops import OpSpec
from chamnet.units import Unit
from chamnet.wire import onnx_subset_pb2 as pb

__all__ = ["identity_model", "onnx_model"]

# ONNX Runtime 1.17 reads up to IR 9 and opset 20; older ones do no harm and older readers exist.
_IR_VERSION = 8
_OPSET = 17


def onnx_model(blocks: Sequence[Unit], weights: Weights) -> bytes:
    """Return a chain of units as an ONNX file.

    Shapes are fixed. Inputs: `input` and, where a unit takes an external residual, `residual`; output: `output`,
    NCHW, or `n x c` behind a linear layer.

    Args:
        blocks: The chain; each unit takes the previous one's output. One of them may take an external residual.
        weights: As named and shaped in `chamnet.models.weights`; more than needed does no harm.

    Raises:
        UnsupportedOpError: An element type or operator that cannot be written; says what can.
        ValueError: The units do not fit together, or a weight is missing or misshaped.
    """
    _check(blocks)
    graph = _Graph(weights)
    value = graph.input("input", blocks[0].in_shape)
    residual = ""
    for unit in blocks:
        if unit.takes_residual:
            residual = graph.input("residual", unit.out_shape)
    for i, unit in enumerate(blocks):
        value = _add_unit(graph, f"block{i}", unit, value, residual)
    last = blocks[-1].ops[-1]
    return graph.model(last.out_shape[:2] if last.kind == "linear" else last.out_shape)


def identity_model(shape: Sequence[int]) -> bytes:
    """Return a model that does nothing, to measure what a call costs.

    Args:
        shape: Of `input` and `output`.
    """
    graph = _Graph({})
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
        if op.dtype != "f32":
            raise UnsupportedOpError(f"{op.key}: no ONNX file for {op.dtype} yet; use f32")
        if op.kind == "linear" and (op.add or op.in_h != 1 or op.in_w != 1):
            raise UnsupportedOpError(f"{op.key}: linear takes 1x1 maps and adds nothing; put gap before it")


def _add_unit(graph: "_Graph", name: str, unit: Unit, value: str, residual: str) -> str:
    """Add a unit's nodes and return the name of its output."""
    if unit.skip:
        residual = value
    if unit.shortcut:
        residual = _add_op(graph, f"{name}.shortcut", unit.shortcut, residual, "")
    for j, op in enumerate(unit.ops):
        value = _add_op(graph, f"{name}.op{j}", op, value, residual)
    return value


def _add_op(graph: "_Graph", name: str, op: OpSpec, value: str, residual: str) -> str:
    """Add an operator's nodes, then the addition, then the activation."""
    if op.kind == "conv":
        value = _add_conv(graph, name, op, value)
    elif op.kind == "linear":
        flat = graph.node(f"{name}.flatten", "Flatten", [value])
        value = graph.node(name, "Gemm", [flat, *graph.weights(name, (op.out_c, op.in_c))], transB=1)
    elif op.kind == "gap":
        value = graph.node(name, "GlobalAveragePool", [value])
    elif op.kind == "maxpool":
        value = graph.node(name, "MaxPool", [value], **_window(op))
    else:
        value = _add_squeeze_excite(graph, name, op, value)
    if op.add:
        value = graph.node(f"{name}.add", "Add", [value, residual])
    if op.act == "relu" and op.kind != "se":
        value = graph.node(f"{name}.act", "Relu", [value])
    if op.act == "relu6" and op.kind != "se":
        bounds = [graph.constant("zero", np.float32(0)), graph.constant("six", np.float32(6))]
        value = graph.node(f"{name}.act", "Clip", [value, *bounds])
    return value


def _add_conv(graph: "_Graph", name: str, op: OpSpec, value: str) -> str:
    shape = (op.out_c, op.in_c // op.groups, op.kernel, op.kernel)
    return graph.node(name, "Conv", [value, *graph.weights(name, shape)], group=op.groups, **_window(op))


def _add_squeeze_excite(graph: "_Graph", name: str, op: OpSpec, value: str) -> str:
    pooled = graph.node(f"{name}.pool", "GlobalAveragePool", [value])
    reduce, expand = f"{name}.reduce", f"{name}.expand"
    hidden = graph.node(reduce, "Conv", [pooled, *graph.weights(reduce, (op.reduced, op.in_c, 1, 1))])
    hidden = graph.node(f"{name}.relu", "Relu", [hidden])
    gate = graph.node(expand, "Conv", [hidden, *graph.weights(expand, (op.in_c, op.reduced, 1, 1))])
    gate = graph.node(f"{name}.sigmoid", "Sigmoid", [gate])
    return graph.node(name, "Mul", [value, gate])


def _window(op: OpSpec) -> dict[str, list[int]]:
    return {"kernel_shape": [op.kernel] * 2, "strides": [op.stride] * 2, "pads": [op.kernel // 2] * 4}


class _Graph:
    """A graph that grows; the node added last gives the output."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        opset = pb.OperatorSetIdProto(domain="", version=_OPSET)
        self._model = pb.ModelProto(ir_version=_IR_VERSION, producer_name="chamnet", opset_import=[opset])
        self._graph = self._model.graph
        self._graph.name = "chamnet"
        self._constants: set[str] = set()

    def input(self, name: str, shape: Sequence[int]) -> str:
        """Add an input and return its name."""
        self._graph.input.append(_value_info(name, shape))
        return name

    def node(self, name: str, op_type: str, inputs: Sequence[str], **attributes: int | list[int]) -> str:
        """Add a node and return the name of its output, which is the node's."""
        node = self._graph.node.add(name=name, op_type=op_type, input=inputs, output=[name])
        for key, value in attributes.items():
            if isinstance(value, int):
                node.attribute.add(name=key, type=pb.AttributeProto.INT, i=value)
            else:
                node.attribute.add(name=key, type=pb.AttributeProto.INTS, ints=value)
        return name

    def weights(self, name: str, shape: tuple[int, ...]) -> list[str]:
        """Add the weight and bias of an operator and return their names."""
        names = [f"{name}.weight", f"{name}.bias"]
        for part, wanted in zip(names, (shape, shape[:1]), strict=True):
            found = self._weights.get(part)
            if found is None or found.shape != wanted:
                state = "missing" if found is None else f"of shape {found.shape}"
                raise ValueError(f"weight {part!r} is {state}; its shape must be {wanted}")
            self.constant(part, found)
        return names

    def constant(self, name: str, values: NDArray[np.float32] | np.float32) -> str:
        """Add a constant unless it is there, and return its name."""
        if name not in self._constants:
            self._constants.add(name)
            raw = np.asarray(values, dtype="<f4").tobytes()
            kind = pb.TensorProto.FLOAT
            self._graph.initializer.add(name=name, dims=np.shape(values), data_type=kind, raw_data=raw)
        return name

    def model(self, out_shape: Sequence[int]) -> bytes:
        """Return the file; the last node's output becomes `output`."""
        self._graph.node[-1].output[0] = "output"
        self._graph.output.append(_value_info("output", out_shape))
        return self._model.SerializeToString(deterministic=True)


def _value_info(name: str, shape: Sequence[int]) -> pb.ValueInfoProto:
    info = pb.ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = pb.TensorProto.FLOAT
    for size in shape:
        info.type.tensor_type.shape.dim.add(dim_value=size)
    return info
