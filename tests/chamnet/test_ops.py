from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chamnet.ops import Activation, DType, OpKind, OpSpec

sizes = st.integers(1, 64)


@st.composite
def convolutions(draw: st.DrawFn) -> OpSpec:
    groups = draw(st.sampled_from([1, 2, 8]))
    return OpSpec(
        kind="conv",
        batch=draw(st.integers(1, 4)),
        in_c=groups * draw(sizes),
        in_h=draw(sizes),
        in_w=draw(sizes),
        out_c=groups * draw(sizes),
        kernel=draw(st.sampled_from([1, 3, 5, 7])),
        stride=draw(st.integers(1, 3)),
        groups=groups,
        act=draw(st.sampled_from(get_args(Activation))),
        add=draw(st.booleans()),
        dtype=draw(st.sampled_from(get_args(DType))),
    )


@st.composite
def others(draw: st.DrawFn) -> OpSpec:
    kind = draw(st.sampled_from([kind for kind in get_args(OpKind) if kind != "conv"]))
    in_c = draw(sizes)
    return OpSpec(
        kind=kind,
        in_c=in_c,
        in_h=draw(sizes),
        in_w=draw(sizes),
        out_c=draw(sizes) if kind == "linear" else in_c,
        kernel=3 if kind == "maxpool" else 1,
        stride=2 if kind == "maxpool" else 1,
        reduced=draw(sizes) if kind == "se" else 0,
        dtype=draw(st.sampled_from(get_args(DType))),
    )


ops = convolutions() | others()


@given(ops)
def test_a_key_reads_back_as_the_same_operator(op: OpSpec) -> None:
    assert OpSpec.parse(op.key) == op


@given(ops, ops)
def test_different_operators_have_different_keys(one: OpSpec, other: OpSpec) -> None:
    assert (one == other) == (one.key == other.key)


@given(ops)
def test_an_operator_is_hashable_by_value(op: OpSpec) -> None:
    assert {op: 1}[OpSpec.parse(op.key)] == 1


@given(convolutions())
def test_macs_are_what_nested_loops_would_count(op: OpSpec) -> None:
    windows_h = len(range(0, op.in_h + 2 * (op.kernel // 2) - op.kernel + 1, op.stride))
    windows_w = len(range(0, op.in_w + 2 * (op.kernel // 2) - op.kernel + 1, op.stride))
    per_output = (op.in_c // op.groups) * op.kernel * op.kernel
    assert (op.out_h, op.out_w) == (windows_h, windows_w)
    assert op.macs == op.batch * op.out_c * windows_h * windows_w * per_output


def test_counts_of_a_known_stem() -> None:
    stem = OpSpec.parse("conv:f32:1x3x224x224:o32:k3:s2:relu")
    assert (stem.out_shape, stem.macs) == ((1, 32, 112, 112), 10_838_016)
    assert (stem.weights, stem.params, stem.weight_bytes) == (864, 928, 4 * (864 + 32))


def test_counts_of_squeeze_excite_and_linear() -> None:
    se = OpSpec(kind="se", in_c=72, in_h=28, in_w=28, out_c=72, reduced=6)
    assert (se.macs, se.weights, se.out_shape) == (864, 864 + 72 + 6, (1, 72, 28, 28))
    linear = OpSpec(kind="linear", batch=2, in_c=1280, out_c=1000)
    assert (linear.macs, linear.weights, linear.params) == (2_560_000, 1_280_000, 1_281_000)


def test_int8_quarters_the_weights_but_not_the_biases() -> None:
    op = OpSpec(kind="conv", in_c=8, in_h=4, in_w=4, out_c=16, dtype="int8")
    assert op.weight_bytes == 8 * 16 + 4 * 16


def test_a_residual_is_read_too() -> None:
    plain = OpSpec(kind="conv", in_c=8, in_h=4, in_w=4, out_c=16)
    added = OpSpec(kind="conv", in_c=8, in_h=4, in_w=4, out_c=16, add=True)
    assert added.in_bytes - plain.in_bytes == plain.out_bytes


def test_depthwise_has_a_group_for_each_channel() -> None:
    assert OpSpec.parse("conv:f32:1x96x56x56:o96:k3:g96:relu6").depthwise
    assert not OpSpec.parse("conv:f32:1x96x56x56:o96:k3:g48").depthwise
    assert not OpSpec.parse("conv:f32:1x1x8x8:o1:k3").depthwise


@pytest.mark.parametrize(
    "key",
    [
        "",
        "conv",
        "conv:f32:1x3x8:o8",
        "conv:f32:1x3x8x8",
        "conv:f16:1x3x8x8:o8",
        "conf:f32:1x3x8x8:o8",
        "conv:f32:1x3x8x8:o8:k1",  # a default is not written
        "conv:f32:1x3x8x8:relu:o8",  # wrong order
        "conv:f32:1x3x8x8:o08",
        "conv:f32:1x3x8x8:o8:gelu",
        "conv:f32:1x3x8x8:o8:g2",
        "conv:f32:1x0x8x8:o8",
        "conv:f32:1x3x8x8:o8:",
        "gap:f32:1x3x8x8:o8",
    ],
)
def test_what_is_no_canonical_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"key|must|keeps"):
        OpSpec.parse(key)
