import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chamnet.errors import ConfigError
from chamnet.networks import find, load_all
from chamnet.space import SearchSpace, available_spaces, load_space
from chamnet.space.space import Axis

MOBILE, RES, WIDE = (load_space(name) for name in ("chamnet-mobile", "chamnet-res", "mobile-wide"))
MOBILENETS = [name for name in load_all() if name.startswith("mobilenet-v2-")]


def genomes(space: SearchSpace) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*(st.sampled_from(axis.values) for axis in space.decisions))


def test_the_spaces_are_shipped() -> None:
    assert available_spaces() == ["chamnet-mobile", "chamnet-mobile-28", "chamnet-res", "mobile-wide"]


def test_chamnet_mobile_has_21_decisions_and_1_83e17_genomes() -> None:
    assert len(MOBILE.decisions) == 21
    assert MOBILE.cardinality == 183_261_487_500_000_000


def test_the_released_chamnets_lie_inside() -> None:
    for letter in "abcdef":
        architecture = find(f"chamnet-{letter}").architecture
        assert MOBILE.holds(architecture)
        assert MOBILE.architecture(MOBILE.genome(architecture)) == architecture


@pytest.mark.parametrize("name", MOBILENETS)
def test_filters_expansions_and_depths_of_every_mobilenet_v2_lie_inside(name: str) -> None:
    architecture = find(name).architecture
    genome = MOBILE.genome(architecture)
    decoded = MOBILE.architecture(genome)
    assert (decoded.resolution, decoded.stem, decoded.head) == (
        architecture.resolution,
        architecture.stem,
        architecture.head,
    )
    assert decoded.stages == architecture.stages


def test_mobilenet_v2_itself_is_not_held_as_its_activation_differs() -> None:
    assert not MOBILE.holds(find("mobilenet-v2-1.0-224").architecture)


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_chamnet_res_holds_the_resnets(depth: int) -> None:
    architecture = find(f"resnet-{depth}").architecture
    assert RES.holds(architecture)
    assert RES.decode(RES.genome(architecture)).macs == find(f"resnet-{depth}").build().macs


@pytest.mark.parametrize("name", [name for name in load_all() if name.startswith("mnasnet-")])
def test_mobile_wide_holds_the_mnasnets(name: str) -> None:
    architecture = find(name).architecture
    assert WIDE.holds(architecture)
    assert WIDE.decode(WIDE.genome(architecture)).macs == find(name).build().macs


def test_a_space_without_a_choice_of_kernels_has_the_digest_it_always_had() -> None:
    assert [space.digest for space in (MOBILE, RES)] == [
        "f76a476c9394",
        "66ced6d2a696",
    ]  # stores refer to them
    first, *rest = MOBILE.stages
    for kernel, se in ((5, 0), (3, 1)):
        changed = replace(first, kernel=Axis("irf1.kernel", (kernel,)), se=Axis("irf1.se", (se,)))
        assert replace(MOBILE, stages=(changed, *rest)).digest != MOBILE.digest


@given(genomes(WIDE))
def test_kernels_and_squeeze_excite_are_in_the_genome(genome: tuple[int, ...]) -> None:
    architecture = WIDE.architecture(genome)
    assert WIDE.genome(architecture) == genome
    chosen = dict(zip((axis.name for axis in WIDE.decisions), genome, strict=True))
    assert [stage.kernel for stage in architecture.stages[1:]] == [
        chosen[f"mb{i}.kernel"] for i in range(2, 8)
    ]
    assert [stage.se for stage in architecture.stages[1:]] == [bool(chosen[f"mb{i}.se"]) for i in range(2, 8)]


@given(genomes(MOBILE))
def test_genomes_levels_text_and_architectures_are_one_to_one(genome: tuple[int, ...]) -> None:
    levels = MOBILE.levels([genome])
    assert MOBILE.genomes(levels) == [genome]
    assert MOBILE.genome(MOBILE.architecture(genome)) == genome
    assert MOBILE.parse_genome("-".join(map(str, genome))) == genome
    assert MOBILE.parse_genome(", ".join(map(str, genome))) == genome


