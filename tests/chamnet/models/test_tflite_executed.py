import pytest

from chamnet.models.tflite_executed import tflite_executed_keys
from chamnet.models.tflite_writer import tflite_identity_model, tflite_model
from chamnet.models.weights import random_weights
from chamnet.units import Unit

KEYS = {
    "conv:f32:1x24x56x56:o144:relu6": ["CONV_2D[1x56x56x24->144,1x1,relu6]"],
    "conv:f32:1x3x32x32:o8:k3:s2:relu": ["CONV_2D[1x32x32x3->8,3x3s2p1,relu]"],
    "conv:int8:1x3x32x31:o8:k3:s2": ["CONV_2D[1x32x31x3->8,int8,3x3s2p1]"],
    "conv:f32:1x3x31x31:o8:k3:s2": ["CONV_2D[1x31x31x3->8,3x3s2]"],
    "conv:f32:1x8x9x9:o12:k3:g4:relu": ["CONV_2D[1x9x9x8->12,3x3,g4,relu]"],
    "conv:int8:1x48x9x9:o48:k3:g48:relu6": ["DEPTHWISE_CONV_2D[1x9x9x48->48,int8,3x3,relu6]"],
    "conv:f32:1x48x9x9:o8:add:relu": ["CONV_2D[1x9x9x48->8,1x1]", "ADD[1x9x9x8,relu]"],
    "maxpool:f32:1x8x9x9:o8:k3:s2": ["MAX_POOL_2D[1x9x9x8,3x3s2]"],
    "maxpool:f32:1x8x8x8:o8:k3:s2": ["PADV2[1x8x8x8,p1]", "MAX_POOL_2D[1x10x10x8,3x3s2p0]"],
    "gap:f32:1x8x9x9:o8+linear:f32:1x8x1x1:o10": ["MEAN[1x9x9x8]", "FULLY_CONNECTED[1x8->10]"],
    "se:f32:1x8x9x9:o8:r2": [
        "MEAN[1x9x9x8]",
        "CONV_2D[1x1x1x8->2,1x1,relu]",
        "CONV_2D[1x1x1x2->8,1x1]",
        "LOGISTIC[1x1x1x8]",
        "MUL[1x9x9x8]",
    ],
}


@pytest.mark.parametrize(("key", "expected"), KEYS.items())
def test_a_key_says_what_is_done(key: str, expected: list[str]) -> None:
    assert tflite_executed_keys(file_of(key)) == tuple(f"tflite:{each}" for each in expected)


def test_an_empty_call_has_a_key() -> None:
    assert tflite_executed_keys(tflite_identity_model((1, 8, 1, 1))) == ("tflite:RESHAPE[1x8x1x1]",)


def test_what_the_delegate_leaves_is_marked_and_folds_nothing() -> None:
    data = file_of("conv:f32:1x3x32x32:o8:k3:s2:relu")
    assert tflite_executed_keys(data, apart={0, 1}) == (
        "tflite:PAD[1x32x32x3,p1]!builtin",
        "tflite:CONV_2D[1x34x34x3->8,3x3s2p0,relu]!builtin",
    )


def test_what_is_no_file_is_refused() -> None:
    with pytest.raises(ValueError, match="header lacks TFL3"):
        tflite_executed_keys(b"no model")


def file_of(key: str) -> bytes:
    blocks = [Unit.parse(key)]
    return tflite_model(blocks, random_weights(blocks, seed=0))
