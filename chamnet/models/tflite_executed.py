"""Executed keys of TFLite files: one readable text per operator that LiteRT runs.

They read like those of `chamnet.models.onnx_executed`: two operators have the same key if the device does the same
work for both. Shapes are NHWC:

```text
tflite:CONV_2D[1x56x56x24->144,1x1,relu6]
tflite:CONV_2D[1x224x224x3->32,int8,3x3s2p1,relu6]           a PAD of one pixel was before it
tflite:DEPTHWISE_CONV_2D[1x56x56x144->144,3x3,relu6]
tflite:ADD[1x56x56x24]
tflite:FULLY_CONNECTED[1x1280->1000]
tflite:PADV2[1x112x112x64,p1]!builtin                        not taken by the delegate
```

The form is `tflite:OP[PARTS]`, with `!builtin` where the delegate leaves the operator to LiteRT's own kernels, which
are slower. Parts, in this order and only where they apply:

- shape of the first input (of the output where the operator works element by element), and `->` output channels where
  it has a weight
- element type of the output, unless it is f32
- window, with `s` stride, `d` dilation and `p` the padding around it, unless that is LiteRT's SAME
- `g` groups, unless 1 or depthwise; then the fused activation

A PAD that XNNPACK folds into the convolution behind it is part of that key.
"""

import math
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from enum import IntEnum

from chamnet.models.tflite_schema import (
    ActivationType,
    Builtin,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    Model,
    Operator,
    Padding,
    Pool2DOptions,
    SubGraph,
    TensorType,
    unpack,
)

__all__ = ["tflite_executed_keys"]

_CONVOLUTIONS = {Builtin.CONV_2D, Builtin.DEPTHWISE_CONV_2D}
_WEIGHTED = _CONVOLUTIONS | {Builtin.FULLY_CONNECTED}
_PADS = {Builtin.PAD, Builtin.PADV2}
_ELEMENTWISE = {Builtin.ADD, Builtin.MUL}
_CUSTOM = 32


def tflite_executed_keys(data: bytes, *, apart: Collection[int] = ()) -> tuple[str, ...]:
    """Return the executed key of every operator of a file's main graph, in order.

    Args:
        data: The file.
        apart: Places in the graph of operators that the delegate does not take.

    Raises:
        ValueError: It is no TFLite file, or broken.
    """
    model = unpack(data)
    try:
        return tuple(_Keys(model).keys(apart))
    except (IndexError, ZeroDivisionError, struct.error) as error:
        raise ValueError(f"the file is broken: {error}") from error


