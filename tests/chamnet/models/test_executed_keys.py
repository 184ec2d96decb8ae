import platform
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from chamnet.models import executed_keys, onnx_model, random_weights, read_onnx
from chamnet.units import Unit

Optimise = Callable[[bytes], bytes]

# Channels are multiples of 16, so blocks of 8 and of 16 pad alike.
INVERTED_RESIDUAL = [
    "conv:f32:1x3x32x32:o32:k3:s2:relu",
    "conv:f32:1x32x16x16:o96:relu6+conv:f32:1x96x16x16:o96:k3:g96:relu6+conv:f32:1x96x16x16:o32:add+skip",
    "conv:f32:1x32x16x16:o64:relu+gap:f32:1x64x16x16:o64+linear:f32:1x64x1x1:o10",
]

blocked_layout = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="ONNX Runtime blocks channels on x86 only"
)


def optimised_keys(keys: list[str], optimise: Optimise) -> tuple[str, ...]:
    blocks = [Unit.parse(key) for key in keys]
    return executed_keys(read_onnx(optimise(onnx_model(blocks, random_weights(blocks, seed=0)))))


@blocked_layout
def test_optimised_inverted_residual(optimise: Optimise) -> None:
    assert optimised_keys(INVERTED_RESIDUAL, optimise) == (
        "com.microsoft.nchwc:Conv[1x3x32x32->32,3x3s2,relu]",
        "com.microsoft.nchwc:Conv[1x32x16x16->96,1x1,clip(0,6)]",
        "com.microsoft.nchwc:Conv[1x96x16x16->96,3x3,g96,clip(0,6)]",
        "com.microsoft.nchwc:Conv[1x96x16x16->32,1x1,add]",
        "com.microsoft.nchwc:Conv[1x32x16x16->64,1x1,relu]",
        "com.microsoft.nchwc:GlobalAveragePool[1x64x16x16]",
        "com.microsoft.nchwc:ReorderOutput[1x64x1x1->64]",
        "ai.onnx:Flatten[1x64x1x1]",
        "ai.onnx:Gemm[1x64->10]",
    )


def test_optimised_int8(optimise: Optimise) -> None:
    quantized = [Unit.parse(key).cast("int8").key for key in INVERTED_RESIDUAL]
    assert optimised_keys(quantized, optimise) == (
        "ai.onnx:QuantizeLinear[1x3x32x32]",
        "ai.onnx:Transpose[1x3x32x32,uint8]",
        "com.microsoft:QLinearConv[1x32x32x3->32,uint8,int8,3x3s2,nhwc]",
        "com.microsoft:QLinearConv[1x16x16x32->96,uint8,int8,1x1,nhwc]",
        "com.microsoft:QLinearConv[1x16x16x96->96,uint8,int8,3x3,g96,nhwc]",
        "com.microsoft:QLinearConv[1x16x16x96->32,uint8,int8,1x1,nhwc]",
        "com.microsoft:QLinearAdd[1x16x16x32,uint8]",
        "com.microsoft:QLinearConv[1x16x16x32->64,uint8,int8,1x1,nhwc]",
        "com.microsoft:QLinearGlobalAveragePool[1x16x16x64,uint8,nhwc]",
        "ai.onnx:Transpose[1x1x1x64,uint8]",
        "ai.onnx:Flatten[1x64x1x1,uint8]",
        "com.microsoft:QGemm[1x64->10,uint8,int8]",
        "ai.onnx:DequantizeLinear[1x10,uint8]",
    )


@blocked_layout
def test_channels_that_pad_alike_share_executed_keys(optimise: Optimise) -> None:
    narrow, wide = (
        optimised_keys([f"conv:f32:1x64x8x8:o{c}:relu", f"conv:f32:1x{c}x8x8:o64"], optimise)
        for c in (28, 32)
    )
    assert narrow == wide


def test_every_size_is_known_on_any_machine(optimise: Optimise) -> None:
    keys = optimised_keys(INVERTED_RESIDUAL, optimise)
    assert any(":Conv[" in key or "Conv[" in key for key in keys)
    assert not any("?" in key for key in keys)


def test_map_size_tells_keys_apart(optimise: Optimise) -> None:
    small, large = (optimised_keys([f"conv:f32:1x32x{h}x{h}:o32:k3"], optimise) for h in (7, 14))
    assert not set(small) & set(large)


