"""Shapes and element types of intermediate values, for the operators that optimised convolutional networks hold.

Runtimes save optimised graphs without them. Anything else stays unknown, and so does what follows from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from chamnet.models.onnx_graph import OnnxGraph, OnnxNode, OnnxTensor

__all__ = [
    "ELEMENTWISE",
    "Shape",
    "Window",
    "channels_last",
    "infer_dtypes",
    "infer_shapes",
    "weight_of",
    "window_of",
]

Shape = tuple[int, ...] | None  # None: unknown

_WINDOWED = {
    *("Conv", "FusedConv", "NhwcFusedConv", "QLinearConv"),
    *("MaxPool", "AveragePool", "NhwcMaxPool", "QLinearAveragePool"),
}
# Their other inputs are scales and zero points, perhaps one a channel.
_SCALED = {"QuantizeLinear", "DequantizeLinear", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax"}
ELEMENTWISE = _SCALED | {
    *("Add", "Mul", "Sub", "Div", "Sum", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"),
    *("HardSwish", "Softmax", "Identity", "Dropout", "Cast", "QuickGelu"),
    "BatchNormalization",
}
_QUANTIZED_SUM = {"QLinearAdd", "QLinearMul"}  # the second tensor is their fourth input
_GLOBAL_POOLS = {"GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool"}
_MATRIX = {"Gemm", "FusedGemm", "MatMul", "FusedMatMul", "QGemm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The window of a convolution or pool; one number per axis, all begins before all ends in `pads`.

    Attributes:
        same: Whether pads follow from output sizes that are input sizes over strides; then `pads` means nothing.
        ceil: Whether a last, partial step counts.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    same: bool
    ceil: bool

    def out_size(self, axis: int, size: int) -> int:
        """Return the size that is left of an axis."""
        stride = self.strides[axis]
        if self.same:
            return -(-size // stride)
        reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1
        steps = size + self.pads[axis] + self.pads[axis + len(self.kernel)] - reach
        return (-(-steps // stride) if self.ceil else steps // stride) + 1


def infer_shapes(graph: OnnxGraph) -> dict[str, Shape]:
    """Return the shape of every value of the graph, None where it cannot be told.

    Shapes have the axes that the value's layout has. Behind blocked layouts (NCHWc) channels are the padded ones.
    """
    shapes: dict[str, Shape] = {name: tensor.shape for name, tensor in graph.initializers.items()}
    for value in (*graph.inputs, *graph.values):
        sizes = tuple(size for size in value.shape or () if isinstance(size, int))
        shapes[value.name] = sizes if value.shape is not None and len(sizes) == len(value.shape) else None
    for node in graph.nodes:
        shape = _out_shape(node, weight_of(node, graph.initializers), shapes)
        for name in node.outputs[:1]:
            shapes[name] = shape if shape is not None else shapes.get(name)
    return shapes


def infer_dtypes(graph: OnnxGraph) -> dict[str, str]:
    """Return the element type of every value of the graph, lower-case; empty where it cannot be told."""
    dtypes = {name: tensor.dtype for name, tensor in graph.initializers.items()}
    dtypes |= {value.name: value.dtype for value in (*graph.inputs, *graph.values)}
    for node in graph.nodes:
        given = dtypes.get(node.input(0), "")
        if node.op_type == "QuantizeLinear":  # as the zero point, uint8 without one
            given = dtypes.get(node.input(2), "uint8")
        elif node.op_type == "DequantizeLinear":
            given = "float"
        elif node.op_type == "Cast":
            given = ""
        dtypes |= {name: given for name in node.outputs[:1] if not dtypes.get(name)}
    return dtypes


def weight_of(node: OnnxNode, constants: Mapping[str, OnnxTensor]) -> OnnxTensor | None:
    """Return the weight of a convolution or matrix product: its first constant that is more than a vector."""
    if node.op_type not in _WINDOWED | _MATRIX:
        return None
    tensors = (constants[name] for name in node.inputs if name in constants)
    return next((tensor for tensor in tensors if len(tensor.shape) >= 2), None)


def window_of(node: OnnxNode, weight: OnnxTensor | None) -> Window | None:
    """Return the window of a convolution or pool, None for other nodes and for malformed ones."""
    kernel = node.numbers("kernel_shape", weight.shape[2:] if weight else ())
    axes = len(kernel)
    strides, dilations = node.numbers("strides", (1,) * axes), node.numbers("dilations", (1,) * axes)
    pads = node.numbers("pads", (0,) * axes * 2)
    fits = len(strides) == len(dilations) == axes > 0 and len(pads) == 2 * axes and min(strides) > 0
    if node.op_type not in _WINDOWED or not fits:
        return None
    same = node.attributes.get("auto_pad") in ("SAME_UPPER", "SAME_LOWER")
    ceil = node.number("ceil_mode", 0) != 0
    return Window(kernel=kernel, strides=strides, dilations=dilations, pads=pads, same=same, ceil=ceil)


def channels_last(node: OnnxNode) -> bool:
    """Return whether a convolution or pool works on NHWC."""
    return node.op_type.startswith("Nhwc") or node.number("channels_last", 0) != 0


def _out_shape(node: OnnxNode, weight: OnnxTensor | None, shapes: Mapping[str, Shape]) -> Shape:
    """Return the shape of the first output."""
    shape = shapes.get(node.input(0))
    if node.op_type in _QUANTIZED_SUM:
        return _broadcast([shape, shapes.get(node.input(3))])
    if node.op_type in _SCALED:
        return shape
    if node.op_type in ELEMENTWISE:
        return _broadcast([shapes.get(name) for name in node.inputs if name])
    if shape is None:
        return None
    if node.op_type in _WINDOWED:
        return _windowed(node, weight, shape)
    if node.op_type in _MATRIX:
        return _product(node, weight, shape)
    return _reshaped(node, shape)


def _reshaped(node: OnnxNode, shape: tuple[int, ...]) -> Shape:
    if node.op_type in _GLOBAL_POOLS:
        pooled = tuple(1 for _ in shape[2:])
        return (shape[0], *pooled, shape[-1]) if channels_last(node) else (*shape[:2], *pooled)
    if node.op_type == "Flatten":
        axis = node.number("axis", 1)
        return int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))
    if node.op_type == "Transpose":
        order = node.numbers("perm", tuple(reversed(range(len(shape)))))
        return tuple(shape[axis] for axis in order) if sorted(order) == list(range(len(shape))) else None
    if node.op_type in ("ReorderInput", "ReorderOutput") and len(shape) == 4:
        return _reordered(node, shape)
    return None


def _reordered(node: OnnxNode, shape: tuple[int, ...]) -> Shape:
    """Follow a change between a plain and a blocked layout; the blocked one is written NCHW."""
    last = node.number("channels_last", 0)
    if node.op_type == "ReorderInput":
        return (shape[0], shape[3], shape[1], shape[2]) if last else shape
    channels = node.number("channels", shape[1])
    return (shape[0], *shape[2:], channels) if last else (shape[0], channels, *shape[2:])


def _windowed(node: OnnxNode, weight: OnnxTensor | None, shape: tuple[int, ...]) -> Shape:
    window = window_of(node, weight)
    if window is None or len(shape) != len(window.kernel) + 2:
        return None
    last = channels_last(node)
    sizes = shape[1:-1] if last else shape[2:]
    channels = weight.shape[0] if weight else shape[-1 if last else 1]
    out = tuple(window.out_size(axis, size) for axis, size in enumerate(sizes))
    return (shape[0], *out, channels) if last else (shape[0], channels, *out)


def _product(node: OnnxNode, weight: OnnxTensor | None, shape: tuple[int, ...]) -> Shape:
    if weight is None or len(weight.shape) != 2:
        return None
    return (*shape[:-1], weight.shape[0 if node.number("transB", 0) else 1])


def _broadcast(shapes: list[Shape]) -> Shape:
    known = [shape for shape in shapes if shape is not None]
    if not known or len(known) < len(shapes):
        return None
    try:
        return np.broadcast_shapes(*known)
    except ValueError:
        return None
