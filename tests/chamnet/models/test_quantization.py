import numpy as np
import pytest

from chamnet.errors import UnsupportedOpError
from chamnet.models.quantization import (
    INPUT,
    Quantization,
    addend_quantization,
    output_quantization,
    quantize_bias,
    quantize_weights,
)
from chamnet.ops import OpSpec

CONV = OpSpec(kind="conv", in_c=8, in_h=4, in_w=4, out_c=8)


@pytest.mark.parametrize(("low", "high"), [(-4, 4), (-8, 8), (0, 6), (-1, 3)])
def test_rounding_costs_half_a_step_and_ends_are_kept(low: float, high: float) -> None:
    quantization = Quantization.of_range(low, high)
    values = np.linspace(low, high, 1001, dtype=np.float32)
    error = quantization.dequantize(quantization.quantize(values)) - values
    assert np.abs(error).max() <= quantization.scale * 1.001  # a whole step where the zero point was rounded
    assert np.median(np.abs(error)) <= quantization.scale / 2
    assert quantization.dequantize(quantization.quantize(np.zeros(1, np.float32))) == 0  # padding is exact
    assert quantization.quantize(np.array([-1e9, 1e9], np.float32)).tolist() == [-128, 127]


@pytest.mark.parametrize(("low", "high"), [(0, 0), (1, 2), (-2, -1)])
def test_a_range_holds_zero_and_more(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="a range holds 0"):
        Quantization.of_range(low, high)


def test_activations_decide_the_range() -> None:
    relu6 = output_quantization(OpSpec(kind="conv", in_c=8, out_c=8, act="relu6"), INPUT)
    assert relu6.dequantize(np.array([-128, 127], np.int8)).tolist() == [0, 6]


def test_pooling_keeps_the_quantization_and_an_addition_does_not() -> None:
    pool = OpSpec(kind="maxpool", in_c=8, in_h=4, in_w=4, out_c=8, kernel=3, act="relu")
    added = OpSpec(kind="gap", in_c=8, in_h=4, in_w=4, out_c=8, add=True)
    assert output_quantization(pool, INPUT) == INPUT == addend_quantization(added, INPUT)
    assert output_quantization(added, INPUT) != INPUT


def test_squeeze_excite_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="use f32"):
        output_quantization(OpSpec(kind="se", in_c=8, out_c=8, reduced=2, dtype="int8"), INPUT)


def test_weights_are_symmetric_with_a_scale_a_channel() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3), dtype=np.float32)
    weight[2] = 0
    steps, scales = quantize_weights(weight)
    assert np.abs(steps).max(axis=(1, 2, 3)).tolist() == [127, 127, 0, 127]
    assert scales[2] == 1
    assert np.abs(steps * scales[:, None, None, None] - weight).max() <= scales.max() / 2 * 1.001


def test_channels_of_a_linear_layer_share_a_scale() -> None:
    weight = np.array([[1.27, 0], [-0.1, 0.2]], np.float32)
    steps, scales = quantize_weights(weight)
    assert steps.tolist() == [[127, 0], [-10, 20]]
    assert scales[0] == scales[1]


def test_biases_have_the_scale_of_products() -> None:
    scales = np.array([0.5, 0.25], np.float32)
    steps, bias_scales = quantize_bias(np.array([1.0, -1e30], np.float32), Quantization(0.125, 3), scales)
    assert steps.tolist() == [16, -(2**31) + 1]
    assert bias_scales.tolist() == [0.0625, 0.03125]