def keys_of(*nodes: onnx.NodeProto, **constants: tuple[tuple[int, ...], type]) -> tuple[str, ...]:
    """Return the keys of a graph with the input `x` of 1x8x10x10 and these constants."""
    tensors = [
        numpy_helper.from_array(np.zeros(shape, dtype), name) for name, (shape, dtype) in constants.items()
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 10, 10])
    return executed_keys(
        read_onnx(helper.make_model(helper.make_graph(nodes, "g", [x], [], tensors)).SerializeToString())
    )


@pytest.mark.parametrize(
    ("op_type", "options", "key"),
    [
        ("Conv", {"pads": [1, 1, 1, 1]}, "ai.onnx:Conv[1x8x10x10->16,3x3]"),
        ("Conv", {"pads": [0, 0, 1, 1], "strides": [2, 1]}, "ai.onnx:Conv[1x8x10x10->16,3x3s2.1p0.0.1.1]"),
        ("Conv", {"dilations": [2, 2]}, "ai.onnx:Conv[1x8x10x10->16,3x3d2p0.0.0.0]"),
        ("Conv", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, "ai.onnx:Conv[1x8x10x10->16,3x3s2same]"),
        (
            "FusedConv",
            {
                "pads": [1] * 4,
                "activation": "LeakyRelu",
                "activation_params": [0.25],
                "domain": "com.microsoft",
            },
            "com.microsoft:FusedConv[1x8x10x10->16,3x3,leakyrelu(0.25)]",
        ),
    ],
)
def test_windows_and_activations(op_type: str, options: dict[str, Any], key: str) -> None:
    node = helper.make_node(op_type, ["x", "w"], ["y"], **options)
    assert keys_of(node, w=((16, 8, 3, 3), np.float32)) == (key,)


def test_element_types_are_followed_through_the_graph() -> None:
    nodes = (
        helper.make_node("QuantizeLinear", ["x", "s"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2]),
        helper.make_node("DequantizeLinear", ["b", "s"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("QuantizeLinear", ["d", "s8", "z8"], ["e"], axis=1),
        helper.make_node("QLinearAveragePool", ["e", "s", "z", "s", "z"], ["f"], kernel_shape=[3, 3],
                         channels_last=1, domain="com.microsoft"),
        helper.make_node("Cast", ["f"], ["g"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["g"], ["h"]),
    )  # fmt: skip
    constants = {"s": ((), np.float32), "z": ((), np.int8), "s8": ((8,), np.float32), "z8": ((8,), np.int8)}
    assert keys_of(*nodes, **constants) == (
        "ai.onnx:QuantizeLinear[1x8x10x10]",
        "ai.onnx:MaxPool[1x8x10x10,uint8,2x2p0.0.0.0]",
        "ai.onnx:DequantizeLinear[1x8x9x9,uint8]",
        "ai.onnx:Relu[1x8x9x9]",
        "ai.onnx:QuantizeLinear[1x8x9x9]",
        "com.microsoft:QLinearAveragePool[1x8x9x9,int8,3x3p0.0.0.0,nhwc]",
        "ai.onnx:Cast[1x6x7x9,int8]",
        "ai.onnx:Relu[1x6x7x9]",
    )


def test_sizes_are_followed_through_the_graph() -> None:
    nodes = (
        helper.make_node("MaxPool", ["x"], ["a"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        helper.make_node("QLinearConv", ["a", "s", "z", "w", "s", "z", "s", "z"], ["b"], kernel_shape=[1, 1]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 2, 3, 1]),
        helper.make_node("NhwcFusedConv", ["c", "w2", "bias", "c"], ["d"], domain="com.microsoft"),
        helper.make_node("Mul", ["s", "d"], ["e"]),
        helper.make_node("Mystery", ["e"], ["f"]),
        helper.make_node("Relu", ["f"], ["g"]),
    )
    constants = {
        "s": ((), np.float32),
        "z": ((), np.int8),
        "w": ((16, 8, 1, 1), np.int8),
        "w2": ((16, 16, 1, 1), np.float32),
    }
    assert keys_of(*nodes, **constants) == (
        "ai.onnx:MaxPool[1x8x10x10,3x3s2p0.0.0.0ceil]",
        "ai.onnx:QLinearConv[1x8x5x5->16,int8,1x1]",
        "ai.onnx:Transpose[1x16x5x5]",
        "com.microsoft:NhwcFusedConv[1x5x5x16->16,1x1,add]",
        "ai.onnx:Mul[1x5x5x16]",
        "ai.onnx:Mystery[1x5x5x16]",
        "ai.onnx:Relu[?]",
    )
