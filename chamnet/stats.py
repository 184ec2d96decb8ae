"""Summaries of raw samples."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["bootstrap_error", "kendall_tau", "median", "split_half", "t95"]

_RESAMPLES = 200
# 95 % quantile of Student's t by degrees of freedom; the last holds for more
_T95 = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81, 1.80)


def median(samples: Sequence[float]) -> float:
    """Return the middle value, or the mean of the two in the middle.

    Raises:
        ValueError: There are no samples.

    >>> median([5, 1, 3])
    3.0
    """
    if not len(samples):
        raise ValueError("no samples have no median")
    return float(np.median(np.asarray(samples)))


def bootstrap_error(samples: Sequence[float], *, seed: int = 0) -> float | None:
    """Return the relative standard error of the median, by resampling [Efron1979]; None below three samples.

    Meant for the medians of visits: samples of one visit share its moment, and say nothing about another one.

    [Efron1979]: Bootstrap Methods: Another Look at the Jackknife. Annals of Statistics 7.
    """
    if len(samples) < 3:
        return None
    values = np.asarray(samples, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(values), size=(_RESAMPLES, len(values)))
    return float(np.median(values[drawn], axis=1).std() / abs(np.median(values)))


def kendall_tau(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return Kendall's rank correlation of two lists of numbers, ties accounted for (tau-b); 0 where all are tied.

    >>> kendall_tau([1, 2, 3, 4], [10, 20, 40, 30])
    0.6666666666666666
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    upper = np.triu_indices(len(first), 1)
    one, other = np.sign(first[:, None] - first)[upper], np.sign(second[:, None] - second)[upper]
    untied = np.sqrt(np.count_nonzero(one) * np.count_nonzero(other))
    return float((one * other).sum() / untied) if untied else 0.0


def split_half(samples: Sequence[float]) -> float:
    """Return how far the medians of odd and even samples differ, relative to their mean.

    >>> split_half([1.0, 3.0, 1.0, 3.0])
    1.0
    """
    odd = median(samples[::2])
    even = median(samples[1::2] or samples)
    return abs(odd - even) / ((odd + even) / 2)


def t95(freedom: int) -> float:
    """Return the 95 % quantile of Student's t: the half-width of a 90 % interval in standard deviations.

    >>> t95(8)
    1.86
    """
    return _T95[min(max(freedom, 1), len(_T95)) - 1]
