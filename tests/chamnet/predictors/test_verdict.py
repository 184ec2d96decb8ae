import json
import math
from dataclasses import replace
from statistics import median
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from scipy.stats import norm, spearmanr

from chamnet.predictors.verdict import Judged, Known, TruthNoise, judge, wilson_interval


def judged(name: str = "net", error: float = 0.0, **changed: Any) -> Judged:
    """A network of 2 ms, predicted with an error and an interval of 5 %."""
    facts = {
        "name": name,
        "group": "random",
        "macs": 200_000_000,
        "weight_bytes": 8_000_000,
        "visits_ms": (2.0, 2.0),
        "predicted_ms": 2 * (1 + error),
        "low_ms": 1.9 * (1 + error),
        "high_ms": 2.1 * (1 + error),
        "coverage": {"measured": 0.25, "interpolated": 0.75, "missing": 0.0},
    }
    return Judged(**(facts | changed))  # type: ignore[arg-type]


def random_networks(count: int, seed: int = 0) -> list[Judged]:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        macs, weight_bytes = int(rng.uniform(2e7, 7e8)), int(rng.uniform(2e6, 2e7))
        truth_ms = (0.3 + macs / 1e8 + weight_bytes / 1e7) * math.exp(rng.normal(0, 0.1))
        predicted_ms = truth_ms * math.exp(rng.normal(0, 0.03))
        made.append(
            judged(
                f"net{i}",
                macs=macs,
                weight_bytes=weight_bytes,
                visits_ms=tuple((truth_ms * np.exp(rng.normal(0, 0.02, 30))).tolist()),
                predicted_ms=predicted_ms,
                low_ms=0.95 * predicted_ms,
                high_ms=1.06 * predicted_ms,
                sums_ms={"isolated operators": 1.3 * truth_ms * math.exp(rng.normal(0, 0.1))},
            )
        )
    return made


def known(networks: list[Judged]) -> list[Known]:
    return [
        Known(macs=n.macs, weight_bytes=n.weight_bytes, measured_ms=n.measured_ms, sums_ms=n.sums_ms)
        for n in networks
    ]


def test_errors_computed_by_hand() -> None:
    errors = {"a": 0.02, "b": -0.04, "c": 0.08, "d": -0.20}
    verdict = judge([judged(name, error) for name, error in errors.items()], []).whole.predictor
    assert (verdict.count, verdict.within_5, verdict.within_10) == (4, 0.5, 0.75)
    assert verdict.mape == pytest.approx(0.085)
    assert verdict.bias == pytest.approx(-0.035)
    assert verdict.median_error == pytest.approx(0.06)
    assert verdict.rms == pytest.approx(math.sqrt((0.02**2 + 0.04**2 + 0.08**2 + 0.2**2) / 4))
    assert (verdict.worst, verdict.worst_name) == (pytest.approx(-0.20), "d")
    assert verdict.spearman is None  # all four take 2 ms


def test_split_half_takes_odd_against_even_visits() -> None:
    network = judged(visits_ms=(1.0, 2.0, 1.2, 2.4, 1.1))
    odd, even = median([1.0, 1.2, 1.1]), median([2.0, 2.4])
    assert network.split_half == pytest.approx((even - odd) / ((odd + even) / 2))
    assert network.measured_ms == 1.2


def test_noise_of_the_truth() -> None:
    quiet, loud = judged("quiet", visits_ms=(1.99, 2.01)), judged("loud", visits_ms=(1.9, 2.1))
    noise = TruthNoise.of([quiet, loud])
    assert (noise.mean, noise.worst, noise.worst_name) == (
        pytest.approx(0.055),
        pytest.approx(0.1),
        "loud",
    )
    assert noise.deviation == pytest.approx(math.sqrt((0.01**2 + 0.1**2) / 2) / 2)


def test_half_the_rms_difference_is_the_error_of_a_median() -> None:
    rng = np.random.default_rng(1)
    visits = np.exp(rng.normal(0, 0.05, (3000, 40)))
    noise = TruthNoise.of([judged(visits_ms=tuple(row)) for row in visits.tolist()])
    assert noise.deviation == pytest.approx(np.median(visits, axis=1).std(), rel=0.06)


