"""int8 files: near those in f32, fused throughout by ONNX Runtime, and near what LiteRT computes."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from chamnet.errors import UnsupportedOpError
from chamnet.models import onnx_model, random_weights, read_onnx
from chamnet.models.quantization import INPUT, Quantization, output_quantization
from chamnet.models.tflite_writer import tflite_model
from chamnet.networks import find
from chamnet.units import Unit

Optimise = Callable[[bytes], bytes]

EXPAND, PROJECT = "conv:int8:1x8x9x9:o48:relu6", "conv:int8:1x48x9x9:o8"
DEPTHWISE = "conv:int8:1x48x9x9:o48:k3:g48:relu6"
CHAINS = {
    "conv": ["conv:int8:1x3x16x16:o8:k3:s2:relu"],
    "conv, no activation, odd map": ["conv:int8:1x3x15x13:o8:k5:s2"],
    "1x1": [EXPAND],
    "groups": ["conv:int8:1x8x9x9:o12:k3:g4:relu"],
    "depthwise": [DEPTHWISE],
    "depthwise 5x5 stride 2": ["conv:int8:1x8x9x9:o8:k5:s2:g8:relu6"],
    "batch": ["conv:int8:3x3x9x9:o8:k3:relu", "gap:int8:3x8x9x9:o8"],
    "external residual, then activation": ["conv:int8:1x8x9x9:o8:k3:add:relu"],
    "inverted residual": [f"{EXPAND}+{DEPTHWISE}+{PROJECT}:add+skip"],
    "bottleneck with projection": [
        "conv:int8:1x8x9x9:o4:relu+conv:int8:1x4x9x9:o4:k3:s2:relu+conv:int8:1x4x5x5:o16:add:relu"
        "+skip(conv:int8:1x8x9x9:o16:s2)"
    ],
    "maxpool": ["maxpool:int8:1x8x9x9:o8:k3:s2"],
    "linear layers": ["linear:int8:2x8x1x1:o16:relu", "linear:int8:2x16x1x1:o10"],
    "pool and classify": ["gap:int8:1x8x9x9:o8+linear:int8:1x8x1x1:o10"],
}
FLOAT_STEPS = 3  # each operator adds some rounding
LITERT_STEPS = 1.01  # the runtimes round an addition in other places


@pytest.fixture(params=CHAINS.values(), ids=list(CHAINS))
def blocks(request: pytest.FixtureRequest) -> list[Unit]:
    return [Unit.parse(key) for key in request.param]


def test_output_is_near_that_in_f32(blocks: list[Unit]) -> None:
    weights = random_weights(blocks, seed=1)
    inputs = noise(blocks)
    wanted = run_exactly(onnx_model([unit.cast("f32") for unit in blocks], weights), inputs)
    found = run_exactly(onnx_model(blocks, weights), inputs)
    assert found.shape == wanted.shape
    assert wanted.std() > 2 * quantization(blocks).scale
    np.testing.assert_allclose(found, wanted, rtol=0, atol=FLOAT_STEPS * quantization(blocks).scale)


def test_litert_computes_the_same(blocks: list[Unit], run_tflite: Callable[..., NDArray[np.int8]]) -> None:
    weights = random_weights(blocks, seed=1)
    inputs = noise(blocks)
    steps = run_tflite(tflite_model(blocks, weights), *map(INPUT.quantize, inputs))
    wanted = quantization(blocks).dequantize(steps)
    found = run_exactly(onnx_model(blocks, weights), inputs)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=LITERT_STEPS * quantization(blocks).scale)


def test_file_passes_the_checker(blocks: list[Unit]) -> None:
    model = onnx.load_from_string(onnx_model(blocks, random_weights(blocks, seed=0)))
    onnx.checker.check_model(model, full_check=True)  # with shapes, so the declared output is proven too


@pytest.mark.parametrize("name", ["chamnet-c", "resnet-50"])
def test_whole_networks_are_fused(name: str, optimise: Optimise) -> None:
    blocks = [unit.cast("int8") for unit in find(name).build().blocks]
    optimised = read_onnx(optimise(onnx_model(blocks, random_weights(blocks, seed=0))))
    nodes = [node.op_type for node in optimised.nodes]
    assert not {"Conv", "FusedConv", "Gemm", "Add", "Relu", "Clip", "GlobalAveragePool"} & set(nodes)
    assert nodes.count("QLinearConv") == sum(op.kind == "conv" for unit in blocks for op in unit.all_ops)
    assert nodes.count("QLinearAdd") == sum(op.add for unit in blocks for op in unit.all_ops)
    assert nodes.count("QGemm") == nodes.count("QLinearGlobalAveragePool") == 1
    assert nodes.count("QuantizeLinear") == nodes.count("DequantizeLinear") == 1  # at the file's ends


def test_a_chain_has_one_element_type() -> None:
    blocks = [Unit.parse(EXPAND), Unit.parse(PROJECT).cast("f32")]
    with pytest.raises(UnsupportedOpError, match="one element type, here int8"):
        onnx_model(blocks, random_weights(blocks, seed=0))


def noise(blocks: list[Unit]) -> list[NDArray[np.float32]]:
    """Return an input and, where one is taken, a residual, in values that int8 can hold."""
    rng = np.random.default_rng(0)
    shapes = [blocks[0].in_shape, *(unit.out_shape for unit in blocks if unit.takes_residual)]
    return [
        INPUT.dequantize(INPUT.quantize(rng.standard_normal(shape, dtype=np.float32))) for shape in shapes
    ]


def quantization(blocks: list[Unit]) -> Quantization:
    """Return how the output is quantised."""
    by = INPUT
    for op in (op for unit in blocks for op in unit.ops):
        by = output_quantization(op, by)
    return by


def run_exactly(model: bytes, inputs: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    # without it, sums of two products saturate on x86 without VNNI: faster, and what people deploy
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(["output"], dict(zip(("input", "residual"), inputs, strict=False)))
    return np.asarray(output)
