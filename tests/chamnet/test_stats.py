import numpy as np
import pytest

from chamnet.stats import bootstrap_error, kendall_tau, median, split_half


def test_median_needs_samples() -> None:
    assert median((3, 1, 2)) == 2
    assert median((4, 1, 2, 3)) == 2.5
    with pytest.raises(ValueError, match="no samples"):
        median(())


@pytest.mark.parametrize("samples", [(), (1.0,), (1.0, 2.0)])
def test_two_visits_have_no_error_yet(samples: tuple[float, ...]) -> None:
    assert bootstrap_error(samples) is None


def test_the_error_is_that_of_the_median() -> None:
    # of normal samples it is sqrt(pi / 2) of the mean's: the median over many sets, for each is noisy itself
    rng = np.random.default_rng(0)
    errors = [bootstrap_error(rng.normal(5.0, 0.5, 101).tolist()) for _ in range(40)]
    assert np.median(np.array(errors, dtype=float)) == pytest.approx(
        np.sqrt(np.pi / 2) * 0.1 / np.sqrt(101), rel=0.15
    )


def test_the_error_is_relative_and_repeats() -> None:
    samples = np.random.default_rng(1).normal(5.0, 0.5, 20)
    error = bootstrap_error(samples.tolist())
    assert error == bootstrap_error(samples.tolist())
    assert error == pytest.approx(bootstrap_error((1_000 * samples).tolist()))
    assert bootstrap_error([2.0] * 5) == 0


def test_one_outlier_hardly_counts() -> None:
    calm = np.random.default_rng(2).normal(1.0, 0.01, 30).tolist()
    error = bootstrap_error([*calm, 40.0])
    assert error is not None
    assert error < 0.01


def test_halves_that_agree_differ_by_nothing() -> None:
    assert split_half([2.0, 2.0, 2.0]) == 0
    assert split_half([1.0, 3.0, 1.0, 3.0]) == 1
    assert split_half([7.0]) == 0


def test_kendall_tau_agrees_with_scipy() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.integers(0, 6, (2, 30))  # with ties
        assert kendall_tau(a, b) == pytest.approx(scipy_stats.kendalltau(a, b).statistic)
    assert kendall_tau([1, 1, 1], [1, 2, 3]) == 0
