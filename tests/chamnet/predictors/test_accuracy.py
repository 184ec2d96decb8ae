"""The shipped accuracy predictor: what it knows, how sure it is, and when it says that it is guessing."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chamnet.errors import ConfigError, StoreError
from chamnet.networks import find, load_all
from chamnet.predictors import AccuracyPredictor
from chamnet.predictors.gp import Kernel, KernelName, kernel_layout
from chamnet.predictors.pool import from_log_error
from chamnet.space import SearchSpace, load_space, unit_grid
from chamnet.space.space import Axis

KERNELS: tuple[KernelName, ...] = ("matern", "matern-ard", "additive", "sum", "rbf")
SHIPPED = AccuracyPredictor.load()
PUBLISHED = [find(name) for name in SHIPPED.pool.names]


def thinned(space: SearchSpace) -> SearchSpace:
    """Every axis cut to its ends, and one to a single value, so that the unit grid takes no time."""

    def ends(axis: Axis) -> Axis:
        return Axis(axis.name, tuple(sorted({axis.values[0], axis.values[-1]})))

    stages = tuple(
        replace(s, expansion=ends(s.expansion), filters=ends(s.filters), blocks=ends(s.blocks))
        for s in space.stages
    )
    stem = Axis("stem", space.stem.values[1:2])
    resolution, head = ends(space.resolution), ends(space.head)
    return replace(space, resolution=resolution, stem=stem, stages=stages, head=head)


SPACE = thinned(load_space("chamnet-mobile"))
LEVELS = SPACE.sample(300, np.random.default_rng(0))


def with_kernel(name: KernelName) -> AccuracyPredictor:
    """The shipped pool under another kernel; length scales as they come."""
    layout = kernel_layout(name, SHIPPED.pool.structure.feature_names)
    lengths = np.linspace(0.8, 2.5, max(layout.scale_of) + 1)
    kernel = Kernel(name=name, scales=lengths[list(layout.scale_of)], parts=layout.parts)
    if layout.beside is not None:
        kernel = replace(kernel, beside=with_kernel("matern").model.kernel, share=0.4)
    return replace(SHIPPED, model=replace(SHIPPED.model, kernel=kernel))


def test_the_pool_is_every_published_network_inside_the_structure() -> None:
    space = load_space("chamnet-mobile")
    inside = {n.name for n in load_all().values() if n.family in ("chamnet", "mobilenet-v2")}
    assert set(SHIPPED.pool.names) == inside
    assert len(inside) == 28
    for network in PUBLISHED:
        space.genome(network.architecture)  # raises where it lies outside


@pytest.mark.parametrize("recipe", ["chamnet", "mobilenet-v2"])
def test_known_networks_are_predicted_as_published(recipe: str) -> None:
    known = [network for network in PUBLISHED if network.family == recipe]
    said = SHIPPED.predict([network.architecture for network in known], recipe)
    truth = np.array([network.top1 for network in known], dtype=float)
    assert np.abs(said.top1 - truth).max() < 0.7
    assert np.all((said.low < truth) & (truth < said.high))
    assert said.distance == pytest.approx(0, abs=1e-6)
    assert not said.extrapolated.any()


def test_every_prediction_names_recipe_dataset_and_precision() -> None:
    said = SHIPPED.predict_architecture(find("chamnet-c").architecture)
    assert (said.recipe, said.dataset, said.precision) == ("chamnet", "imagenet", "f32")
    assert "mobile-vision" in said.recipe_source


def test_an_int8_table_is_labelled_with_what_int8_costs() -> None:
    said = SHIPPED.predict_architecture(find("chamnet-c").architecture)
    assert said.precision_note("f32") is None
    note = said.precision_note("int8")
    assert note is not None
    assert "0.8 to 1.8 points" in note


def test_an_unknown_recipe_has_the_wider_interval() -> None:
    arch = find("chamnet-b").architecture
    known, unknown = (
        SHIPPED.predict_architecture(arch, "chamnet"),
        SHIPPED.predict_architecture(arch, "unknown"),
    )
    assert unknown.high - unknown.low > 3 * (known.high - known.low)
    assert "spread" in unknown.recipe_source


def test_intervals_widen_with_the_distance_from_networks_of_the_recipe() -> None:
    near = find("chamnet-c").architecture
    far = replace(near, stages=tuple(replace(stage, expansion=2) for stage in near.stages))
    said = SHIPPED.predict([near, far])
    width = said.high - said.low
    assert said.distance[1] > said.distance[0]
    assert width[1] > 2 * width[0]


def test_intervals_hold_their_middle_and_stay_below_100() -> None:
    said = SHIPPED.for_space(SPACE).predict(LEVELS)
    assert np.all((said.low < said.top1) & (said.top1 < said.high))
    assert said.high.max() <= 100
    assert from_log_error([50.0, -50.0]).tolist() == [100.0, 0.0]


@pytest.mark.parametrize(
    ("name", "why"),
    [("mnasnet-a1-224", "kernels and squeeze-excite"), ("mnasnet-b1-224", "kernels")],
)
def test_another_structure_is_extrapolated(name: str, why: str) -> None:
    assert SHIPPED.predict_architecture(find(name).architecture).extrapolated.all(), why


def test_macs_outside_the_pool_are_extrapolated() -> None:
    small, large = find("mobilenet-v2-0.35-96").architecture, find("mobilenet-v2-1.4-224").architecture
    said = SHIPPED.predict([small, large, replace(small, resolution=64), replace(large, resolution=256)])
    assert said.extrapolated.tolist() == [False, False, True, True]


def test_networks_far_from_all_known_are_extrapolated() -> None:
    said = SHIPPED.for_space(SPACE).predict(LEVELS)
    far = said.distance > SHIPPED.validation.far
    assert 0 < far.sum() < len(LEVELS)
    assert said.extrapolated[far].all()


def test_axes_without_a_range_and_other_classes_are_extrapolated() -> None:
    arch = find("chamnet-c").architecture
    first = replace(arch.stages[0], blocks=2)
    deeper = replace(arch, stages=(first, *arch.stages[1:]))
    said = SHIPPED.predict([deeper, replace(arch, classes=10)])
    assert said.extrapolated.all()


def test_the_batch_changes_nothing() -> None:
    arch = find("chamnet-c").architecture
    one, four = SHIPPED.predict([arch, replace(arch, batch=4)]).top1
    assert one == four
    batched = SHIPPED.for_space(replace(SPACE, batch=4)).top1(LEVELS)
    assert batched == pytest.approx(SHIPPED.for_space(SPACE).top1(LEVELS), abs=1e-3)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("recipe", ["chamnet", "unknown"])
def test_the_fast_mean_agrees_with_the_exact_one(name: KernelName, recipe: str) -> None:
    accuracy = with_kernel(name).for_space(SPACE, recipe=recipe)
    exact = accuracy.predict(LEVELS)
    assert accuracy.top1(LEVELS) == pytest.approx(exact.top1, abs=1e-3)
    assert accuracy.top1(LEVELS, accuracy.macs.total(LEVELS)) == pytest.approx(exact.top1, abs=1e-3)
    assert exact.recipe == recipe


@pytest.mark.parametrize("name", KERNELS)
def test_a_genome_is_predicted_as_its_architecture(name: KernelName) -> None:
    predictor = with_kernel(name)
    architectures = [SPACE.architecture(genome) for genome in SPACE.genomes(LEVELS[:20])]
    by_level, by_arch = predictor.for_space(SPACE).predict(LEVELS[:20]), predictor.predict(architectures)
    assert by_level.top1 == pytest.approx(by_arch.top1, abs=1e-9)
    assert by_level.low == pytest.approx(by_arch.low, abs=1e-9)
    assert by_level.extrapolated.tolist() == by_arch.extrapolated.tolist()


def test_the_additive_terms_add_up() -> None:
    accuracy = SHIPPED.for_space(SPACE)
    assert accuracy.terms is not None
    assert sorted(c for term in accuracy.terms for c in term.columns) == list(range(LEVELS.shape[1]))
    intercept, slope = accuracy.line
    value = intercept + slope * np.log(accuracy.macs.total(LEVELS))
    for term in accuracy.terms:
        value = value + term.table[tuple(LEVELS[:, column] for column in term.columns)]
    assert from_log_error(value) == pytest.approx(accuracy.top1(LEVELS), abs=1e-9)
    assert with_kernel("matern").for_space(SPACE).terms is None


def test_the_additive_predictor_adds_up_along_the_chain() -> None:
    accuracy = SHIPPED.for_space(SPACE)
    assert accuracy.separable is not None
    assert accuracy.separable.parts.axes == accuracy.macs.axes
    assert accuracy.separable.top1(LEVELS) == pytest.approx(accuracy.top1(LEVELS), abs=1e-9)
    assert with_kernel("matern").for_space(SPACE).separable is None


def test_no_recipe_changes_a_ranking() -> None:
    orders = [np.argsort(SHIPPED.for_space(SPACE, recipe=r).top1(LEVELS)).tolist() for r in SHIPPED.recipes]
    assert orders[0] == orders[1] == orders[2]


@pytest.mark.slow  # lays out the whole space
def test_a_search_finds_nothing_too_good_to_be_true() -> None:
    space = load_space("chamnet-mobile")
    grid = unit_grid(space)
    accuracy = SHIPPED.for_space(space, grid.tables([unit.macs for unit in grid.units]))
    levels = space.sample(200_000, np.random.default_rng(0))
    macs = accuracy.macs.total(levels)
    top1 = accuracy.top1(levels, macs)
    assert np.corrcoef(top1, np.log(macs))[0, 1] > 0.95
    for name in ("chamnet-a", "chamnet-b", "chamnet-c", "chamnet-d", "chamnet-e"):
        network = find(name)
        best = top1[macs <= network.build().macs].max()
        assert network.top1 is not None
        assert network.top1 - 1.5 < best < network.top1 + 1.0, name


def test_unknown_recipe_and_other_networks_say_what_is_known() -> None:
    with pytest.raises(ConfigError, match="chamnet, mobilenet-v2, unknown"):
        SHIPPED.for_space(SPACE, recipe="mnasnet")
    with pytest.raises(ConfigError, match="7 inverted residual stages"):
        SHIPPED.predict_architecture(find("resnet-50").architecture)


def test_a_space_that_the_pool_cannot_rank_is_refused_with_the_next_step() -> None:
    first, *rest = SPACE.stages
    strided = replace(SPACE, stages=(replace(first, stride=2), *rest))
    wide = load_space("mobile-wide")
    for space, words in (
        (load_space("chamnet-res"), "7 inverted residual stages, and chamnet-res has 4 bottleneck stages"),
        (strided, r"strides \(1, 2, 2, 2, 1, 2, 1\), and those of chamnet-mobile are \(2, 2"),
        (wide, "have irf2.kernel = 3, and mobile-wide has a choice; settle it with --fix mb2.kernel=VALUE"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            SHIPPED.for_space(space)
        assert "accuracy import FILE" in str(caught.value)
    settled = {
        f"mb{stage}.{axis}": value for stage in range(2, 8) for axis, value in (("kernel", 3), ("se", 0))
    }
    assert SHIPPED.for_space(thinned(wide.restricted(settled))).separable is not None


def test_macs_of_another_space_are_a_bug() -> None:
    macs = SHIPPED.for_space(SPACE).macs
    with pytest.raises(ValueError, match="MACs are of space"):
        SHIPPED.for_space(load_space("chamnet-mobile"), macs)


def test_intervals_cover_every_family_left_out() -> None:
    validation = SHIPPED.validation
    assert all(score.coverage >= 0.8 for score in validation.families.values())
    assert all(score.coverage >= 0.8 for score in validation.beyond.values())
    assert min(score.coverage_naive for score in validation.families.values()) < 0.2
    assert validation.one_out.mae < min(score.mae for score in validation.families.values()) / 3


def test_the_summary_is_plain_and_complete() -> None:
    summary = json.loads(json.dumps(SHIPPED.summary()))
    assert summary["networks"] == 28
    assert summary["macs_range"] == [11_934_128, 582_195_824]
    assert summary["recipes"]["mobilenet-v2"]["networks"] == 22
    assert set(summary["validation"]) >= {"one_out", "families", "factor", "near", "far", "learning"}


def test_saving_keeps_everything_and_twice_the_same(tmp_path: Path) -> None:
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    SHIPPED.save(first)
    again = AccuracyPredictor.load(first)
    again.save(second)
    assert first.read_bytes() == second.read_bytes()
    assert again.summary() == SHIPPED.summary()
    archs = [network.architecture for network in PUBLISHED]
    assert again.predict(archs).low.tolist() == SHIPPED.predict(archs).low.tolist()


def rewrite(path: Path, *, drop: str = "", **changed: object) -> None:
    """Write the shipped file with something changed."""
    SHIPPED.save(path)
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files if key != drop}
    about = json.loads(str(arrays["about"]))
    for key, value in changed.items():
        if key in arrays:
            arrays[key] = np.asarray(value)
        else:
            about[key] = value
    arrays["about"] = np.array(json.dumps(about))
    np.savez(path, **arrays)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"drop": "features"},
        {"drop": "top1"},
        {"log_macs": [1.0, 2.0]},
        {"scales": [float("nan")] * 21},
        {"scales": ["a"] * 21},
        {"scales": np.array([{}] * 21)},
        {"kernel": "cosine"},
        {"trend": {"level": 1}},
        {"validation": {}},
        {"structure_sd": "wide"},
        {"noise_sd": float("nan")},
    ],
)
def test_a_corrupt_file_says_what_next(tmp_path: Path, changed: dict[str, object]) -> None:
    path = tmp_path / "broken.npz"
    rewrite(path, **changed)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=r"broken\.npz: corrupt .*accuracy fit"):
        AccuracyPredictor.load(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 torn"])
def test_a_torn_file_says_what_next(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "torn.npz"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"torn\.npz: corrupt .*accuracy fit"):
        AccuracyPredictor.load(path)


def test_half_a_file_says_what_next(tmp_path: Path) -> None:
    path = tmp_path / "half.npz"
    SHIPPED.save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(StoreError, match="accuracy fit"):
        AccuracyPredictor.load(path)


def test_newer_and_absent_files_say_what_next(tmp_path: Path) -> None:
    path = tmp_path / "newer.npz"
    rewrite(path, schema=1)
    with pytest.raises(StoreError, match="schema 1, this version reads 2; fit a new one"):
        AccuracyPredictor.load(path)
    rewrite(path, schema=99)
    with pytest.raises(StoreError, match="schema 99, this version reads 2; upgrade"):
        AccuracyPredictor.load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        AccuracyPredictor.load(tmp_path / "absent.npz")
    with pytest.raises(StoreError, match="cannot be written"):
        SHIPPED.save(tmp_path / "no" / "folder.npz")


def test_predicting_loads_neither_torch_nor_scipy() -> None:
    code = (
        "import sys; from chamnet.networks import find; from chamnet.predictors import AccuracyPredictor;"
        "said = AccuracyPredictor.load().predict_architecture(find('chamnet-a').architecture);"
        "print(*(sys.modules.keys() & {'torch', 'gpytorch', 'botorch', 'scipy', 'pandas'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
