"""An ONNX file that grows node by node, through our own small message subset.

Readable by ONNX Runtime 1.17 and newer.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chamnet.models.weights import Weights
from chamnet.ops import OpSpec
from chamnet.wire import onnx_subset_pb2 as pb

__all__ = ["OnnxBuilder", "add_activation", "window_attributes"]

# ONNX Runtime 1.17 reads up to IR 9 and opset 20; older ones do no harm and older readers exist.
_IR_VERSION = 8
_OPSET = 17

_ELEMENT_TYPES = {
    "float32": pb.TensorProto.FLOAT,
    "int8": pb.TensorProto.INT8,
    "uint8": pb.TensorProto.UINT8,
    "int32": pb.TensorProto.INT32,
}


class OnnxBuilder:
    """A graph that grows; the node added last gives the output.

    Args:
        weights: To choose from with `weight`.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        opset = pb.OperatorSetIdProto(domain="", version=_OPSET)
        self._model = pb.ModelProto(ir_version=_IR_VERSION, producer_name="chamnet", opset_import=[opset])
        self._graph = self._model.graph
        self._graph.name = "chamnet"
        self._constants: set[str] = set()

    def input(self, name: str, shape: Sequence[int]) -> str:
        """Add an input in f32 and return its name."""
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

    def weight(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return a weight.

        Raises:
            ValueError: It is missing or misshaped.
        """
        found = self._weights.get(name)
        if found is None or found.shape != shape:
            state = "missing" if found is None else f"of shape {found.shape}"
            raise ValueError(f"weight {name!r} is {state}; its shape must be {shape}")
        return found

    def constant(self, name: str, values: NDArray[np.generic] | np.generic) -> str:
        """Add a constant unless one of that name is there, and return its name."""
        if name not in self._constants:
            self._constants.add(name)
            kind = _ELEMENT_TYPES[values.dtype.name]
            raw = np.asarray(values, values.dtype.newbyteorder("<")).tobytes()
            self._graph.initializer.add(name=name, dims=values.shape, data_type=kind, raw_data=raw)
        return name

    def model(self, out_shape: Sequence[int]) -> bytes:
        """Return the file; the last node's output becomes `output`, in f32."""
        self._graph.node[-1].output[0] = "output"
        self._graph.output.append(_value_info("output", out_shape))
        return self._model.SerializeToString(deterministic=True)


def add_activation(graph: OnnxBuilder, name: str, op: OpSpec, value: str) -> str:
    """Add the activation of an operator, if it has one, and return the name of the output."""
    if op.act == "relu":
        return graph.node(f"{name}.act", "Relu", [value])
    if op.act == "relu6":
        bounds = [graph.constant("zero", np.float32(0)), graph.constant("six", np.float32(6))]
        return graph.node(f"{name}.act", "Clip", [value, *bounds])
    return value


def window_attributes(op: OpSpec) -> dict[str, list[int]]:
    """Return the attributes of the window of a convolution or pool."""
    return {"kernel_shape": [op.kernel] * 2, "strides": [op.stride] * 2, "pads": [op.kernel // 2] * 4}


def _value_info(name: str, shape: Sequence[int]) -> pb.ValueInfoProto:
    info = pb.ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = pb.TensorProto.FLOAT
    for size in shape:
        info.type.tensor_type.shape.dim.add(dim_value=size)
    return info
