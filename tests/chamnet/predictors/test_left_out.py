"""What leaving networks out says of a predictor."""

from dataclasses import replace

import numpy as np
import pytest

from chamnet.predictors import AccuracyPredictor
from chamnet.predictors.left_out import leave_out

SHIPPED = AccuracyPredictor.load()


def test_every_network_is_left_out_once() -> None:
    left_out = leave_out(SHIPPED)
    assert [each.name for each in left_out.networks] == list(SHIPPED.pool.names)
    assert {name: quality.count for name, quality in left_out.recipes.items()} == {
        "chamnet": 6,
        "mobilenet-v2": 22,
    }
    assert left_out.seed_sd is None


def test_predictions_are_those_of_a_model_without_the_network() -> None:
    left_out = leave_out(SHIPPED)
    model, pool = SHIPPED.model, SHIPPED.pool
    for row in (0, 9):
        others = np.delete(np.arange(len(pool)), row)
        part = model.on(
            pool.features[others], pool.log_macs[others], pool.log_error[others], pool.recipe_numbers[others]
        )
        one = replace(SHIPPED, model=part, pool=pool.subset(others))
        mean, _ = one.model.posterior(
            pool.features[[row]], pool.log_macs[[row]], int(pool.recipe_numbers[row])
        )
        assert left_out.networks[row].predicted == pytest.approx(100.5 - np.exp(-mean[0]), abs=1e-6)
        assert left_out.networks[row].low < left_out.networks[row].predicted < left_out.networks[row].high


def test_seeds_of_a_network_are_one_point() -> None:
    twice = SHIPPED.pool.subset([*range(28), 3, 4])
    twice = replace(twice, top1=twice.top1 + np.array([*[0.0] * 28, 0.4, -0.4]))
    model = SHIPPED.model.on(twice.features, twice.log_macs, twice.log_error, twice.recipe_numbers)
    left_out = leave_out(replace(SHIPPED, pool=twice, model=model))
    assert len(left_out.networks) == 28
    assert left_out.networks[3].seeds == 2
    assert left_out.networks[3].top1 == pytest.approx(twice.top1[3] + 0.2)
    assert left_out.seed_sd == pytest.approx(0.4 / np.sqrt(2))


def test_the_learning_curve_ends_before_the_pool_does() -> None:
    learning = leave_out(SHIPPED).learning
    assert list(learning) == [10, 20]
    assert leave_out(SHIPPED, seed=0).learning == learning
