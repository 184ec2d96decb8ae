"""Units cut out of optimised chains compute what the chain computes at that place."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from chamnet.errors import UnsupportedOpError
from chamnet.models import executed_keys, onnx_model, random_weights, read_onnx
from chamnet.models.onnx_cut import carrier_of, cut, owners
from chamnet.networks import find
from chamnet.units import Unit

Optimise = Callable[[bytes], bytes]
Values = dict[str, NDArray[np.generic]]

UNITS = {
    "stem": "conv:f32:1x3x16x16:o8:k3:s2:relu",
    "expansion": "conv:f32:1x24x8x8:o72:relu",
    "channels that need padding": "conv:f32:1x20x7x7:o44:relu6",
    "depthwise": "conv:f32:1x48x8x8:o48:k5:s2:g48:relu",
    "projection with a residual": "conv:f32:1x48x8x8:o16:add",
    "residual, then activation": "conv:f32:1x8x8x8:o32:add:relu",
    "squeeze-excite": "se:f32:1x32x8x8:o32:r8",
    "max pool": "maxpool:f32:1x16x9x9:o16:k3:s2",
    "global pool": "gap:f32:1x32x7x7:o32",
    "classifier": "linear:f32:1x32x1x1:o10",
    "inverted residual": "conv:f32:1x16x8x8:o48:relu+conv:f32:1x48x8x8:o48:k3:g48:relu+conv:f32:1x48x8x8:o16:add+skip",
    "bottleneck with projection": "conv:f32:1x16x8x8:o8:relu+conv:f32:1x8x8x8:o8:k3:s2:relu"
    "+conv:f32:1x8x4x4:o32:add:relu+skip(conv:f32:1x16x8x8:o32:s2)",
    "fused pair": "conv:f32:1x48x8x8:o48:k3:g48:relu+conv:f32:1x48x8x8:o16:add",
    "batch": "conv:f32:4x16x8x8:o32:k3:relu",
}
UNITS |= {
    f"{name}, int8": Unit.parse(key).cast("int8").key
    for name, key in UNITS.items()
    if not key.startswith("se:")
}


def written(blocks: Sequence[Unit], optimise: Optimise) -> bytes:
    return optimise(onnx_model(blocks, random_weights(blocks, seed=0)))


def run(model: bytes, feeds: Values, wanted: Sequence[str]) -> Values:
    """Run a file as it is, without optimising it again."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return dict(zip(wanted, session.run(list(wanted), feeds), strict=True))


def values_within(whole: bytes, names: Sequence[str]) -> Values:
    """Return what flows under these names when a chain runs on noise."""
    model = onnx.load_from_string(whole)
    rng = np.random.default_rng(1)
    feeds: Values = {
        value.name: rng.standard_normal(
            [size.dim_value for size in value.type.tensor_type.shape.dim], dtype=np.float32
        )
        for value in model.graph.input
    }
    outputs = {value.name for value in model.graph.output}
    given = {value.name: feeds[value.name] for value in model.graph.input if value.name in names}
    inside = [name for name in names if name not in feeds]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inside if name not in outputs)
    return given | run(model.SerializeToString(), feeds, inside)


def assert_computes_the_same(whole: bytes, part: bytes) -> None:
    graph = read_onnx(part)
    inputs, outputs = ([value.name for value in values] for values in (graph.inputs, graph.outputs))
    flowing = values_within(whole, [*inputs, *outputs])
    found = run(part, {name: flowing[name] for name in inputs}, outputs)
    for name in outputs:
        assert found[name].std() > 0
        np.testing.assert_array_equal(found[name], flowing[name])


@pytest.mark.parametrize("key", UNITS.values(), ids=list(UNITS))
def test_a_cut_unit_computes_what_its_carrier_does(key: str, optimise: Optimise) -> None:
    carrier = carrier_of(Unit.parse(key))
    whole = written(carrier.blocks, optimise)
    found = cut(whole, carrier.names)
    assert_computes_the_same(whole, found.model)
    assert found.keys == executed_keys(read_onnx(found.model)), "shapes and types come along"


@pytest.mark.parametrize("dtype", ["f32", "int8"])
def test_every_block_of_a_network_computes_what_the_network_does(dtype: str, optimise: Optimise) -> None:
    network = find("chamnet-f").build().cast(dtype)  # type: ignore[arg-type]
    whole = written(network.blocks, optimise)
    keys: list[str] = []
    for i, block in enumerate(network.blocks):
        found = cut(whole, frozenset(f"block{i}.op{j}" for j in range(len(block.ops))))
        assert_computes_the_same(whole, found.model)
        keys += found.keys
    assert sorted(keys) == sorted(executed_keys(read_onnx(whole))), "each node belongs to one block"


def test_a_residual_comes_in_by_an_input_of_its_own(optimise: Optimise) -> None:
    carrier = carrier_of(Unit.parse(UNITS["projection with a residual"]))
    graph = read_onnx(cut(written(carrier.blocks, optimise), carrier.names).model)
    assert len(graph.inputs) == 2
    assert len(graph.outputs) == 1


@pytest.mark.parametrize("key", UNITS.values(), ids=list(UNITS))
def test_a_carrier_is_a_chain_that_holds_the_unit(key: str) -> None:
    unit = Unit.parse(key)
    carrier = carrier_of(unit)
    for before, after in zip(carrier.blocks, carrier.blocks[1:], strict=False):
        assert before.out_shape == after.in_shape
    held = {f"block{i}.op{j}": op for i, block in enumerate(carrier.blocks) for j, op in enumerate(block.ops)}
    assert sorted(held[name].key for name in carrier.names if "shortcut" not in name) == sorted(
        op.key for op in unit.ops
    )
    assert not any(block.takes_residual for block in carrier.blocks) or unit.takes_residual


def test_every_node_of_a_network_has_one_owner(optimise: Optimise) -> None:
    network = find("chamnet-f").build()
    found = owners(read_onnx(written(network.blocks, optimise)))
    expected = {f"block{i}.op{j}" for i, block in enumerate(network.blocks) for j in range(len(block.ops))}
    assert set(found) == expected


def test_an_unknown_name_is_refused(optimise: Optimise) -> None:
    blocks = [Unit.parse(UNITS["expansion"])]
    with pytest.raises(UnsupportedOpError, match=r"nothing of block7\.op0 is left"):
        cut(written(blocks, optimise), frozenset({"block7.op0"}))


def test_a_graph_without_our_names_says_what_it_is_called(optimise: Optimise) -> None:
    model = onnx.load_from_string(
        onnx_model([unit := Unit.parse(UNITS["expansion"])], random_weights([unit], seed=0))
    )
    renamed = {tensor.name: f"w{i}" for i, tensor in enumerate(model.graph.initializer)}
    for i, node in enumerate(model.graph.node):
        node.name = f"anonymous{i}"
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for tensor in model.graph.initializer:
        tensor.name = renamed[tensor.name]
    with pytest.raises(UnsupportedOpError, match=r"does not say which operator .*anonymous0"):
        cut(model.SerializeToString(), frozenset({"block0.op0"}))