def test_excess_is_what_a_noisy_truth_does_not_explain() -> None:
    rng = np.random.default_rng(2)
    networks = []
    for error in rng.normal(0, 0.03, 2000):
        predicted_ms = 2 * (1 + error)
        visits_ms = tuple((2 * np.exp(rng.normal(0, 0.1, 20))).tolist())
        networks.append(judged(visits_ms=visits_ms, predicted_ms=predicted_ms))
    verdict = judge(networks, []).whole.predictor
    assert verdict.rms > 0.038
    assert verdict.excess == pytest.approx(0.03, rel=0.06)


def test_no_excess_where_the_truth_explains_the_error() -> None:
    assert judge([judged(error=0.01, visits_ms=(1.9, 2.1))], []).whole.predictor.excess == 0


@pytest.mark.parametrize(("inside", "count"), [(0, 20), (9, 10), (183, 200), (34, 34)])
def test_wilson_interval_is_where_the_score_test_just_passes(inside: int, count: int) -> None:
    share, z = inside / count, norm.ppf(0.975)

    def score(p: float) -> float:
        return float(abs(share - p) - z * math.sqrt(p * (1 - p) / count))

    low = brentq(score, 1e-12, min(share, 1 - 1e-6)) if inside else 0.0
    high = brentq(score, max(share, 1e-6), 1 - 1e-12) if inside < count else 1.0
    assert wilson_interval(inside, count) == pytest.approx((low, high), abs=1e-6)


def test_interval_coverage() -> None:
    networks = [judged(error=0.0)] * 9 + [judged(error=0.2)]
    interval = judge(networks, []).whole.predictor.interval
    assert interval is not None
    assert (interval.inside, interval.share, interval.consistent) == (9, 0.9, True)
    assert (interval.low, interval.high) == wilson_interval(9, 10)
    assert interval.half_width == pytest.approx(0.05)
    missed = judge([judged(error=0.2)] * 10, []).whole.predictor.interval
    assert missed is not None
    assert not missed.consistent


@pytest.mark.parametrize("weights", [False, True])
def test_counts_are_fitted_by_relative_error(weights: bool) -> None:
    networks, calibration = random_networks(50), known(random_networks(10, seed=1))

    def priced(network: Judged | Known, x: Any) -> float:
        return float(x[0] * network.macs / 1e8 + x[1] + (x[2] * network.weight_bytes / 1e7 if weights else 0))

    def loss(x: Any) -> float:
        return sum((priced(each, x) / each.measured_ms - 1) ** 2 for each in calibration)

    slow = minimize(
        loss, [1.0] * (2 + weights), method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14}
    )
    errors = [priced(each, slow.x) / each.measured_ms - 1 for each in networks]
    baseline = judge(networks, calibration).whole.baselines[int(weights)]
    assert baseline.name == ("MACs and weight bytes" if weights else "MACs")
    assert baseline.mape == pytest.approx(np.abs(errors).mean(), rel=1e-4)
    assert baseline.bias == pytest.approx(np.mean(errors), abs=1e-5)
    assert baseline.interval is None


def test_sums_are_judged_as_they_are_and_with_one_scale() -> None:
    networks, calibration = random_networks(50), known(random_networks(10, seed=1))
    raw, scaled = judge(networks, calibration).whole.baselines[2:]
    assert (raw.name, scaled.name) == ("sum of isolated operators", "sum of isolated operators, scaled")
    sums = np.array([each.sums_ms["isolated operators"] / each.measured_ms for each in networks])
    ratios = np.array([each.sums_ms["isolated operators"] / each.measured_ms for each in calibration])
    assert raw.mape == pytest.approx(np.abs(sums - 1).mean())
    scale = ratios.sum() / (ratios**2).sum()  # where the derivative of sum((scale * ratio - 1)^2) is zero
    assert scaled.mape == pytest.approx(np.abs(scale * sums - 1).mean())


