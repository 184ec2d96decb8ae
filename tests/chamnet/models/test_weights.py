from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from chamnet.models import onnx_model, random_weights
from chamnet.units import Unit

EXPAND, PROJECT = "conv:f32:1x16x8x8:o96:relu6", "conv:f32:1x96x8x8:o16"
DEPTHWISE, GATE = "conv:f32:1x96x8x8:o96:k3:g96:relu6", "se:f32:1x96x8x8:o96:r4"
DEEP = {
    "plain": ["conv:f32:1x16x8x8:o16:k3:relu"] * 60,
    "plain relu6": ["conv:f32:1x16x8x8:o16:relu6"] * 60,
    "linear bottlenecks": [f"{EXPAND}+{DEPTHWISE}+{PROJECT}"] * 20,
    "skips": [f"{EXPAND}+{DEPTHWISE}+{PROJECT}:add+skip"] * 20,
    "gated": [f"{EXPAND}+{DEPTHWISE}+{GATE}+{PROJECT}"] * 20,
    "bottlenecks": [
        "conv:f32:1x16x8x8:o8:relu+conv:f32:1x8x8x8:o8:k3:relu+conv:f32:1x8x8x8:o16:add:relu+skip"
    ]
    * 50,
}


@pytest.mark.parametrize("keys", DEEP.values(), ids=DEEP.keys())
def test_activations_neither_vanish_nor_overflow(
    keys: list[str], run_onnx: Callable[..., NDArray[np.float32]]
) -> None:
    blocks = [Unit.parse(key) for key in keys]
    value = np.random.default_rng(0).standard_normal(blocks[0].in_shape, dtype=np.float32)
    output = run_onnx(onnx_model(blocks, random_weights(blocks, seed=0)), value)
    assert 1e-2 < output.std() < 1e2


def test_names_and_shapes() -> None:
    unit = Unit.parse(
        "conv:f32:1x8x9x9:o6:k3:g2:relu+se:f32:1x6x9x9:o6:r2+conv:f32:1x6x9x9:o16:add+skip(conv:f32:1x8x9x9:o16)"
    )
    head = Unit.parse("gap:f32:1x16x9x9:o16+linear:f32:1x16x1x1:o10")
    weights = random_weights([unit, head], seed=0)
    assert {name: array.shape for name, array in weights.items()} == {
        "block0.op0.weight": (6, 4, 3, 3),
        "block0.op0.bias": (6,),
        "block0.op1.reduce.weight": (2, 6, 1, 1),
        "block0.op1.reduce.bias": (2,),
        "block0.op1.expand.weight": (6, 2, 1, 1),
        "block0.op1.expand.bias": (6,),
        "block0.op2.weight": (16, 6, 1, 1),
        "block0.op2.bias": (16,),
        "block0.shortcut.weight": (16, 8, 1, 1),
        "block0.shortcut.bias": (16,),
        "block1.op1.weight": (10, 16),
        "block1.op1.bias": (10,),
    }
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    assert sum(array.nbytes for array in weights.values()) == unit.weight_bytes + head.weight_bytes


@given(seed=st.integers(0, 2**63))
def test_blocks_and_seed_are_all_that_matters(seed: int) -> None:
    def flat(seed: int) -> NDArray[np.float32]:
        weights = random_weights([Unit.parse(EXPAND), Unit.parse(PROJECT)], seed=seed)
        return np.concatenate([array.ravel() for array in weights.values()])

    assert np.array_equal(flat(seed), flat(seed))
    assert not np.array_equal(flat(seed), flat(seed + 1))
