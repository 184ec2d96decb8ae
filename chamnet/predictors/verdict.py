"""How wrong predicted latencies are, on networks that nothing was fitted to. Needs numpy only.

Errors are predicted over measured minus 1, and shares are of 1: 0.03 is 3 %.

[Wilson1927]: E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of the
American Statistical Association 22 (158), 1927, pages 209 to 212. [Brown2001] finds that it keeps its level also
near 0 and 1, where the textbook interval does not: L. D. Brown, T. T. Cai and A. DasGupta, Interval estimation
for a binomial proportion, Statistical Science 16 (2), 2001, pages 101 to 133.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt

from chamnet.predictors.baselines import COUNTED, Known, baselines_ms
from chamnet.predictors.latency import Source
from chamnet.stats import median, split_half

__all__ = [
    "SMALL_MACS",
    "IntervalCoverage",
    "Judged",
    "Known",
    "Report",
    "SizeClass",
    "TruthNoise",
    "Verdict",
    "judge",
    "wilson_interval",
]

FloatArray = npt.NDArray[np.float64]

SMALL_MACS = 100_000_000  # below, the overhead of calls and the state of caches weigh most
NOMINAL = 0.9  # what a prediction's interval promises

_Z95 = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One network measured whole, beside what was predicted for it.

    Attributes:
        name: For people.
        group: Where it comes from, such as `random` or `published`.
        macs: Multiply-adds.
        weight_bytes: Of its weights as stored.
        visits_ms: Median of each visit at the machine's usual speed, in the order they were made; two at least.
        predicted_ms: The prediction.
        low_ms, high_ms: Its 90 % interval.
        coverage: Share of the predicted time by source.
        sums_ms: What naive tables sum up to, not calibrated, by what they measured: `isolated operators`.
    """

    name: str
    group: str
    macs: int
    weight_bytes: int
    visits_ms: tuple[float, ...]
    predicted_ms: float
    low_ms: float
    high_ms: float
    coverage: Mapping[Source, float]
    sums_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check it, so that no verdict divides by zero.

        Raises:
            ValueError: Fewer than two visits, or a number that is not above zero.
        """
        if len(self.visits_ms) < 2:
            raise ValueError(f"{self.name}: {len(self.visits_ms)} visits; the noise of the truth needs two")
        numbers = (self.macs, *self.visits_ms, self.predicted_ms, self.low_ms, self.high_ms)
        if not all(math.isfinite(number) and number > 0 for number in numbers):
            raise ValueError(f"{self.name}: MACs and latencies must be above zero and finite")

    @property
    def measured_ms(self) -> float:
        """Median over visits: the truth."""
        return median(self.visits_ms)

    @property
    def error(self) -> float:
        """Predicted over measured minus 1."""
        return self.predicted_ms / self.measured_ms - 1

    @property
    def split_half(self) -> float:
        """How far the medians of odd and even visits differ, relative to their mean."""
        return split_half(self.visits_ms)

    @property
    def covered(self) -> bool:
        """Whether the interval holds the measured latency."""
        return self.low_ms <= self.measured_ms <= self.high_ms

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, with what follows from it."""
        return {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "coverage": dict(self.coverage),
            "sums_ms": dict(self.sums_ms),
            "measured_ms": self.measured_ms,
            "error": self.error,
            "split_half": self.split_half,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthNoise:
    """How sure the measured latencies themselves are.

    The halves of a network's visits each miss its latency by an error of variance `h`, so their difference `d`
    has variance `2 h`. The median of all visits stands on twice as many and misses by variance `h / 2`, which is
    the variance of `d` over 4: its standard error is half the rms of `d`. Since odd and even visits take turns,
    drift slower than two visits hits both alike and is not seen.

    Attributes:
        mean: Mean over networks of the difference between odd and even visits.
        worst: The largest.
        worst_name: Of which network.
        deviation: Standard error of a network's measured latency.
    """

    mean: float
    worst: float
    worst_name: str
    deviation: float

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> "TruthNoise":
        """Sum up the split halves of networks."""
        halves = [each.split_half for each in judged]
        worst = max(halves)
        return cls(
            mean=mean(halves),
            worst=worst,
            worst_name=judged[halves.index(worst)].name,
            deviation=math.sqrt(mean(half**2 for half in halves)) / 2,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalCoverage:
    """How many networks lie inside the interval predicted for them.

    Attributes:
        inside: How many do.
        share: The same as a share.
        low, high: 95 % binomial interval of the share [Wilson1927].
        consistent: Whether that interval holds what was promised, 90 %.
        half_width: Median half-width of the predicted intervals, relative: wide ones cover easily.
    """

    inside: int
    share: float
    low: float
    high: float
    consistent: bool
    half_width: float

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> "IntervalCoverage":
        """Count the networks inside their interval."""
        inside = sum(each.covered for each in judged)
        low, high = wilson_interval(inside, len(judged))
        return cls(
            inside=inside,
            share=inside / len(judged),
            low=low,
            high=high,
            consistent=low <= NOMINAL <= high,
            half_width=median([(each.high_ms - each.low_ms) / 2 / each.predicted_ms for each in judged]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How wrong one predictor is.

    Attributes:
        name: `predictor`, or the baseline's.
        count: Networks it was judged on.
        mape: Mean absolute error.
        median_error: Median absolute error.
        bias: Mean signed error.
        rms: Root of the mean squared error.
        excess: The part of it that the noise of the truth does not explain.
        within_5, within_10: Share of networks with an error of at most 5 and 10 %.
        worst: Signed error of the worst network.
        worst_name: Which one that is.
        spearman: Rank correlation of predicted and measured; None where all are equal.
        interval: Coverage of the predicted intervals; None of a baseline, which predicts none.
    """

    name: str
    count: int
    mape: float
    median_error: float
    bias: float
    rms: float
    excess: float
    within_5: float
    within_10: float
    worst: float
    worst_name: str
    spearman: float | None
    interval: IntervalCoverage | None = None

    @classmethod
    def of(
        cls,
        name: str,
        judged: Sequence[Judged],
        predicted_ms: FloatArray,
        *,
        noise: TruthNoise,
        interval: IntervalCoverage | None = None,
    ) -> "Verdict":
        """Judge predictions of shape `n`."""
        measured_ms = np.array([each.measured_ms for each in judged])
        errors = predicted_ms / measured_ms - 1
        sizes = np.abs(errors)
        worst = int(sizes.argmax())
        square = float((errors**2).mean())
        return cls(
            name=name,
            count=len(judged),
            mape=float(sizes.mean()),
            median_error=float(np.median(sizes)),
            bias=float(errors.mean()),
            rms=math.sqrt(square),
            excess=math.sqrt(max(0.0, square - noise.deviation**2)),
            within_5=float((sizes <= 0.05).mean()),
            within_10=float((sizes <= 0.10).mean()),
            worst=float(errors[worst]),
            worst_name=judged[worst].name,
            spearman=_spearman(predicted_ms, measured_ms),
            interval=interval,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeClass:
    """The verdicts on networks of one size.

    Attributes:
        name: `all`, `under 100 MMACs` or `100 MMACs and over`.
        noise: Of the truth.
        predictor: The verdict on the predictor.
        baselines: On each baseline, for the same networks.
        best_counted: The baseline of smallest MAPE among those without measured units; None if there is none.
        improvement: Its MAPE over the predictor's.
    """

    name: str
    noise: TruthNoise
    predictor: Verdict
    baselines: tuple[Verdict, ...]
    best_counted: str | None
    improvement: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The verdict on a predictor, and on baselines beside it.

    Attributes:
        classes: All networks first, then those of each size.
        groups: Where the networks come from, sorted.
        known: Networks that the baselines were fitted to.
        coverage: Mean share of the predicted time by source.
    """

    classes: tuple[SizeClass, ...]
    groups: tuple[str, ...]
    known: int
    coverage: dict[Source, float]

    @property
    def whole(self) -> SizeClass:
        """The verdicts on all networks."""
        return self.classes[0]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def judge(judged: Sequence[Judged], known: Sequence[Known]) -> Report:
    """Judge predictions, and baselines fitted to a few known networks, on networks measured whole.

    Args:
        judged: Networks that nothing was fitted to.
        known: Those that the predictor was calibrated on.

    Raises:
        ValueError: No networks to judge.
    """
    if not judged:
        raise ValueError("no networks to judge")
    baselines = baselines_ms(judged, known)
    small = np.array([each.macs < SMALL_MACS for each in judged])
    sizes = {"all": small | ~small, "under 100 MMACs": small, "100 MMACs and over": ~small}
    sources: tuple[Source, ...] = ("measured", "interpolated", "missing")
    return Report(
        classes=tuple(
            _size_class(name, judged, keep, baselines) for name, keep in sizes.items() if keep.any()
        ),
        groups=tuple(sorted({each.group for each in judged})),
        known=len(known),
        coverage={source: mean(each.coverage.get(source, 0.0) for each in judged) for source in sources},
    )


def wilson_interval(inside: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, the score interval of [Wilson1927].

    >>> low, high = wilson_interval(180, 200)
    >>> f"{low:.3f} {high:.3f}"
    '0.851 0.934'
    """
    share, square = inside / count, _Z95**2 / count
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square**2 / 4) / (1 + square)
    return max(0.0, centre - half), min(1.0, centre + half)


def _size_class(
    name: str, judged: Sequence[Judged], keep: npt.NDArray[np.bool_], baselines: Mapping[str, FloatArray]
) -> SizeClass:
    kept = [each for each, wanted in zip(judged, keep.tolist(), strict=True) if wanted]
    noise = TruthNoise.of(kept)
    predicted_ms = np.array([each.predicted_ms for each in kept])
    predictor = Verdict.of("predictor", kept, predicted_ms, noise=noise, interval=IntervalCoverage.of(kept))
    verdicts = tuple(Verdict.of(each, kept, ms[keep], noise=noise) for each, ms in baselines.items())
    best = min((each for each in verdicts if each.name in COUNTED), key=lambda each: each.mape, default=None)
    return SizeClass(
        name=name,
        noise=noise,
        predictor=predictor,
        baselines=verdicts,
        best_counted=best.name if best else None,
        improvement=best.mape / predictor.mape if best and predictor.mape else None,
    )


def _spearman(a: FloatArray, b: FloatArray) -> float | None:
    """Return the correlation of ranks; equal values share their mean rank."""
    ranks = _ranks(a), _ranks(b)
    if min(np.ptp(each) for each in ranks) == 0:
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: FloatArray) -> FloatArray:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts.cumsum() - (counts - 1) / 2)[which], dtype=np.float64)
