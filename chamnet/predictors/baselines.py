"""What a latency predictor must beat: networks priced by counts alone, and by naive sums of measured parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["COUNTED", "Known", "Priced", "baselines_ms"]

FloatArray = npt.NDArray[np.float64]

COUNTED = ("MACs", "MACs and weight bytes")  # baselines for which no unit was measured


class Priced(Protocol):
    """A network with what baselines go by."""

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        ...

    @property
    def weight_bytes(self) -> int:
        """Of its weights as stored."""
        ...

    @property
    def sums_ms(self) -> Mapping[str, float]:
        """What naive tables sum up to, not calibrated, by what they measured: `isolated operators`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One calibration network; baselines are fitted to the same ones as the predictor.

    Attributes:
        macs, weight_bytes, sums_ms: As of every priced network.
        measured_ms: Latency, measured whole.
    """

    macs: int
    weight_bytes: int
    measured_ms: float
    sums_ms: Mapping[str, float] = field(default_factory=dict)


def baselines_ms(networks: Sequence[Priced], known: Sequence[Known]) -> dict[str, FloatArray]:
    """Return each baseline's predictions in ms, shape `n`, by its name.

    Fits are least squares of the relative error. A fit that the known networks do not determine is left out, and
    so is a sum that not every network has: all baselines are judged on the same networks.

    Args:
        networks: At least one.
        known: What to fit to.
    """
    found: dict[str, FloatArray] = {}
    for name, weights in zip(COUNTED, (False, True), strict=True):
        coefficients = _fit_relative(_counts(known, weights=weights), known)
        if coefficients is not None:
            found[name] = _counts(networks, weights=weights) @ coefficients
    for name in (name for name in networks[0].sums_ms if all(name in each.sums_ms for each in networks)):
        sums_ms = np.array([each.sums_ms[name] for each in networks])
        found[f"sum of {name}"] = sums_ms
        summed = [each for each in known if name in each.sums_ms]
        scale = _fit_relative(np.array([[each.sums_ms[name]] for each in summed]), summed)
        if scale is not None:
            found[f"sum of {name}, scaled"] = sums_ms * scale[0]
    return found


def _counts(networks: Sequence[Priced], *, weights: bool) -> FloatArray:
    """Return MACs, 1, and weight bytes if asked for, of each network: shape `n x 2` or `n x 3`."""
    columns = [[float(each.macs) for each in networks], [1.0] * len(networks)]
    if weights:
        columns.append([float(each.weight_bytes) for each in networks])
    return np.array(columns).T


def _fit_relative(design: FloatArray, known: Sequence[Known]) -> FloatArray | None:
    """Return the coefficients of least relative error; None where the networks do not determine them."""
    if not len(design) or len(design) < design.shape[1]:
        return None
    relative = design / np.array([each.measured_ms for each in known])[:, None]
    # MACs are a hundred million times an intercept's 1: columns of one length keep the fit exact, the rank telling
    lengths = np.maximum(np.linalg.norm(relative, axis=0), np.finfo(np.float64).tiny)
    solution, _, rank, _ = np.linalg.lstsq(relative / lengths, np.ones(len(design)), rcond=None)
    return np.asarray(solution / lengths) if rank == design.shape[1] else None