class _Keys:
    """Reads a model's main graph."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._graph: SubGraph = model.subgraphs[0]

    def keys(self, apart: Collection[int]) -> Iterator[str]:
        folded = self._folded(apart)
        for place, node in enumerate(self._graph.operators):
            if place not in folded.values():
                pad = self._graph.operators[folded[place]] if place in folded else None
                yield f"tflite:{self._key(node, pad)}{'!builtin' if place in apart else ''}"

    def _folded(self, apart: Collection[int]) -> dict[int, int]:
        """Return the places of convolutions and of the PADs that they do on the way."""
        nodes = self._graph.operators
        makers = {index: place for place, node in enumerate(nodes) for index in node.outputs}
        uses = Counter([*self._graph.outputs, *(index for node in nodes for index in node.inputs)])
        folded = {}
        for place, node in enumerate(nodes):
            pad = makers.get(node.inputs[0]) if node.inputs else None
            if pad is None or place in apart or pad in apart or uses[node.inputs[0]] > 1:
                continue
            padded = self._code(nodes[pad]) == Builtin.PAD and self._spatial_pads(nodes[pad])
            valid = getattr(node.options, "padding", None) == Padding.VALID
            if padded and valid and self._code(node) in _CONVOLUTIONS:
                folded[place] = pad
        return folded

    def _key(self, node: Operator, pad: Operator | None) -> str:
        code = self._code(node)
        parts = [self._sizes(node, pad or node)]
        kind = self._graph.tensors[node.outputs[0]].type
        if kind != TensorType.FLOAT32:
            parts.append(_name(TensorType, kind).lower())
        if window := self._window(node, pad):
            parts.append(window)
        if code == Builtin.CONV_2D:
            inputs, weight = self._shape(node.inputs[0]), self._shape(node.inputs[1])
            parts += [f"g{inputs[3] // weight[3]}"] if inputs[3] != weight[3] else []
        if activation := getattr(node.options, "activation", 0):
            parts.append(_name(ActivationType, activation).lower())
        return f"{self._op_name(node)}[{','.join(parts)}]"

    def _sizes(self, node: Operator, first: Operator) -> str:
        """Return the shape of the first operator's input, and of the weight what is not in it."""
        code = self._code(node)
        if code in _ELEMENTWISE or not first.inputs:
            return _text(self._shape(node.outputs[0]))
        shape = self._shape(first.inputs[0])
        if code not in _WEIGHTED:
            return _text(shape)
        weight = self._shape(node.inputs[1])
        if code == Builtin.FULLY_CONNECTED:
            batch = math.prod(shape) // weight[1]  # it flattens what it takes
            return f"{batch}x{weight[1]}->{weight[0]}"
        return f"{_text(shape)}->{weight[3 if code == Builtin.DEPTHWISE_CONV_2D else 0]}"

    def _window(self, node: Operator, pad: Operator | None) -> str:
        """Return size, stride, dilation and padding of a window, or the padding of a PAD."""
        code, options = self._code(node), node.options
        if code in _PADS:
            pads = self._spatial_pads(node)
            return f"p{_one_or_all(pads)}" if pads else ""
        if isinstance(options, Pool2DOptions):
            size: tuple[int, ...] = (options.filter_h, options.filter_w)
        elif isinstance(options, Conv2DOptions | DepthwiseConv2DOptions):
            size = self._shape(node.inputs[1])[1:3]
        else:
            return ""
        stride = (options.stride_h, options.stride_w)
        text = _text(size) + _unless(1, "s", stride)
        if not isinstance(options, Pool2DOptions):
            text += _unless(1, "d", (options.dilation_h, options.dilation_w))
        if options.padding == Padding.VALID and (pad or max(size) > 1):
            text += f"p{_one_or_all(self._spatial_pads(pad) if pad else (0,))}"
        return text

    def _spatial_pads(self, pad: Operator) -> tuple[int, ...]:
        """Return the rows and columns that a PAD adds: top, left, bottom, right; none if it adds others, too."""
        buffer = self._model.buffers[self._graph.tensors[pad.inputs[1]].buffer].data
        if len(buffer) != struct.calcsize("<8i"):
            return ()
        *batch, top, bottom, left, right, before, after = struct.unpack("<8i", buffer)
        return () if any((*batch, before, after)) else (top, left, bottom, right)

    def _shape(self, index: int) -> tuple[int, ...]:
        return self._graph.tensors[index].shape

    def _code(self, node: Operator) -> int:
        code = self._model.operator_codes[node.opcode_index]
        return max(code.builtin_code, code.deprecated_builtin_code)  # old files have only the latter

    def _op_name(self, node: Operator) -> str:
        if self._code(node) == _CUSTOM:
            return f"CUSTOM.{self._model.operator_codes[node.opcode_index].custom_code}"
        return _name(Builtin, self._code(node))


def _name(kind: type[IntEnum], number: int) -> str:
    """Return the name of a number, which may lie outside the subset."""
    return kind(number).name if number in set(kind) else f"{kind.__name__.upper()}_{number}"


def _text(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def _one_or_all(sizes: tuple[int, ...]) -> str:
    return ".".join(map(str, sizes[:1] if len(set(sizes)) == 1 else sizes))


def _unless(usual: int, letter: str, sizes: tuple[int, ...]) -> str:
    """Return the sizes behind a letter, one if they agree, none if they are as usual."""
    return "" if set(sizes) == {usual} else letter + _one_or_all(sizes)
