"""Noise between seeds, learned from networks that were trained with several."""

import numpy as np
import pytest

from chamnet.predictors.seeds import SeedNoise, learn_seed_noise


def repeated(networks: int, slope: float, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log errors, names and recipes of networks trained twice with each of two recipes."""
    rng = np.random.default_rng(0)
    level = np.repeat(rng.uniform(-3, -1, networks), 4)
    recipes = np.tile([0, 0, 1, 1], networks)
    deviation = 0.01 * np.exp(0.5 * slope * (level + 2)) * np.where(recipes == 1, factor, 1.0)
    return level + rng.normal(0, deviation), np.repeat(np.arange(networks), 4), recipes


def test_few_repeats_tell_nothing() -> None:
    value, names, recipes = repeated(2, 2.0)
    assert learn_seed_noise(value, names, recipes) == SeedNoise()
    assert learn_seed_noise(np.zeros(3), ["a", "b", "c"], np.zeros(3, dtype=np.int64)) == SeedNoise()


@pytest.mark.parametrize("slope", [-1.0, 0.0, 2.0])
def test_many_repeats_tell_how_noise_grows(slope: float) -> None:
    noise = learn_seed_noise(*repeated(200, slope))
    assert noise.slope == pytest.approx(slope, abs=0.35)


def test_a_noisier_recipe_is_found() -> None:
    noise = learn_seed_noise(*repeated(200, 0.0, factor=2.0))
    at = np.full(2, -2.0)
    noisy, calm = noise.relative(at, [1, 0])
    assert np.sqrt(noisy / calm) == pytest.approx(2.0, rel=0.2)


def test_a_handful_keeps_to_what_is_usual() -> None:
    value, names, recipes = repeated(6, -8.0)
    assert learn_seed_noise(value, names, recipes).slope > -4


def test_networks_without_any_spread_do_no_harm() -> None:
    value, names, recipes = repeated(10, 0.0)
    value[::2] = value[1::2]
    assert np.isfinite(learn_seed_noise(value, names, recipes).slope)


def test_relative_variances() -> None:
    noise = SeedNoise(slope=1.0, centre=-2.0, shifts=(0.0, 1.0))
    assert noise.relative(np.array([-2.0, -2.0, -1.0, -2.0]), [0, 1, 0, 7]) == pytest.approx(
        [1, np.e, np.e, 1]
    )
    assert SeedNoise().relative(np.array([-5.0, 3.0]), 4) == pytest.approx([1, 1])
    assert SeedNoise.from_dict(noise.to_dict()) == noise
