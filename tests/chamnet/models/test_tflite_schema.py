"""Our small subset of the schema agrees with LiteRT's own, generated one."""

import contextlib
import random

import pytest

from chamnet.models import tflite_schema
from chamnet.models.tflite_executed import tflite_executed_keys
from chamnet.models.tflite_schema import Builtin, Model, pack, unpack
from chamnet.models.tflite_writer import tflite_model
from chamnet.models.weights import random_weights
from chamnet.units import Unit

flatbuffers = pytest.importorskip("flatbuffers")
schema = pytest.importorskip("ai_edge_litert.schema_py_generated")

NETWORK = [
    Unit.parse("conv:int8:1x3x16x16:o8:k3:s2:relu"),
    Unit.parse("conv:int8:1x8x8x8:o8:k3:s2:g8:relu6+conv:int8:1x8x4x4:o8"),
    Unit.parse("maxpool:int8:1x8x4x4:o8:k3:s2"),
    Unit.parse("conv:int8:1x8x2x2:o8:add+skip"),
    Unit.parse("gap:int8:1x8x2x2:o8+linear:int8:1x8x1x1:o10"),
]


@pytest.fixture
def data() -> bytes:
    return tflite_model(NETWORK, random_weights(NETWORK, seed=0))


def test_names_have_the_numbers_of_the_schema() -> None:
    pairs = {
        "Builtin": "BuiltinOperator",
        "TensorType": "TensorType",
        "Padding": "Padding",
        "ActivationType": "ActivationFunctionType",
    }
    for ours, theirs in pairs.items():
        for member in getattr(tflite_schema, ours):
            assert getattr(getattr(schema, theirs), member.name) == member
    for code, table in tflite_schema._OPTIONS.items():
        assert getattr(schema.BuiltinOptions, table.__name__) == code


def test_the_generated_reader_reads_our_files(data: bytes) -> None:
    """Written anew by the generated code, a file says the same: no field of ours is in another's slot."""
    theirs = schema.ModelT.InitFromPackedBuf(data)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(theirs.Pack(builder), file_identifier=b"TFL3")
    assert unpack(bytes(builder.Output())) == unpack(data)
    (graph,) = theirs.subgraphs
    options = graph.operators[1].builtinOptions  # behind a PAD
    assert (options.strideW, options.padding, options.fusedActivationFunction) == (2, 1, 1)
    assert [graph.tensors[i].name for i in (*graph.inputs, *graph.outputs)] == [b"input", b"output"]


def test_what_is_packed_is_unpacked(data: bytes) -> None:
    model = unpack(data)
    assert unpack(pack(model)) == model
    assert unpack(pack(Model())) == Model()


def test_constants_are_aligned(data: bytes) -> None:
    for buffer in unpack(data).buffers[1:]:
        if len(buffer.data) > 64:
            assert data.find(buffer.data) % 16 == 0


def test_operators_that_the_subset_lacks_are_read(data: bytes) -> None:
    theirs = schema.ModelT.InitFromPackedBuf(data)
    softmax = schema.OperatorCodeT(builtinCode=schema.BuiltinOperator.SOFTMAX, deprecatedBuiltinCode=25)
    theirs.operatorCodes.append(softmax)
    last = theirs.subgraphs[0].operators[-1]
    last.opcodeIndex = len(theirs.operatorCodes) - 1
    last.builtinOptionsType, last.builtinOptions = (
        schema.BuiltinOptions.SoftmaxOptions,
        schema.SoftmaxOptionsT(1.0),
    )
    builder = flatbuffers.Builder(len(data))
    builder.Finish(theirs.Pack(builder), file_identifier=b"TFL3")
    assert tflite_executed_keys(bytes(builder.Output()))[-1] == "tflite:BUILTIN_25[1x1x1x8,int8]"


def test_other_files_are_told_apart() -> None:
    for data in (b"", b"no model at all", b"TFL3", bytes(4) + b"XYZ3" + bytes(100)):
        with pytest.raises(ValueError, match="header"):
            unpack(data)


def test_broken_files_are_errors_of_one_kind(data: bytes) -> None:
    rng = random.Random(0)
    for _ in range(300):
        broken = bytearray(data[: rng.randrange(8, len(data) + 1)])
        for _ in range(rng.randrange(10)):
            broken[rng.randrange(8, len(broken) + 1) - 1] = rng.randrange(256)
        broken[4:8] = b"TFL3"
        with contextlib.suppress(ValueError):  # any other error fails the test
            tflite_executed_keys(bytes(broken))


def test_builtin_codes_fit_old_readers() -> None:
    assert all(code < 127 for code in Builtin)
