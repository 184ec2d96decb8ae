"""The torch module, the ONNX file and the TFLite file of one chain compute the same."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from chamnet.models import onnx_model, random_weights
from chamnet.models.tflite_writer import tflite_model
from chamnet.units import Unit

torch = pytest.importorskip("torch")
from chamnet.models.torch_module import ChainModule, fold, load_weights  # noqa: E402

Run = Callable[..., NDArray[np.float32]]

EXPAND = "conv:f32:1x8x9x9:o48:relu6"
DEPTHWISE = "conv:f32:1x48x9x9:o48:k3:g48:relu6"
SKIP = f"{EXPAND}+{DEPTHWISE}+conv:f32:1x48x9x9:o8:add+skip"

CHAINS = {
    "conv": ["conv:f32:1x3x16x16:o8:k3:s2:relu"],
    "conv, no activation, odd map": ["conv:f32:1x3x15x13:o8:k5:s2"],
    "1x1": ["conv:f32:1x8x9x9:o24:relu6"],
    "stride 2, even map": ["conv:f32:1x3x16x14:o8:k5:s2:relu6"],
    "stride 2, even by odd": ["conv:f32:1x3x16x9:o8:k7:s2:relu"],
    "stride 3": ["conv:f32:1x3x16x17:o8:k3:s3"],
    "groups": ["conv:f32:1x8x9x9:o12:k3:g4:relu"],
    "depthwise": [DEPTHWISE],
    "depthwise, stride 2, even map": ["conv:f32:1x8x10x10:o8:k3:s2:g8:relu6"],
    "depthwise 5x5, stride 2, even map": ["conv:f32:1x8x10x8:o8:k5:s2:g8:relu6"],
    "depthwise 5x5 stride 2": ["conv:f32:1x8x9x9:o8:k5:s2:g8:relu6"],
    "batch": ["conv:f32:3x3x9x9:o8:k3:relu", "se:f32:3x8x9x9:o8:r2", "gap:f32:3x8x9x9:o8"],
    "external residual": ["conv:f32:1x48x9x9:o8:add"],
    "external residual, then activation": ["conv:f32:1x8x9x9:o8:k3:add:relu"],
    "fused pair with external residual": [f"{DEPTHWISE}+conv:f32:1x48x9x9:o8:add"],
    "external residual inside a chain": [EXPAND, "conv:f32:1x48x9x9:o8:add", EXPAND],
    "inverted residual": [SKIP],
    "inverted residual without skip": [f"{EXPAND}+{DEPTHWISE}+conv:f32:1x48x9x9:o12"],
    "inverted residual, stride 2": [
        "conv:f32:1x8x9x9:o48:relu6+conv:f32:1x48x9x9:o48:k3:s2:g48:relu6+conv:f32:1x48x5x5:o12"
    ],
    "expansion 1": ["conv:f32:1x8x9x9:o8:k3:g8:relu6+conv:f32:1x8x9x9:o8:add+skip"],
    "with squeeze-excite": [f"{EXPAND}+{DEPTHWISE}+se:f32:1x48x9x9:o48:r2+conv:f32:1x48x9x9:o8:add+skip"],
    "bottleneck": [
        "conv:f32:1x16x9x9:o4:relu+conv:f32:1x4x9x9:o4:k3:relu+conv:f32:1x4x9x9:o16:add:relu+skip"
    ],
    "bottleneck with projection": [
        "conv:f32:1x8x9x9:o4:relu+conv:f32:1x4x9x9:o4:k3:s2:relu+conv:f32:1x4x5x5:o16:add:relu"
        "+skip(conv:f32:1x8x9x9:o16:s2)"
    ],
    "squeeze-excite": ["se:f32:1x8x9x9:o8:r2"],
    "maxpool": ["maxpool:f32:1x8x9x9:o8:k3:s2"],
    "maxpool, even map": ["maxpool:f32:1x8x10x8:o8:k3:s2"],
    "maxpool, stride 1, activation": ["maxpool:f32:1x8x9x9:o8:k3:relu"],
    "maxpool 2x2": ["maxpool:f32:1x8x9x9:o8:k2:s2"],
    "pool with activation": ["gap:f32:1x8x9x9:o8:relu6"],
    "pool and classify": ["gap:f32:1x8x9x9:o8+linear:f32:1x8x1x1:o10"],
    "linear layers": ["linear:f32:2x8x1x1:o16:relu", "linear:f32:2x16x1x1:o10"],
    "network": [
        "conv:f32:1x3x17x17:o8:k3:s2:relu6",
        SKIP,
        SKIP,
        "conv:f32:1x8x9x9:o16:k3:relu+conv:f32:1x16x9x9:o16:k3:add:relu+skip(conv:f32:1x8x9x9:o16)",
        "maxpool:f32:1x16x9x9:o16:k3:s2",
        "gap:f32:1x16x5x5:o16+linear:f32:1x16x1x1:o10",
    ],
}


@pytest.fixture(params=CHAINS.values(), ids=list(CHAINS))
def blocks(request: pytest.FixtureRequest) -> list[Unit]:
    return [Unit.parse(key) for key in request.param]


def test_trained_module_and_its_folded_file(blocks: list[Unit], run_onnx: Run) -> None:
    module = ChainModule(blocks, generator=torch.Generator().manual_seed(0)).eval()
    vary_norms(module)
    assert_same(module, onnx_model(blocks, fold(module)), run_onnx)


def test_random_weights_in_module_and_file(blocks: list[Unit], run_onnx: Run) -> None:
    weights = random_weights(blocks, seed=1)
    module = ChainModule(blocks).eval()
    vary_norms(module)  # of which nothing may remain
    load_weights(module, weights)
    assert_same(module, onnx_model(blocks, weights), run_onnx)


def test_random_weights_in_module_and_tflite_file(blocks: list[Unit], run_tflite: Run) -> None:
    weights = random_weights(blocks, seed=1)
    module = ChainModule(blocks).eval()
    load_weights(module, weights)
    assert_same(module, tflite_model(blocks, weights), run_tflite)


def test_folding_gives_loaded_weights_back(blocks: list[Unit]) -> None:
    weights = random_weights(blocks, seed=2)
    module = ChainModule(blocks)
    load_weights(module, weights)
    folded = fold(module)
    assert folded.keys() == weights.keys()
    assert all(np.array_equal(folded[name], weights[name]) for name in weights)


def test_file_passes_the_checker(blocks: list[Unit]) -> None:
    model = onnx.load_from_string(onnx_model(blocks, random_weights(blocks, seed=0)))
    onnx.checker.check_model(model, full_check=True)  # with shapes, so the declared output is proven too


def test_every_parameter_trains() -> None:
    blocks = [Unit.parse(key) for key in CHAINS["network"]]
    module = ChainModule(blocks, generator=torch.Generator().manual_seed(0))
    module(torch.randn(4, 3, 17, 17, generator=torch.Generator().manual_seed(1))).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    assert sum(p.numel() for p in module.parameters()) == sum(unit.params for unit in blocks)


def test_same_generator_gives_the_same_module() -> None:
    blocks = [Unit.parse(SKIP)]
    one, two = (ChainModule(blocks, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_missing_weight_is_named() -> None:
    with pytest.raises(ValueError, match=r"'block0\.op0\.weight' is missing"):
        load_weights(ChainModule([Unit.parse(SKIP)]), {})


def test_missing_residual_is_named() -> None:
    with pytest.raises(ValueError, match="adds a residual"):
        ChainModule([Unit.parse(CHAINS["external residual"][0])])(torch.zeros(1, 48, 9, 9))


def vary_norms(module: ChainModule) -> None:
    """Give every batch norm statistics and affine parameters as training might."""
    generator = torch.Generator().manual_seed(7)
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            for values in (norm.running_var, norm.weight):
                torch.nn.init.uniform_(values, 0.5, 2.0, generator=generator)
            for values in (norm.running_mean, norm.bias):
                torch.nn.init.normal_(values, generator=generator)


def assert_same(module: ChainModule, model: bytes, run: Run) -> None:
    rng = np.random.default_rng(0)
    value = rng.standard_normal(module.blocks[0].in_shape, dtype=np.float32)
    shapes = [unit.out_shape for unit in module.blocks if unit.takes_residual]
    residual = rng.standard_normal(shapes[0], dtype=np.float32) if shapes else None
    with torch.no_grad():
        wanted = module(
            torch.from_numpy(value), None if residual is None else torch.from_numpy(residual)
        ).numpy()
    found = run(model, value, residual)
    assert found.shape == wanted.shape
    assert wanted.std() > 0
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
