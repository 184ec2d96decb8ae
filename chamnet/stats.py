"""Summaries of raw samples."""

from collections.abc import Sequence

import numpy as np

__all__ = ["median"]


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
