"""Our message subset is the ONNX format, judged by the `onnx` package."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto
from google.protobuf.json_format import MessageToDict
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from onnx import TensorProto, helper, numpy_helper

from chamnet.errors import ConfigError, UnsupportedOpError
from chamnet.models import (
    OnnxTensor,
    executed_keys,
    identity_model,
    onnx_model,
    random_weights,
    read_onnx,
)
from chamnet.units import Unit
from chamnet.wire import onnx_subset_pb2 as pb

BLOCK = [
    Unit.parse("conv:f32:1x8x6x6:o16:relu6+se:f32:1x16x6x6:o16:r4+conv:f32:1x16x6x6:o8:add+skip"),
    Unit.parse("maxpool:f32:1x8x6x6:o8:k3:s2+gap:f32:1x8x3x3:o8+linear:f32:1x8x1x1:o4:relu"),
]
MODEL = onnx_model(BLOCK, random_weights(BLOCK, seed=0))


def messages(ours: Descriptor) -> list[Descriptor]:
    return [ours, *(inner for nested in ours.nested_types for inner in messages(nested))]


OUR_MESSAGES = [inner for top in pb.DESCRIPTOR.message_types_by_name.values() for inner in messages(top)]


@pytest.mark.parametrize("ours", OUR_MESSAGES, ids=lambda message: message.full_name)
def test_fields_have_the_numbers_and_types_of_onnx(ours: Descriptor) -> None:
    name = ours.full_name.removeprefix("chamnet.wire.onnx.")
    theirs = descriptor_pool.Default().FindMessageTypeByName(f"onnx.{name}")
    assert wire_format(ours).items() <= wire_format(theirs).items()
    for enum in ours.enum_types:
        known = theirs.enum_types_by_name[enum.name].values_by_name
        assert {value.name: value.number for value in enum.values}.items() <= {
            name: value.number for name, value in known.items()
        }.items()


def wire_format(message: Descriptor) -> dict[str, tuple[object, ...]]:
    """Return what decides how each field is written."""
    proto = DescriptorProto()
    message.CopyToProto(proto)
    return {
        field.name: (field.number, field.type, field.label, bare(field.type_name), field.options.packed)
        for field in proto.field
    }


def bare(type_name: str) -> str:
    return type_name.replace(".chamnet.wire.onnx.", ".onnx.")


def test_onnx_reads_what_we_write_field_by_field() -> None:
    assert MessageToDict(pb.ModelProto.FromString(MODEL)) == MessageToDict(onnx.load_from_string(MODEL))


def test_same_chain_gives_the_same_bytes() -> None:
    assert onnx_model(BLOCK, random_weights(BLOCK, seed=0)) == MODEL


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 10)])
def test_identity_model_does_nothing(shape: tuple[int, ...], run_onnx: Callable[..., Any]) -> None:
    onnx.checker.check_model(onnx.load_from_string(identity_model(shape)), full_check=True)
    value = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    assert np.array_equal(run_onnx(identity_model(shape), value), value)


@pytest.mark.parametrize(
    ("keys", "error", "says"),
    [
        (["se:int8:1x8x6x6:o8:r2"], UnsupportedOpError, "use f32"),
        (["linear:f32:1x8x3x3:o8"], UnsupportedOpError, "put gap before"),
        (["conv:f32:1x8x6x6:o8", "conv:f32:1x9x6x6:o8"], ValueError, "does not take the output"),
        (["conv:f32:1x8x6x6:o8:add"] * 2, ValueError, "two units"),
        ([], ValueError, "at least one"),
    ],
)
def test_what_cannot_be_written_is_named(keys: list[str], error: type[Exception], says: str) -> None:
    blocks = [Unit.parse(key) for key in keys]
    with pytest.raises(error, match=says):
        onnx_model(blocks, random_weights(blocks, seed=0))


def test_missing_and_misshaped_weights_are_named() -> None:
    with pytest.raises(ValueError, match=r"'block0\.op0\.weight' is missing"):
        onnx_model(BLOCK, {})
    with pytest.raises(ValueError, match=r"'block0\.op0\.bias' is of shape \(3,\)"):
        onnx_model(BLOCK, random_weights(BLOCK, seed=0) | {"block0.op0.bias": np.zeros(3, dtype=np.float32)})


def test_reader_gives_what_onnx_wrote() -> None:
    tensor = numpy_helper.from_array(np.arange(6, dtype=np.int64).reshape(2, 3), "table")
    attributes: dict[str, Any] = {
        "f": 0.5,
        "i": -3,
        "s": "text",
        "fs": [0.5, 2.0],
        "is": [1, -2],
        "ss": ["a", "b"],
        "t": tensor,
    }
    node = helper.make_node(
        "Thing", ["x", "", "table"], ["y"], name="thing", domain="org.example", **attributes
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, None])
    y = helper.make_tensor_value_info("y", TensorProto.INT8, None)
    old_style = helper.make_tensor_value_info("table", TensorProto.INT64, [2, 3])
    model = helper.make_model(
        helper.make_graph([node], "g", [x, old_style], [y], [tensor], value_info=[x]),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("org.example", 2)],
    )
    graph = read_onnx(model.SerializeToString())
    assert (graph.ir_version, graph.opsets) == (model.ir_version, {"": 17, "org.example": 2})
    (read,) = graph.nodes
    assert (read.domain, read.op_type, read.name) == ("org.example", "Thing", "thing")
    assert (read.inputs, read.outputs) == (("x", "", "table"), ("y",))
    found = dict(read.attributes)
    inner = found.pop("t")
    assert isinstance(inner, OnnxTensor)
    assert np.array_equal(inner.array(), numpy_helper.to_array(tensor))
    assert found == {"f": 0.5, "i": -3, "s": "text", "fs": (0.5, 2.0), "is": (1, -2), "ss": ("a", "b")}
    assert [(v.name, v.dtype, v.shape) for v in (*graph.inputs, *graph.outputs)] == [
        ("x", "float", ("n", 3, "?")),
        ("y", "int8", None),
    ]
    assert graph.values == graph.inputs
    assert (graph.initializers["table"].dtype, graph.initializers["table"].shape) == ("int64", (2, 3))


NUMPY_TYPES = st.one_of(
    stn.boolean_dtypes(),
    stn.integer_dtypes(endianness="<"),
    stn.unsigned_integer_dtypes(endianness="<"),
    stn.floating_dtypes(sizes=(16, 32, 64), endianness="<"),
)


@given(array=stn.arrays(NUMPY_TYPES, stn.array_shapes(min_dims=0, min_side=0)), raw=st.booleans())
def test_tensors_of_every_type_and_storage(array: np.ndarray[Any, Any], raw: bool) -> None:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    values = array.tobytes() if raw else array.ravel()
    tensor = helper.make_tensor("t", kind, array.shape, values, raw=raw)
    assert_tensor_reads_as(tensor, array)


def assert_tensor_reads_as(tensor: TensorProto, array: np.ndarray[Any, Any]) -> None:
    graph = helper.make_graph([], "g", [], [], [tensor])
    found = read_onnx(helper.make_model(graph).SerializeToString()).initializers["t"].array()
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (TensorProto(name="t", data_type=1, dims=[3], raw_data=b"12345678"), "2 values for shape"),
        (TensorProto(name="t", data_type=1, dims=[2], raw_data=b"1234567"), "1 values for shape"),
        (TensorProto(name="t", data_type=1, dims=[-1, -2], raw_data=b"12345678"), "export the model again"),
        (TensorProto(name="t", data_type=8, dims=[1], string_data=[b"x"]), "holds string"),
        (TensorProto(name="t", data_type=17, dims=[1], raw_data=b"x"), "holds type17"),
        (TensorProto(name="t", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL), "in another file"),
    ],
)
def test_unreadable_tensors_are_named(tensor: TensorProto, says: str) -> None:
    graph = helper.make_graph([], "g", [], [], [tensor])
    read = read_onnx(helper.make_model(graph).SerializeToString())
    with pytest.raises(ConfigError, match=f"'t'.*{says}"):
        read.initializers["t"].array()


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"not a model", MODEL[:-1], MODEL[: len(MODEL) // 2], b"\xff" * 99]
)
def test_damaged_files_are_refused_with_advice(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"not an ONNX model.* again"):
        read_onnx(data)


@given(data=st.data())
def test_any_damage_is_read_or_refused(data: st.DataObject) -> None:
    skeleton = pb.ModelProto.FromString(MODEL)  # without most of the weights, so that damage meets structure
    del skeleton.graph.initializer[2:]
    damaged = bytearray(skeleton.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        graph = read_onnx(bytes(damaged))
        executed_keys(graph)
        for tensor in graph.initializers.values():
            tensor.array()
    except ConfigError:
        pass


@given(data=st.binary(max_size=200))
@example(data=pb.ModelProto(ir_version=8).SerializeToString())
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError):
        read_onnx(data)
