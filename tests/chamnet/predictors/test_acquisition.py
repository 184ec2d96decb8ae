"""What is trained next."""

from dataclasses import replace

import numpy as np
import pytest

from chamnet.errors import ConfigError
from chamnet.predictors.acquisition import ACQUISITIONS, Candidates, expected_regret, macs_levels, pick
from chamnet.predictors.gp import GaussianProcess, Kernel, Trend

RNG = np.random.default_rng(0)
FEATURES = np.random.default_rng(1).random((200, 3))
LOG_MACS = 12 + FEATURES.sum(axis=1)
TRUTH = -2.6 + 0.2 * (LOG_MACS - 13) + 0.1 * np.sin(5 * FEATURES[:, 0])


def model_of(rows: np.ndarray) -> GaussianProcess:
    return GaussianProcess(
        kernel=Kernel(name="matern", scales=np.full(3, 0.5), parts=((0, 1, 2),)),
        trend=Trend(centre=13.5, level=-2.5, level_sd=0.3, slope=0.2, slope_sd=0.1),
        structure_sd=0.1,
        offset_sd=0.05,
        noise_sd=0.01,
        features=FEATURES[rows],
        log_macs=LOG_MACS[rows],
        targets=TRUTH[rows],
        recipes=np.zeros(len(rows), dtype=np.int64),
    )


@pytest.fixture
def rows() -> np.ndarray:
    return np.arange(0, 200, 8)


@pytest.fixture
def candidates(rows: np.ndarray) -> Candidates:
    return Candidates(FEATURES, LOG_MACS, np.isin(np.arange(200), rows))


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_nothing_is_trained_twice(name: str, rows: np.ndarray, candidates: Candidates) -> None:
    model, trained = model_of(rows), candidates.trained.copy()
    for turn in range(175):
        row = pick(name, model, replace(candidates, trained=trained), turn=turn, rng=RNG)  # type: ignore[arg-type]
        assert row is not None
        assert not trained[row]
        trained[row] = True
    assert pick(name, model, replace(candidates, trained=trained), turn=175, rng=RNG) is None  # type: ignore[arg-type]


def test_every_level_of_macs_has_its_turn(rows: np.ndarray, candidates: Candidates) -> None:
    levels = macs_levels(LOG_MACS)
    for turn in range(10):
        row = pick("budget-ei", model_of(rows), candidates, turn=turn, rng=RNG)
        assert row is not None
        assert LOG_MACS[row] <= levels[turn] + 1e-9


def test_improvement_agrees_with_sampling(rows: np.ndarray, candidates: Candidates) -> None:
    model = model_of(rows)
    row = pick("budget-ei", model, candidates, turn=9, rng=RNG)
    mean, variance = model.posterior(FEATURES, LOG_MACS, 0)
    best = mean[rows].max()
    draws = np.random.default_rng(2).standard_normal((4000, 1))
    gain = np.maximum(mean + np.sqrt(variance) * draws - best, 0).mean(axis=0)
    gain[rows] = -1
    assert row == np.argmax(gain)


def test_the_paper_explores_and_exploits_by_turns_in_every_subspace(
    rows: np.ndarray, candidates: Candidates
) -> None:
    model = model_of(rows)
    edges = np.linspace(LOG_MACS.min(), LOG_MACS.max(), 9)
    _, variance = model.posterior(FEATURES, LOG_MACS, 0)
    picked = [pick("paper", model, candidates, turn=turn, rng=RNG) for turn in range(16)]
    parts = [int(np.searchsorted(edges[1:-1], LOG_MACS[row])) for row in picked if row is not None]
    assert parts == [part for part in range(8) for _ in range(2)]
    for turn in (0, 6, 14):
        within = [
            i
            for i in range(200)
            if np.searchsorted(edges[1:-1], LOG_MACS[i]) == parts[turn] and i not in rows
        ]
        assert picked[turn] == within[int(np.argmax(variance[within]))]


def test_believing_keeps_means_and_lowers_doubt_nearby(rows: np.ndarray) -> None:
    model = model_of(rows)
    before_mean, before = model.posterior(FEATURES, LOG_MACS, 0)
    after_mean, after = model.believing(FEATURES[[5]], LOG_MACS[[5]], 0).posterior(FEATURES, LOG_MACS, 0)
    assert after_mean == pytest.approx(before_mean, abs=1e-8)
    assert after[5] < 0.2 * before[5]
    assert (after <= before + 1e-12).all()


def test_expected_regret_falls_as_more_is_known(candidates: Candidates) -> None:
    few, many = (
        expected_regret(model_of(np.arange(0, 200, step)), candidates, rng=np.random.default_rng(0))
        for step in (20, 2)
    )
    assert 0 <= many < few


def test_joint_agrees_with_posterior(rows: np.ndarray) -> None:
    mean, variance = model_of(rows).posterior(FEATURES, LOG_MACS, 0)
    joint_mean, covariance = model_of(rows).joint(FEATURES, LOG_MACS, 0)
    assert joint_mean == pytest.approx(mean, abs=1e-9)
    assert np.diag(covariance) == pytest.approx(variance, abs=1e-9)


def test_leaving_out_agrees_with_leaving_out(rows: np.ndarray) -> None:
    rows = np.concatenate([rows, rows[:3]])  # three networks with a second seed
    model = model_of(rows)
    model = replace(model, targets=model.targets + np.random.default_rng(3).normal(0, 0.01, len(rows)))
    left_out, variances = model.left_out(rows)
    for row in rows[[0, 2, 7]]:
        others = rows != row
        part = model.on(
            model.features[others], model.log_macs[others], model.targets[others], model.recipes[others]
        )
        mean, variance = part.posterior(FEATURES[[row]], LOG_MACS[[row]], 0)
        assert left_out[~others] == pytest.approx(np.repeat(mean, (~others).sum()), abs=1e-9)
        assert variances[~others] == pytest.approx(variance[0] + model.noise_sd**2, rel=1e-6)


def test_unknown_names(rows: np.ndarray, candidates: Candidates) -> None:
    with pytest.raises(ConfigError, match="known: budget-ei, paper, random"):
        pick("ucb", model_of(rows), candidates, turn=0, rng=RNG)  # type: ignore[arg-type]
