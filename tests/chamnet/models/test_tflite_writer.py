"""TFLite files in int8; those in f32 are compared in test_same_outputs.py."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chamnet.errors import UnsupportedOpError
from chamnet.models import Weights, onnx_model, random_weights
from chamnet.models.quantization import INPUT, Quantization, output_quantization, quantize_weights
from chamnet.models.tflite_writer import tflite_identity_model, tflite_model
from chamnet.units import Unit

Run = Callable[..., NDArray[Any]]

EXPAND = "conv:f32:1x8x10x10:o48:relu6"
SHRINK = "conv:f32:1x48x10x10:o48:k3:s2:g48:relu6"

# One operator on quantised inputs and weights is exact but for rounding its output: a step, and where an addition
# follows that of its addend, too.
SINGLE = {
    "conv": ("conv:f32:1x3x16x16:o8:k3:s2:relu", 1),
    "conv, odd map": ("conv:f32:1x3x15x13:o8:k5:s2", 1),
    "1x1": ("conv:f32:1x8x9x9:o24:relu6", 1),
    "groups": ("conv:f32:1x8x9x9:o12:k3:g4:relu", 1),
    "depthwise": ("conv:f32:2x48x9x9:o48:k3:g48:relu6", 1),
    "depthwise, stride 2": ("conv:f32:1x8x10x10:o8:k5:s2:g8:relu6", 1),
    "residual": ("conv:f32:1x48x9x9:o8:add", 2),
    "residual, then activation": ("conv:f32:1x8x9x9:o8:k3:add:relu", 2),
    "maxpool": ("maxpool:f32:1x8x9x9:o8:k3:s2", 0),
    "maxpool, even map": ("maxpool:f32:1x8x10x10:o8:k3:s2", 0),
    "gap": ("gap:f32:1x8x9x9:o8", 1),
    "gap with activation": ("gap:f32:1x8x9x9:o8:relu", 1),
    "linear": ("linear:f32:2x8x1x1:o16:relu", 1),
}
CHAINS = {
    "padding behind ReLU6": [f"{EXPAND}+{SHRINK}"],
    "inverted residual": [f"{EXPAND}+conv:f32:1x48x10x10:o48:k3:g48:relu6+conv:f32:1x48x10x10:o8:add+skip"],
    "bottleneck with projection": [
        "conv:f32:1x8x9x9:o4:relu+conv:f32:1x4x9x9:o4:k3:s2:relu+conv:f32:1x4x5x5:o16:add:relu"
        "+skip(conv:f32:1x8x9x9:o16:s2)"
    ],
    "pool and classify": [
        EXPAND,
        "maxpool:f32:1x48x10x10:o48:k3:s2",
        "gap:f32:1x48x5x5:o48+linear:f32:1x48x1x1:o10",
    ],
}


@pytest.mark.parametrize(("key", "steps"), SINGLE.values(), ids=list(SINGLE))
def test_an_operator_is_exact_but_for_rounding(key: str, steps: int, run_onnx: Run, run_tflite: Run) -> None:
    error, scale = int8_error([Unit.parse(key)], run_onnx, run_tflite)
    assert np.abs(error).max() <= (steps + 0.01) * scale


@pytest.mark.parametrize("keys", CHAINS.values(), ids=list(CHAINS))
def test_a_chain_is_near_the_one_in_f32(keys: list[str], run_onnx: Run, run_tflite: Run) -> None:
    """Rounding errors are independent and weights keep their power, so a few operators cost about a step."""
    error, scale = int8_error([Unit.parse(key) for key in keys], run_onnx, run_tflite)
    assert np.sqrt(np.square(error).mean()) <= scale
    assert np.abs(error).max() <= 5 * scale


def test_an_empty_call_gives_its_input_back(run_tflite: Run) -> None:
    value = np.random.default_rng(0).standard_normal((1, 8, 2, 3), dtype=np.float32)
    assert np.array_equal(run_tflite(tflite_identity_model((1, 2, 3, 8)), value), value)


def test_the_same_chain_gives_the_same_bytes() -> None:
    blocks = [Unit.parse(EXPAND).cast("int8")]
    first, second = (tflite_model(blocks, random_weights(blocks, seed=1)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (["se:int8:1x8x9x9:o8:r2"], "squeeze-excite"),
        (["linear:f32:1x8x2x2:o8"], "put gap before"),
    ],
)
def test_what_cannot_be_written_is_refused(keys: list[str], reason: str) -> None:
    blocks = [Unit.parse(key) for key in keys]
    with pytest.raises(UnsupportedOpError, match=reason):
        tflite_model(blocks, random_weights(blocks, seed=0))


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([], "at least one unit"),
        (["conv:f32:1x8x9x9:o8:add", "conv:f32:1x8x9x9:o8:add"], "two units"),
        ([EXPAND, EXPAND], "does not take"),
        ([EXPAND, SHRINK.replace("f32", "int8")], "does not take"),
    ],
)
def test_units_that_do_not_fit_are_a_bug(keys: list[str], reason: str) -> None:
    blocks = [Unit.parse(key) for key in keys]
    with pytest.raises(ValueError, match=reason):
        tflite_model(blocks, random_weights(blocks, seed=0))


def test_a_missing_weight_is_named() -> None:
    with pytest.raises(ValueError, match=r"'block0\.op0\.weight' is missing"):
        tflite_model([Unit.parse(EXPAND)], {})


def int8_error(blocks: list[Unit], run_onnx: Run, run_tflite: Run) -> tuple[NDArray[np.float32], float]:
    """Return how far int8 is from f32 with the same rounded inputs and weights, and the output's step."""
    weights = random_weights(blocks, seed=1)
    rng = np.random.default_rng(0)
    value = INPUT.quantize(rng.standard_normal(blocks[0].in_shape, dtype=np.float32))
    shapes = [unit.out_shape for unit in blocks if unit.takes_residual]
    residual = INPUT.quantize(rng.standard_normal(shapes[0], dtype=np.float32)) if shapes else None
    found = run_tflite(tflite_model([unit.cast("int8") for unit in blocks], weights), value, residual)

    real = None if residual is None else INPUT.dequantize(residual)
    wanted = run_onnx(onnx_model(blocks, rounded(weights)), INPUT.dequantize(value), real)
    output = quantization_of(blocks)
    assert found.dtype == np.int8
    assert found.shape == wanted.shape
    assert wanted.std() > output.scale  # so that there is something to compare
    clipped = np.clip(wanted, *output.dequantize(np.array([-128, 127], np.int8)))
    return output.dequantize(found) - clipped, output.scale


def rounded(weights: Weights) -> Weights:
    """Return weights as int8 holds them; biases are rounded too finely to matter."""
    kept = dict(weights)
    for name, weight in weights.items():
        if name.endswith(".weight"):
            steps, scales = quantize_weights(weight)
            kept[name] = steps * scales.reshape(-1, *[1] * (weight.ndim - 1))
    return kept


def quantization_of(blocks: list[Unit]) -> Quantization:
    """Return how the output of a chain is quantised."""
    quantization = INPUT
    for unit in blocks:
        for op in unit.ops:
            quantization = output_quantization(op, quantization)
    return quantization
