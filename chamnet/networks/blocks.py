"""Known efficient blocks as units: inverted residual, bottleneck, stem, head, classifier."""

from typing import NamedTuple, TypedDict

from chamnet.ops import Activation, OpSpec
from chamnet.units import Unit

__all__ = [
    "Shape",
    "bottleneck",
    "classifier",
    "conv",
    "global_pool",
    "inverted_residual",
    "maxpool",
]

_SE_RATIO = 4  # of the block's input channels [Tan2019]


class Shape(NamedTuple):
    """Shape of an activation, NCHW."""

    batch: int
    channels: int
    height: int
    width: int


class _Input(TypedDict):
    batch: int
    in_c: int
    in_h: int
    in_w: int


def conv(shape: Shape, filters: int, *, kernel: int = 1, stride: int = 1, act: Activation = "") -> Unit:
    """Return one dense convolution with its activation."""
    return Unit((_conv(shape, filters, kernel=kernel, stride=stride, act=act),))


def maxpool(shape: Shape) -> Unit:
    """Return the 3x3 stride-2 max pooling behind a ResNet's stem."""
    op = OpSpec(kind="maxpool", **_input(shape), out_c=shape.channels, kernel=3, stride=2)
    return Unit((op,))


def global_pool(shape: Shape) -> Unit:
    """Return global average pooling."""
    return Unit((OpSpec(kind="gap", **_input(shape), out_c=shape.channels),))


def classifier(shape: Shape, classes: int) -> Unit:
    """Return the fully connected classifier."""
    return Unit((OpSpec(kind="linear", **_input(shape), out_c=classes),))


def inverted_residual(
    shape: Shape,
    filters: int,
    expansion: int,
    *,
    stride: int,
    kernel: int = 3,
    se: bool = False,
    act: Activation = "relu",
    expand: bool = True,
) -> Unit:
    """Return 1x1 expand, depthwise, (squeeze-excite,) 1x1 linear, with a skip where shapes allow."""
    inner = shape.channels * expansion
    ops = [_conv(shape, inner, act=act)] if expand else []
    wide = Shape(shape.batch, inner, shape.height, shape.width)
    depthwise = _conv(wide, inner, kernel=kernel, stride=stride, groups=inner, act=act)
    ops.append(depthwise)
    narrow = Shape(*depthwise.out_shape)
    if se:
        reduced = max(1, shape.channels // _SE_RATIO)
        ops.append(OpSpec(kind="se", **_input(narrow), out_c=inner, reduced=reduced))
    skip = stride == 1 and filters == shape.channels
    ops.append(_conv(narrow, filters, add=skip))
    return Unit(tuple(ops), skip)


def bottleneck(shape: Shape, filters: int, inner: int, *, stride: int, act: Activation = "relu") -> Unit:
    """Return 1x1 reduce, 3x3 (with the stride), 1x1 expand added to the skip, then the activation."""
    reduce = _conv(shape, inner, act=act)
    spatial = _conv(Shape(*reduce.out_shape), inner, kernel=3, stride=stride, act=act)
    expand = _conv(Shape(*spatial.out_shape), filters, add=True, act=act)
    project = stride != 1 or filters != shape.channels
    return Unit((reduce, spatial, expand), True, _conv(shape, filters, stride=stride) if project else None)


def _conv(
    shape: Shape,
    filters: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    act: Activation = "",
    add: bool = False,
) -> OpSpec:
    return OpSpec(
        kind="conv",
        **_input(shape),
        out_c=filters,
        kernel=kernel,
        stride=stride,
        groups=groups,
        act=act,
        add=add,
    )


def _input(shape: Shape) -> _Input:
    return {"batch": shape.batch, "in_c": shape.channels, "in_h": shape.height, "in_w": shape.width}