def test_cardinality_counts_the_genomes_of_a_small_space(tiny: SearchSpace) -> None:
    assert tiny.cardinality == math.prod(tiny.sizes.tolist())
    assert list(tiny.sizes) == [len(axis.values) for axis in tiny.axes if len(axis.values) > 1]


def test_samples_are_uniform_and_repeat_by_seed() -> None:
    levels = MOBILE.sample(20_000, np.random.default_rng(0))
    assert levels.dtype == np.int32
    assert np.array_equal(levels, MOBILE.sample(20_000, np.random.default_rng(0)))
    for column, size in zip(levels.T, MOBILE.sizes, strict=True):
        counts = np.bincount(column, minlength=size)
        assert len(counts) == size
        assert abs(counts - 20_000 / size).max() < 5 * math.sqrt(20_000 / size)


def test_extremes_bound_every_network() -> None:
    least, most = (MOBILE.decode(MOBILE.extreme(largest=largest)).macs for largest in (False, True))
    for genome in MOBILE.genomes(MOBILE.sample(20, np.random.default_rng(1))):
        assert least <= MOBILE.decode(genome).macs <= most


def test_a_wrong_genome_says_which_number() -> None:
    genome = MOBILE.extreme(largest=False)
    with pytest.raises(ConfigError, match="21 numbers, not 20"):
        MOBILE.decode(genome[1:])
    with pytest.raises(ConfigError, match="resolution = 97 is not one of 96, 128, 160, 192, 224"):
        MOBILE.decode((97, *genome[1:]))
    with pytest.raises(ConfigError, match=r"expected 21 numbers"):
        MOBILE.parse_genome("224-x")


def test_an_architecture_outside_says_where() -> None:
    architecture = find("chamnet-a").architecture
    with pytest.raises(ConfigError, match="not in chamnet-mobile: head = 17"):
        MOBILE.genome(replace(architecture, head=17))
    with pytest.raises(ConfigError, match="7 inverted_residual stages"):
        MOBILE.genome(find("resnet-50").architecture)
    with pytest.raises(ConfigError, match=r"irf3\.kernel = 5 is not one of 3"):
        MOBILE.genome(find("mnasnet-a1-224").architecture)
    strided = tuple(replace(stage, stride=min(2, i + 1)) for i, stage in enumerate(architecture.stages))
    with pytest.raises(ConfigError, match="irf5 has another stride"):
        MOBILE.genome(replace(architecture, stages=strided))
    assert not MOBILE.holds(find("mnasnet-a1-224").architecture)


def test_batch_and_classes_reach_the_networks() -> None:
    space = load_space("chamnet-mobile", batch=4, classes=10)
    network = space.decode(space.extreme(largest=False))
    assert network.blocks[0].in_shape[0] == 4
    assert network.blocks[-1].out_shape == (4, 10, 1, 1)


def test_a_changed_copy_of_a_space_has_its_own_levels() -> None:
    genome = MOBILE.extreme(largest=False)
    assert MOBILE.levels([genome])[0, 0] == 0
    copy = replace(MOBILE, resolution=Axis("resolution", (64, 96)))
    assert copy.levels([genome])[0, 0] == 1


def test_the_element_type_reaches_the_networks() -> None:
    space = replace(MOBILE, dtype="int8")
    genome = space.genome(find("chamnet-a").architecture)
    network = space.decode(genome)
    assert network.digest == find("chamnet-a").build().cast("int8").digest
    assert MOBILE.decode(genome).architecture.dtype == "f32"


def test_spaces_of_other_element_types_share_genomes_but_nothing_else() -> None:
    space = replace(MOBILE, dtype="int8")
    architecture = find("chamnet-a").architecture
    assert space.digest != MOBILE.digest
    assert space.genome(architecture) == MOBILE.genome(architecture)
    assert not space.holds(architecture)
    assert space.holds(replace(architecture, dtype="int8"))
