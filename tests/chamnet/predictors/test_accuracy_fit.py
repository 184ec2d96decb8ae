"""Fitting: GPyTorch and numpy agree, and the shipped predictor comes out again."""

import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from chamnet.errors import ConfigError
from chamnet.networks import find
from chamnet.predictors import AccuracyPredictor
from chamnet.predictors.features import Structure
from chamnet.predictors.gp import NO_RECIPE, KernelName
from chamnet.predictors.pool import Pool, from_log_error, macs_of, published_pool
from chamnet.predictors.validation import Score
from chamnet.space import draw_tilted, load_space

# torch takes seconds to import, so the fast tests must not do it while they are collected
pytestmark = pytest.mark.slow

SHIPPED = AccuracyPredictor.load()
POOL = published_pool()


@pytest.fixture(scope="module")
def fit() -> ModuleType:
    pytest.importorskip("botorch")
    from chamnet.predictors import accuracy_fit

    return accuracy_fit


@pytest.mark.parametrize("name", ["matern", "matern-ard", "additive", "sum", "rbf"])
def test_numpy_scores_as_gpytorch_does(fit: ModuleType, name: KernelName) -> None:
    torch = pytest.importorskip("torch")
    model, scaling = fit.fit_model(POOL, kernel=name, seed=0, starts=1)
    ours = fit.fit_gp(POOL, kernel=name, seed=0, starts=1)
    rng = np.random.default_rng(0)
    features, log_macs = rng.uniform(-0.1, 1.1, (40, POOL.features.shape[1])), rng.uniform(16, 20.5, 40)
    for recipe in (NO_RECIPE, 0, 1):
        inputs = scaling.inputs(features, log_macs, np.full(40, recipe))
        with torch.no_grad():
            theirs = model(inputs)
        slope = inputs[:, -2].numpy()  # the prior mean, taken off the targets
        mean = (theirs.mean.numpy() + slope) * scaling.y_sd + scaling.y_mean
        variance = theirs.variance.numpy() * scaling.y_sd**2
        if recipe == NO_RECIPE:  # to GPyTorch one more recipe, with an offset of its own
            variance -= ours.offset_sd**2
        expected, spread = ours.posterior(features, log_macs, recipe)
        assert from_log_error(mean) == pytest.approx(from_log_error(expected), abs=1e-3)
        assert np.sqrt(variance) == pytest.approx(np.sqrt(spread), abs=1e-6)


def test_a_fit_repeats_the_shipped_predictions(fit: ModuleType) -> None:
    again = replace(SHIPPED, model=fit.fit_gp(POOL, kernel=SHIPPED.model.kernel.name, seed=SHIPPED.seed))
    values = np.random.default_rng(0).integers(
        SHIPPED.pool.structure.low,
        np.add(SHIPPED.pool.structure.high, 1),
        (500, len(SHIPPED.pool.structure.names)),
    )
    log_macs = np.random.default_rng(1).uniform(16.5, 20, 500)
    ours, theirs = again.predict_values(values, log_macs), SHIPPED.predict_values(values, log_macs)
    for one, other in [(ours.top1, theirs.top1), (ours.low, theirs.low), (ours.high, theirs.high)]:
        assert np.abs(one - other).max() < 0.05


def close(one: Score, other: Score) -> bool:
    """Within 0.05 points, and one network more or less inside its interval."""
    points = [abs(getattr(one, key) - getattr(other, key)) for key in ("mae", "rmse", "bias", "tau")]
    shares = [abs(getattr(one, key) - getattr(other, key)) for key in ("coverage", "coverage_naive")]
    return one.count == other.count and max(points) < 0.05 and max(shares) <= 1.01 / one.count


def test_the_shipped_figures_come_out_again(fit: ModuleType) -> None:
    again = fit.fit_default(seed=SHIPPED.seed, kernel=SHIPPED.model.kernel.name).validation
    shipped = SHIPPED.validation
    assert close(again.one_out, shipped.one_out)
    for name in shipped.families:
        assert close(again.families[name], shipped.families[name])
    for name in shipped.beyond:
        assert close(again.beyond[name], shipped.beyond[name])
    assert (again.factor, again.near, again.far) == pytest.approx((shipped.factor, shipped.near, shipped.far))
    assert again.learning == pytest.approx(shipped.learning, abs=0.05)


def test_a_pool_of_one_recipe_fits(fit: ModuleType) -> None:
    own = POOL.subset([i for i, recipe in enumerate(POOL.recipes) if recipe == "chamnet"])
    predictor = fit.fit_accuracy(own, kernel="rbf")
    assert predictor.recipes == ("chamnet", "unknown")
    assert predictor.validation.families == {}
    assert predictor.model.line(0)[1] > 0


def test_kernels_and_squeeze_excite_are_features_where_the_space_has_a_choice(fit: ModuleType) -> None:
    space = load_space("mobile-wide")
    levels = space.sample(24, np.random.default_rng(0))
    networks = [space.decode(genome) for genome in space.genomes(levels)]
    squeezed = np.array([sum(stage.se for stage in network.architecture.stages) for network in networks])
    top1 = 60 + 3 * np.log([network.macs / 1e8 for network in networks]) + squeezed
    pool = Pool.of(
        Structure.of(space),
        [network.architecture for network in networks],
        names=[network.name for network in networks],
        recipes=["own"] * len(networks),
        sources={"own": "made up"},
        top1=top1.tolist(),
    )
    predictor = replace(SHIPPED, model=fit.fit_gp(pool, starts=1), pool=pool)
    plain = find("mnasnet-b1-224").architecture
    with_se = replace(plain, stages=tuple(replace(stage, se=i > 0) for i, stage in enumerate(plain.stages)))
    without, with_all = predictor.predict([plain, with_se]).top1
    assert with_all > without + 2


