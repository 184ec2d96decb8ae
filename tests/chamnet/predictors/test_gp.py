"""The numpy process agrees with one written down point by point."""

import math
from dataclasses import replace

import numpy as np
import pytest

from chamnet.predictors.gp import (
    NO_RECIPE,
    GaussianProcess,
    Kernel,
    KernelLayout,
    KernelName,
    Trend,
    kernel_layout,
    profile,
    profile_in_place,
    profile_scale,
)

NAMES = ("resolution", "stem", "irf1.expansion", "irf1.filters", "irf1.blocks", "irf2.filters", "head")
KERNELS: tuple[KernelName, ...] = ("matern", "matern-ard", "additive", "sum", "rbf")


def kernel_of(name: KernelName, layout: KernelLayout, lengths: np.ndarray) -> Kernel:
    kernel = Kernel(name=name, scales=lengths[list(layout.scale_of)], parts=layout.parts)
    if layout.beside is None:
        return kernel
    return replace(kernel, beside=kernel_of("matern", layout.beside, 1.3 * lengths), share=0.3)


def process(name: KernelName = "matern") -> GaussianProcess:
    rng = np.random.default_rng(3)
    layout = kernel_layout(name, NAMES)
    lengths = rng.uniform(0.4, 2.0, len(NAMES))
    return GaussianProcess(
        kernel=kernel_of(name, layout, lengths),
        trend=Trend(centre=18.0, level=-3.5, level_sd=0.2, slope=0.2, slope_sd=0.1),
        structure_sd=0.07,
        offset_sd=0.06,
        noise_sd=0.008,
        features=rng.uniform(-0.1, 1.1, (12, len(NAMES))),
        log_macs=rng.uniform(16.5, 20.0, 12),
        targets=rng.uniform(-4.0, -3.2, 12),
        recipes=np.array([0] * 5 + [1] * 7),
    )


def correlation(kernel: Kernel, x: np.ndarray, z: np.ndarray) -> float:
    terms = []
    for part in kernel.parts:
        squared = sum(((x[i] - z[i]) / kernel.scales[i]) ** 2 for i in part)
        r = math.sqrt(5 * squared)
        matern = (1 + r + r * r / 3) * math.exp(-r)
        terms.append(math.exp(-squared / 2) if kernel.name == "rbf" else matern)
    mean = sum(terms) / len(terms)
    return mean if kernel.beside is None else 0.7 * mean + 0.3 * correlation(kernel.beside, x, z)


def covariance(model: GaussianProcess, a: tuple, b: tuple) -> float:
    """Prior covariance of two networks (features, log-MACs, recipe), straight from the definition."""
    (x, s, p), (z, t, q) = a, b
    trend = model.trend
    total = trend.level_sd**2 + trend.slope_sd**2 * (s - trend.centre) * (t - trend.centre)
    total += model.structure_sd**2 * correlation(model.kernel, x, z)
    return total + (model.offset_sd**2 if p == q != NO_RECIPE else 0.0)


def slow_posterior(model: GaussianProcess, point: tuple) -> tuple[float, float]:
    known = list(zip(model.features, model.log_macs, model.recipes.tolist(), strict=True))
    gram = np.array([[covariance(model, a, b) for b in known] for a in known])
    gram += model.noise_sd**2 * np.eye(len(known))
    cross = np.array([covariance(model, point, b) for b in known])
    prior = [model.trend.level + model.trend.slope * (t - model.trend.centre) for t in model.log_macs]
    mean = model.trend.level + model.trend.slope * (point[1] - model.trend.centre)
    mean += cross @ np.linalg.solve(gram, model.targets - np.array(prior))
    return mean, covariance(model, point, point) - cross @ np.linalg.solve(gram, cross)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("recipe", [NO_RECIPE, 0, 1])
def test_posterior_is_the_textbook_s(name: KernelName, recipe: int) -> None:
    model = process(name)
    rng = np.random.default_rng(0)
    features, log_macs = rng.uniform(-0.2, 1.2, (9, len(NAMES))), rng.uniform(16, 21, 9)
    mean, variance = model.posterior(features, log_macs, recipe)
    for i, point in enumerate(zip(features, log_macs, strict=True)):
        assert (mean[i], variance[i]) == pytest.approx(slow_posterior(model, (*point, recipe)), abs=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_mean_is_a_line_in_log_macs_plus_structure(name: KernelName) -> None:
    model = process(name)
    features, log_macs = np.random.default_rng(1).random((5, len(NAMES))), np.linspace(16, 20, 5)
    for recipe in (NO_RECIPE, 0, 1):
        intercept, slope = model.line(recipe)
        structure = model.structure_sd**2 * model.kernel.correlate(features, model.features) @ model.weights
        mean, _ = model.posterior(features, log_macs, recipe)
        assert intercept + slope * log_macs + structure == pytest.approx(mean, abs=1e-10)


def test_rows_do_not_depend_on_their_number() -> None:
    model = process()
    features = np.random.default_rng(1).random((9000, len(NAMES)))
    log_macs = np.full(9000, 19.0)
    mean, variance = model.posterior(features, log_macs, 1)
    assert mean.shape == variance.shape == (9000,)
    few = model.posterior(features[-3:], log_macs[-3:], 1)
    assert (mean[-3:], variance[-3:]) == (pytest.approx(few[0]), pytest.approx(few[1]))


def test_no_rows_give_no_predictions() -> None:
    mean, variance = process().posterior(np.empty((0, len(NAMES))), np.empty(0))
    assert mean.shape == variance.shape == (0,)


@pytest.mark.parametrize("name", KERNELS)
def test_single_precision_profile_agrees(name: KernelName) -> None:
    squared = np.concatenate([[0.0], np.geomspace(1e-6, 400, 200)])
    single = (profile_scale(name) * squared).astype(np.float32)
    single[0] = -1e-7  # as rounding leaves it
    profile_in_place(name, single, np.empty_like(single))
    assert single == pytest.approx(profile(name, squared), abs=2e-6)


def test_a_network_is_its_own_nearest() -> None:
    model = process()
    assert model.nearest(model.features) == pytest.approx(0, abs=1e-6)
    assert model.nearest(model.features[:5], recipe=1).min() > 0.1
    assert np.isinf(replace(model, recipes=np.zeros(12, dtype=int)).nearest(model.features, recipe=1)).all()


def test_layouts_share_length_scales_as_named() -> None:
    assert kernel_layout("matern", NAMES).scale_of == (0, 1, 2, 1, 3, 1, 1)
    assert kernel_layout("matern-ard", NAMES).scale_of == tuple(range(7))
    assert kernel_layout("rbf", NAMES).scale_of == (0,) * 7
    assert kernel_layout("additive", NAMES).parts == ((0,), (1,), (2, 3, 4), (5,), (6,))


def test_unknown_kernel_lists_the_known() -> None:
    with pytest.raises(ValueError, match="matern, matern-ard, additive, sum, rbf"):
        kernel_layout("cosine", NAMES)  # type: ignore[arg-type]