def test_baselines_that_the_known_networks_do_not_determine_are_left_out() -> None:
    networks, calibration = random_networks(5), known(random_networks(10, seed=1))
    names = [
        [each.name for each in judge(networks, calibration[:count]).whole.baselines] for count in range(4)
    ]
    sums = ["sum of isolated operators", "sum of isolated operators, scaled"]
    assert names == [sums[:1], sums, ["MACs", *sums], ["MACs", "MACs and weight bytes", *sums]]
    twins = judge(networks, [calibration[0]] * 3).whole.baselines
    assert [each.name for each in twins] == sums


def test_a_sum_that_some_network_lacks_is_left_out() -> None:
    networks = [*random_networks(3), judged()]
    assert [each.name for each in judge(networks, known(networks)).whole.baselines] == [
        "MACs",
        "MACs and weight bytes",
    ]


def test_size_classes_stand_on_their_own_networks() -> None:
    networks, calibration = random_networks(60), known(random_networks(10, seed=1))
    report = judge(networks, calibration)
    assert [each.name for each in report.classes] == ["all", "under 100 MMACs", "100 MMACs and over"]
    small = [each for each in networks if each.macs < 100_000_000]
    alone = judge(small, calibration)
    assert report.classes[1] == replace(alone.whole, name="under 100 MMACs")
    assert [each.name for each in alone.classes] == ["all", "under 100 MMACs"]
    assert sum(each.predictor.count for each in report.classes[1:]) == 60
    border = judge([judged(macs=100_000_000)], [])
    assert [each.name for each in border.classes] == ["all", "100 MMACs and over"]


def test_improvement_is_over_the_best_baseline_without_measured_units() -> None:
    whole = judge(random_networks(50), known(random_networks(10, seed=1))).whole
    counted = {each.name: each.mape for each in whole.baselines[:2]}
    assert whole.best_counted == min(counted, key=counted.__getitem__)
    assert whole.improvement == pytest.approx(min(counted.values()) / whole.predictor.mape)
    perfect = judge([judged()], known(random_networks(10))).whole
    assert perfect.improvement is None
    assert judge([judged(error=0.1)], []).whole.improvement is None


def test_spearman_equals_scipys() -> None:
    networks = random_networks(40)
    networks = [replace(each, predicted_ms=round(each.predicted_ms, 0) + 1) for each in networks]  # with ties
    expected = spearmanr([n.predicted_ms for n in networks], [n.measured_ms for n in networks]).statistic
    assert judge(networks, []).whole.predictor.spearman == pytest.approx(expected)


def test_report_tells_groups_known_networks_and_mean_coverage() -> None:
    missing = {"measured": 0.0, "missing": 1.0}
    networks = [judged(), judged(group="published", coverage=missing)]
    report = judge(networks, known(random_networks(7)))
    assert (report.groups, report.known) == (("published", "random"), 7)
    assert report.coverage == {"measured": 0.125, "interpolated": 0.375, "missing": 0.5}


def test_json_is_plain_data() -> None:
    report = judge(random_networks(20), known(random_networks(10, seed=1))).to_json()
    read = json.loads(json.dumps(report, allow_nan=False))
    assert read["classes"][0]["predictor"]["interval"]["inside"] <= 20
    assert [each["name"] for each in read["classes"][0]["baselines"]][:2] == ["MACs", "MACs and weight bytes"]
    network = judged(error=0.1, sums_ms=MappingProxyType({"isolated blocks": 1.5}))
    read = json.loads(json.dumps(network.to_json(), allow_nan=False))
    assert (read["error"], read["measured_ms"], read["split_half"]) == (pytest.approx(0.1), 2.0, 0.0)
    assert (read["visits_ms"], read["sums_ms"]) == ([2.0, 2.0], {"isolated blocks": 1.5})


def test_nothing_to_judge_is_refused() -> None:
    with pytest.raises(ValueError, match="no networks"):
        judge([], known(random_networks(10)))


@pytest.mark.parametrize(
    "changed",
    [
        {"visits_ms": (2.0,)},
        {"visits_ms": (2.0, 0.0)},
        {"predicted_ms": math.nan},
        {"low_ms": -1.0},
        {"macs": 0},
    ],
)
def test_numbers_that_no_error_can_be_taken_of_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="net"):
        judged(**changed)