def test_a_pool_too_small_is_refused(fit: ModuleType) -> None:
    with pytest.raises(ConfigError, match="needs 6 networks"):
        fit.fit_accuracy(POOL.subset([0, 1, 2]))
    with pytest.raises(ConfigError, match="differ in accuracy"):
        fit.fit_accuracy(replace(POOL, top1=np.full(len(POOL), 70.0)))


def test_without_torch_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from chamnet.errors import ConfigError\n"
        "try: import chamnet.predictors.accuracy_fit\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install chamnet[fit]" in done.stdout, done.stderr


def test_a_fit_that_does_not_converge_says_so_and_has_likely_numbers(
    fit: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(marginal: object, **options: object) -> None:
        raise fit.ModelFittingError("no mode found")

    monkeypatch.setattr(fit, "fit_gpytorch_mll", fails)
    model = fit.fit_gp(POOL)
    assert "28 trainings did not converge" in caplog.text
    assert model.structure_sd == pytest.approx(0.1, rel=0.01)
    assert model.noise_sd == pytest.approx(0.008, rel=0.01)
    mean, _ = model.posterior(POOL.features, POOL.log_macs, 0)
    assert np.isfinite(mean).all()


def two_recipes(cheap: int, dear: int) -> tuple[Pool, Pool]:
    """Return trainings with a cheap and a dear recipe, and what others would have come to with the dear one."""
    space = load_space("chamnet-mobile-28")
    levels = draw_tilted(space, cheap + 40, np.random.default_rng(0))
    architectures = [space.architecture(genome) for genome in space.genomes(levels)]
    structure = Structure.of(space)
    features = structure.scale(structure.values(architectures))
    log_macs = np.log([macs_of(architecture) for architecture in architectures])
    shape = 0.15 * (np.sin(4 * features[:, 0]) + np.cos(3 * features[:, 4]) + features[:, 8])
    own = 0.03 * np.sin(5 * features[:, 3])
    noise = np.random.default_rng(1).normal(0, 0.004, len(levels))
    better = -2.0 + 0.15 * (log_macs - 14) + shape
    rows = [(i, "cheap", better[i] - 0.4) for i in range(cheap)]
    rows += [(i, "dear", better[i] + own[i]) for i in range(dear)]
    others = [(i, "dear", better[i] + own[i]) for i in range(cheap, cheap + 40)]

    def pool(chosen: list[tuple[int, str, float]]) -> Pool:
        return Pool.of(
            structure,
            [architectures[i] for i, _, _ in chosen],
            names=[str(i) for i, _, _ in chosen],
            recipes=[recipe for _, recipe, _ in chosen],
            sources={"cheap": "here", "dear": "here"},
            top1=[float(from_log_error(value + noise[i])) for i, _, value in chosen],
            dataset="digits",
        )

    return pool(rows), pool(others)


def test_a_cheap_recipe_helps_to_predict_a_dear_one(fit: ModuleType) -> None:
    both, held = two_recipes(cheap=60, dear=12)
    dear = both.subset(np.flatnonzero(np.array(both.recipes) == "dear"))
    assert both.shares_networks
    assert not dear.shares_networks
    model, alone = (fit.fit_gp(pool, kernel="matern", starts=1) for pool in (both, dear))
    assert 0 < model.own_sd < model.structure_sd
    assert alone.own_sd == 0
    errors = []
    for fitted, pool in ((model, both), (alone, dear)):
        mean, _ = fitted.posterior(held.features, held.log_macs, pool.recipe_names.index("dear"))
        errors.append(np.abs(from_log_error(mean) - held.top1).mean())
    assert errors[0] < 0.7 * errors[1]


def test_numpy_scores_two_recipes_as_gpytorch_does(fit: ModuleType) -> None:
    torch = pytest.importorskip("torch")
    pool, held = two_recipes(cheap=20, dear=8)
    model, scaling = fit.fit_model(pool, kernel="additive", seed=0, starts=1)
    ours = fit.fit_gp(pool, kernel="additive", seed=0, starts=1)
    for recipe in (0, 1):
        inputs = scaling.inputs(held.features, held.log_macs, np.full(len(held), recipe))
        with torch.no_grad():
            theirs = model(inputs)
        expected, spread = ours.posterior(held.features, held.log_macs, recipe)
        mean = (theirs.mean.numpy() + inputs[:, -2].numpy()) * scaling.y_sd + scaling.y_mean
        assert mean == pytest.approx(expected, abs=1e-5)
        assert theirs.variance.numpy() * scaling.y_sd**2 == pytest.approx(spread, rel=1e-3)


def test_a_space_is_predicted_for_the_recipe_asked(fit: ModuleType) -> None:
    pool, _ = two_recipes(cheap=20, dear=8)
    model = fit.fit_gp(pool, kernel="additive", starts=1)
    predictor = AccuracyPredictor(model=model, pool=pool, validation=SHIPPED.validation)
    space = load_space("chamnet-mobile-28")
    levels = draw_tilted(space, 30, np.random.default_rng(5))
    architectures = [space.architecture(genome) for genome in space.genomes(levels)]
    for recipe in ("cheap", "dear"):
        fast = predictor.for_space(space, recipe=recipe)
        assert fast.separable is not None
        slow = predictor.predict(architectures, recipe).top1
        assert fast.top1(levels) == pytest.approx(slow, abs=1e-3)
        assert fast.separable.top1(levels) == pytest.approx(slow, abs=1e-6)
