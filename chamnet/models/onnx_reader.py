"""Read ONNX files, such as the graph a runtime saved after optimising, through our own message subset.

Only the main graph is read; graphs inside attributes (`If`, `Loop`) and files beside the model are not.
"""

from functools import partial
from math import prod

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from chamnet.errors import ConfigError
from chamnet.models.onnx_graph import AttributeValue, OnnxGraph, OnnxNode, OnnxTensor, OnnxValue
from chamnet.wire import onnx_subset_pb2 as pb

__all__ = ["read_onnx"]

_Array = NDArray[np.generic]

# ONNX element type -> numpy, and the field that holds the values where raw_data does not.
_STORAGE: dict[int, tuple[str, str]] = {
    pb.TensorProto.FLOAT: ("<f4", "float_data"),
    pb.TensorProto.UINT8: ("<u1", "int32_data"),
    pb.TensorProto.INT8: ("<i1", "int32_data"),
    pb.TensorProto.UINT16: ("<u2", "int32_data"),
    pb.TensorProto.INT16: ("<i2", "int32_data"),
    pb.TensorProto.INT32: ("<i4", "int32_data"),
    pb.TensorProto.INT64: ("<i8", "int64_data"),
    pb.TensorProto.BOOL: ("?", "int32_data"),
    pb.TensorProto.FLOAT16: ("<f2", "int32_data"),  # the bits, as whole numbers
    pb.TensorProto.DOUBLE: ("<f8", "double_data"),
    pb.TensorProto.UINT32: ("<u4", "uint64_data"),
    pb.TensorProto.UINT64: ("<u8", "uint64_data"),
}


def read_onnx(data: bytes) -> OnnxGraph:
    """Read an ONNX file.

    Args:
        data: The file's bytes.

    Raises:
        ConfigError: Not an ONNX file, or a damaged one.
    """
    try:
        model = pb.ModelProto.FromString(data)
        if not model.HasField("graph") or not model.ir_version:
            raise ConfigError(f"{len(data)} bytes are not an ONNX model: no graph; export the model again")
        return _graph(model)
    except (DecodeError, UnicodeError) as error:
        message = f"{len(data)} bytes are not an ONNX model ({error}); copy or export the model again"
        raise ConfigError(message) from error


def _graph(model: pb.ModelProto) -> OnnxGraph:
    graph = model.graph
    initializers = {_text(tensor.name): _tensor(tensor) for tensor in graph.initializer}
    return OnnxGraph(
        ir_version=model.ir_version,
        opsets={_text(opset.domain): opset.version for opset in model.opset_import},
        nodes=tuple(_node(node) for node in graph.node),
        initializers=initializers,
        inputs=tuple(_value(info) for info in graph.input if info.name not in initializers),
        outputs=tuple(_value(info) for info in graph.output),
        values=tuple(_value(info) for info in graph.value_info),
    )


def _node(node: pb.NodeProto) -> OnnxNode:
    return OnnxNode(
        domain=_text(node.domain),
        op_type=_text(node.op_type),
        name=_text(node.name),
        inputs=tuple(_text(name) for name in node.input),
        outputs=tuple(_text(name) for name in node.output),
        attributes={_text(attribute.name): _attribute(attribute) for attribute in node.attribute},
    )


def _attribute(attribute: pb.AttributeProto) -> AttributeValue:
    kinds = pb.AttributeProto
    value: AttributeValue = None
    if attribute.type == kinds.FLOAT:
        value = attribute.f
    elif attribute.type == kinds.INT:
        value = attribute.i
    elif attribute.type == kinds.STRING:
        value = _text(attribute.s)
    elif attribute.type == kinds.TENSOR:
        value = _tensor(attribute.t)
    elif attribute.type == kinds.FLOATS:
        value = tuple(attribute.floats)
    elif attribute.type == kinds.INTS:
        value = tuple(attribute.ints)
    elif attribute.type == kinds.STRINGS:
        value = tuple(_text(text) for text in attribute.strings)
    return value


def _value(info: pb.ValueInfoProto) -> OnnxValue:
    tensor = info.type.tensor_type
    shape = tuple(_size(dim) for dim in tensor.shape.dim) if tensor.HasField("shape") else None
    return OnnxValue(
        name=_text(info.name), dtype=_dtype(tensor.elem_type) if tensor.elem_type else "", shape=shape
    )


def _size(dim: pb.TensorShapeProto.Dimension) -> int | str:
    return dim.dim_value if dim.HasField("dim_value") else _text(dim.dim_param) or "?"


def _tensor(tensor: pb.TensorProto) -> OnnxTensor:
    return OnnxTensor(
        name=_text(tensor.name),
        dtype=_dtype(tensor.data_type),
        shape=tuple(tensor.dims),
        load=partial(_decode, tensor),
    )


def _text(value: str | bytes) -> str:
    # protobuf gives the bytes of a text field that is not UTF-8
    return value if isinstance(value, str) else value.decode()


def _dtype(number: int) -> str:
    known = pb.TensorProto.DataType.items()
    return next((name.lower() for name, value in known if value == number), f"type{number}")


def _decode(tensor: pb.TensorProto) -> _Array:
    """Return the values of a tensor."""
    if tensor.data_location == pb.TensorProto.EXTERNAL:
        raise ConfigError(f"ONNX tensor {tensor.name!r} is in another file; export the model as one file")
    if tensor.data_type not in _STORAGE:
        known = ", ".join(_dtype(number) for number in _STORAGE)
        raise ConfigError(
            f"ONNX tensor {tensor.name!r} holds {_dtype(tensor.data_type)}; readable are {known}"
        )
    values, shape = _flat(tensor), tuple(tensor.dims)
    try:
        if values.size != prod(shape) or min(shape, default=0) < 0:
            raise ValueError(f"{values.size} values for shape {shape}")
        return values.reshape(shape)
    except ValueError as error:
        raise ConfigError(f"ONNX tensor {tensor.name!r}: {error}; export the model again") from error


def _flat(tensor: pb.TensorProto) -> _Array:
    dtype, data_field = _STORAGE[tensor.data_type]
    width = np.dtype(dtype).itemsize
    if tensor.HasField("raw_data"):
        whole = len(tensor.raw_data) // width * width  # a torn value is reported by the count
        return np.frombuffer(tensor.raw_data[:whole], dtype=dtype)
    if tensor.data_type == pb.TensorProto.FLOAT16:
        return np.array(tensor.int32_data, dtype=np.int32).astype("<u2").view("<f2")
    return np.array(getattr(tensor, data_field)).astype(dtype)
