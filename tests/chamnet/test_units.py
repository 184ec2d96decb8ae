import pytest
from hypothesis import given
from hypothesis import strategies as st

from chamnet.networks import Stage, blocks, find, load_all
from chamnet.networks.architecture import stage_block
from chamnet.ops import OpSpec
from chamnet.units import Unit

PUBLISHED = tuple(unit for name in load_all() for unit in find(name).build().blocks)
MOBILE, RES = find("chamnet-a").architecture, find("resnet-50").architecture


@st.composite
def units(draw: st.DrawFn) -> Unit:
    arch = draw(st.sampled_from([MOBILE, RES]))
    expansion = draw(st.integers(1, 6))
    stage = Stage(
        expansion=expansion,
        filters=expansion * draw(st.integers(1, 24)),
        blocks=1,
        stride=draw(st.integers(1, 2)),
        se=draw(st.booleans()),
    )
    channels = draw(st.integers(1, 64) | st.just(stage.filters))
    side = draw(st.integers(1, 56))
    return stage_block(arch, stage, blocks.Shape(1, channels, side, side), stage.stride)


@given(units())
def test_a_key_reads_back_as_the_same_unit(unit: Unit) -> None:
    assert Unit.parse(unit.key) == unit


@pytest.mark.parametrize("granularity", ["op", "block"])
def test_keys_of_all_published_networks_read_back(granularity: str) -> None:
    singles = PUBLISHED if granularity == "block" else [one for unit in PUBLISHED for one in unit.split()]
    distinct = set(singles)
    assert {Unit.parse(unit.key) for unit in distinct} == distinct
    assert len({unit.key for unit in distinct}) == len(distinct)


@given(units())
def test_splitting_keeps_every_count(unit: Unit) -> None:
    parts = unit.split()
    assert all(len(part.ops) == 1 and not part.skip for part in parts)
    assert sum(part.macs for part in parts) == unit.macs
    assert sum(part.params for part in parts) == unit.params
    assert sum(part.weight_bytes for part in parts) == unit.weight_bytes
    assert sum(part.activation_bytes for part in parts) == unit.activation_bytes


@given(units())
def test_the_residual_stays_an_input_of_the_split_operator(unit: Unit) -> None:
    assert not unit.takes_residual
    assert unit.split()[-1].takes_residual == unit.skip


@given(units())
def test_peak_memory_holds_at_least_the_largest_operator(unit: Unit) -> None:
    assert unit.peak_activation_bytes >= max(op.in_bytes + op.out_bytes for op in unit.ops)


def test_the_signature_leaves_out_the_sizes() -> None:
    small = Unit.parse(
        "conv:f32:1x8x8x8:o48:relu+conv:f32:1x48x8x8:o48:k3:g48:relu+conv:f32:1x48x8x8:o8:add+skip"
    )
    assert small.signature == "conv1x1_relu+dwconv3x3_relu+conv1x1_add+skip"


CONV = OpSpec(kind="conv", in_c=8, in_h=8, in_w=8, out_c=16)
ADD = OpSpec(kind="conv", in_c=16, in_h=8, in_w=8, out_c=16, add=True)


@pytest.mark.parametrize(
    ("ops", "skip", "shortcut", "reason"),
    [
        ((), False, None, "at least one"),
        ((CONV, CONV), False, None, "does not take"),
        ((ADD, ADD), False, None, "only the last"),
        ((CONV,), True, None, "does not fit"),
        ((CONV, ADD), True, None, "does not fit"),
        ((CONV, ADD), False, CONV, "needs a skip"),
    ],
)
def test_a_chain_that_does_not_fit_is_refused(
    ops: tuple[OpSpec, ...], skip: bool, shortcut: OpSpec | None, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Unit(ops, skip, shortcut)


def test_a_projected_skip_fits() -> None:
    assert Unit.parse(Unit((CONV, ADD), True, CONV).key).shortcut == CONV


@pytest.mark.parametrize("tail", ["skip(", "skip()", "skipped", "skip(conv:f32:1x8x8x8:o16", "skip+skip", ""])
def test_a_malformed_skip_is_refused(tail: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Unit.parse(f"{CONV.key}+{ADD.key}+{tail}")
