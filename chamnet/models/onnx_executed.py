"""Executed keys: one readable text per node of a graph that a runtime has optimised for its device.

Two nodes have the same key if the device does the same work for both, so a measurement of one serves the other:

```text
com.microsoft.nchwc:Conv[1x32x56x56->144,1x1,clip(0,6)]         1x1, ReLU6 fused; 24 channels were padded to 32
com.microsoft.nchwc:Conv[1x144x56x56->144,3x3s2,g144]           depthwise, stride 2
com.microsoft.nchwc:Conv[1x144x56x56->32,1x1,add,relu]          with a fused sum, then ReLU
com.microsoft.nchwc:ReorderInput[1x24x56x56]                    change of layout
com.microsoft.nchwc:ReorderOutput[1x32x56x56->24]               and back, without the padding
ai.onnx:Gemm[1x1280->1000]
ai.onnx:Add[1x24x56x56]
com.microsoft:QLinearConv[1x56x56x24->144,uint8,int8,1x1,nhwc]  whole numbers, channels last
```

The form is `DOMAIN:OP[PARTS]`, `ai.onnx` for ONNX's own operators. Parts, in this order and only where they apply:

- shape of the first input (of the output where the operator works element by element; `?` where it cannot be
  known), and `->` output channels where the node has a weight or drops a padding; channels beside a weight are the
  weight's, so they include the runtime's padding
- element type of the first input, then of the weight, each unless it is `float` or unknown
- window, with `s` stride, `d` dilation and `p` pads unless those are 1, 1 and half the window; `same` or `ceil`
  where the runtime rounds the output up
- `g` groups, unless 1
- `add` for a sum input; then the fused activation, with its parameters
- `nhwc` for an operator that is told to work with channels last, or a layout operator that takes or gives them
"""

from collections.abc import Iterator, Mapping

from chamnet.models.onnx_graph import OnnxGraph, OnnxNode, OnnxTensor
from chamnet.models.onnx_shapes import (
    ELEMENTWISE,
    Shape,
    channels_last,
    infer_dtypes,
    infer_shapes,
    weight_of,
    window_of,
)

__all__ = ["executed_keys"]

_TAKES_SUM = {"Conv", "FusedConv", "NhwcFusedConv"}  # the fourth input, if there is one


def executed_keys(graph: OnnxGraph) -> tuple[str, ...]:
    """Return the executed key of every node, in the order of the graph.

    Args:
        graph: As the runtime saved it; layout changes are nodes like any other.
    """
    shapes, dtypes = infer_shapes(graph), infer_dtypes(graph)
    return tuple(
        _key(node, weight_of(node, graph.initializers), shapes, dtypes.get(node.input(0), ""))
        for node in graph.nodes
    )


def _key(node: OnnxNode, weight: OnnxTensor | None, shapes: Mapping[str, Shape], dtype: str) -> str:
    dtypes = (dtype, weight.dtype if weight else "")
    parts = [_sizes(node, weight, shapes), *(each for each in dtypes if each not in ("", "float"))]
    parts.extend(_window(node, weight))
    if (groups := node.number("group", 1)) != 1:
        parts.append(f"g{groups}")
    if node.op_type in _TAKES_SUM and node.input(3):
        parts.append("add")
    parts.extend(_activation(node))
    if node.number("channels_last", 0):
        parts.append("nhwc")
    return f"{node.domain or 'ai.onnx'}:{node.op_type}[{','.join(parts)}]"


def _sizes(node: OnnxNode, weight: OnnxTensor | None, shapes: Mapping[str, Shape]) -> str:
    named = node.outputs[:1] if node.op_type in ELEMENTWISE else node.inputs[:1]
    shape = shapes.get("".join(named))
    if shape and weight and len(weight.shape) == len(shape) > 2:
        channels = weight.shape[1] * node.number("group", 1)
        shape = (
            (shape[0], *shape[1:-1], channels) if channels_last(node) else (shape[0], channels, *shape[2:])
        )
    text = "x".join(map(str, shape)) if shape is not None else "?"
    if weight:
        in_first = len(weight.shape) == 2 and not node.number("transB", 0)
        return f"{text}->{weight.shape[-1 if in_first else 0]}"
    return f"{text}->{node.number('channels', 0)}" if node.op_type == "ReorderOutput" else text


def _window(node: OnnxNode, weight: OnnxTensor | None) -> Iterator[str]:
    window = window_of(node, weight)
    if window is None:
        return
    text = "x".join(map(str, window.kernel))
    text += _unless(1, "s", window.strides) + _unless(1, "d", window.dilations)
    half = tuple(size // 2 for size in window.kernel)
    if window.same:
        text += "same"
    elif window.pads != half * 2:
        text += "p" + ".".join(map(str, window.pads))
    yield text + ("ceil" if window.ceil else "")


def _unless(usual: int, letter: str, sizes: tuple[int, ...]) -> str:
    """Return the sizes behind a letter, one if they agree, none if they are as usual."""
    if len(set(sizes)) == 1:
        return "" if sizes[0] == usual else f"{letter}{sizes[0]}"
    return letter + ".".join(map(str, sizes))


def _activation(node: OnnxNode) -> Iterator[str]:
    name = node.attributes.get("activation")
    if isinstance(name, str) and name:
        parameters = node.attributes.get("activation_params")
        values = parameters if isinstance(parameters, tuple) else ()
        numbers = [f"{value:g}" for value in values if isinstance(value, float)]
        yield name.lower() + (f"({','.join(numbers)})" if numbers else "")
