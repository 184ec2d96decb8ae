"""Gaussian processes over whole networks, for tens of measurements: fitted, asked and saved with numpy alone.

A network is the numbers of its architecture (`Structure`), and the trend is linear in the logarithm of its MACs. The numbers of
the model are the likeliest of a grid, under weak priors: with few networks the likelihood alone is flat.

References:
    [Dai2019] ChamNet: Towards Efficient Network Design through Platform-Aware Model Adaptation. CVPR 2019, section 3.3.
    [Rasmussen2006] Gaussian Processes for Machine Learning. MIT Press 2006.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from chamnet.predictors.gp import GaussianProcess, Kernel, KernelName, Trend, profile

__all__ = [
    "ENERGY",
    "RESIDUAL",
    "ProcessPrior",
    "explore",
    "fit_process",
    "pack_process",
    "prior_process",
    "unpack_process",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

_LENGTHS = (0.3, 0.6, 1.0, 1.8, 3.2)  # in root-mean-square distances of random networks
_NOISES = (0.003, 0.01, 0.02, 0.04, 0.08)  # in log of the target
_ROUNDS = 3
_DOUBT = 1.0  # standard deviation of the log of a number's prior, around the middle of its grid


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPrior:
    """What is known of a quantity before any network was measured, in log.

    Attributes:
        kernel: Of the structure.
        level_sd: How far its level may lie from what was measured first.
        slope, slope_sd: Per log-MACs.
        structure: Standard deviations of the structure's part, tried.
    """

    kernel: KernelName
    level_sd: float
    slope: float
    slope_sd: float
    structure: tuple[float, ...]


# The paper's regressor: an isotropic RBF kernel over whole networks [Dai2019]_.
ENERGY = ProcessPrior(
    kernel="rbf", level_sd=2.0, slope=0.8, slope_sd=0.4, structure=(0.05, 0.1, 0.2, 0.4, 0.8)
)
# What a sum over units leaves over.
RESIDUAL = ProcessPrior(
    kernel="matern", level_sd=0.1, slope=0.0, slope_sd=0.05, structure=(0.005, 0.015, 0.04, 0.1, 0.25)
)


def fit_process(
    features: FloatArray, log_macs: FloatArray, targets: FloatArray, prior: ProcessPrior
) -> GaussianProcess:
    """Return the process that is likeliest after some networks.

    Args:
        features: Numbers of the networks scaled to [0, 1], shape `n x d`.
        log_macs: Shape `n`.
        targets: Logs of what was measured, shape `n`.
        prior: Of the quantity.
    """
    unit = _distance(features.shape[1])
    choices = (tuple(unit * length for length in _LENGTHS), prior.structure, _NOISES)
    chosen = [values[len(values) // 2] for values in choices]
    centre = np.log(chosen)
    squared = ((features[:, None] - features) ** 2).sum(axis=-1)
    trend = _trend(log_macs, targets, prior)

    def score(numbers: Sequence[float]) -> float:
        length, structure_sd, noise_sd = numbers
        correlation = profile(prior.kernel, squared / length**2)
        doubt = (((np.log(numbers) - centre) / _DOUBT) ** 2).sum() / 2
        return _log_likelihood(trend, log_macs, targets, structure_sd**2 * correlation, noise_sd) - float(
            doubt
        )

    best = score(chosen)
    for _ in range(_ROUNDS):
        before = best
        for number, values in enumerate(choices):
            for value in values:
                tried = [*chosen[:number], value, *chosen[number + 1 :]]
                if value != chosen[number] and (found := score(tried)) > best:
                    best, chosen = found, tried
        if best == before:
            break
    return _process(features, log_macs, targets, trend, prior.kernel, *chosen)


def prior_process(features: FloatArray, log_macs: FloatArray, prior: ProcessPrior) -> GaussianProcess:
    """Return the process with the middle numbers of its prior, as if networks had come to what was expected.

    For exploring where too little was measured to choose numbers by.

    Args:
        features: Of the networks, shape `n x d`.
        log_macs: Shape `n`.
        prior: Of the quantity.
    """
    length, structure_sd, noise_sd = (
        values[len(values) // 2] for values in (_LENGTHS, prior.structure, _NOISES)
    )
    length *= _distance(features.shape[1])
    targets = prior.slope * log_macs
    trend = _trend(log_macs, targets, prior)
    return _process(features, log_macs, targets, trend, prior.kernel, length, structure_sd, noise_sd)


def explore(
    process: GaussianProcess, features: FloatArray, log_macs: FloatArray, count: int, *, known: BoolArray
) -> list[int]:
    """Return the rows to measure next: each the one of highest uncertainty once those before it are known.

    Energy is to be known everywhere, so nothing is exploited: exploration only [Dai2019]_.

    Args:
        process: Fitted to what is known.
        features: Of the networks to choose from, shape `n x d`.
        log_macs: Shape `n`.
        count: How many; fewer where the pool has fewer.
        known: Which of them need no measuring, shape `n`.
    """
    picked: list[int] = []
    left = ~known
    while len(picked) < count and left.any():
        rows = np.flatnonzero(left)
        _, variance = process.posterior(features[rows], log_macs[rows])
        row = int(rows[int(np.argmax(np.round(variance, 12)))])
        picked.append(row)
        left[row] = False
        process = process.believing(features[[row]], log_macs[[row]], 0)
    return picked


def _distance(count: int) -> float:
    """Return the root-mean-square distance of two random networks of so many numbers in [0, 1]."""
    return float(np.sqrt(max(count, 1) / 6))


def _trend(log_macs: FloatArray, targets: FloatArray, prior: ProcessPrior) -> Trend:
    centre = float(log_macs.mean())
    level = float((targets - prior.slope * (log_macs - centre)).mean()) if prior.slope else 0.0
    return Trend(
        centre=centre, level=level, level_sd=prior.level_sd, slope=prior.slope, slope_sd=prior.slope_sd
    )


def _process(
    features: FloatArray,
    log_macs: FloatArray,
    targets: FloatArray,
    trend: Trend,
    kernel: KernelName,
    length: float,
    structure_sd: float,
    noise_sd: float,
) -> GaussianProcess:
    count = features.shape[1]
    return GaussianProcess(
        kernel=Kernel(name=kernel, scales=np.full(count, length), parts=(tuple(range(count)),)),
        trend=trend,
        structure_sd=structure_sd,
        offset_sd=0.0,
        noise_sd=noise_sd,
        features=features,
        log_macs=log_macs,
        targets=targets,
        recipes=np.zeros(len(targets), dtype=np.int64),
    )


def _log_likelihood(
    trend: Trend, log_macs: FloatArray, targets: FloatArray, structure: FloatArray, noise_sd: float
) -> float:
    """Return eq. 5.8 of [Rasmussen2006]_ without its constant; `structure` is the covariance without trend and noise."""
    away = log_macs - trend.centre
    covariance = structure + trend.level_sd**2 + trend.slope_sd**2 * np.outer(away, away)
    covariance[np.diag_indices_from(covariance)] += noise_sd**2
    root = np.linalg.cholesky(covariance)
    rest = targets - trend.level - trend.slope * away
    return float(-0.5 * (np.linalg.solve(root, rest) ** 2).sum() - np.log(np.diag(root)).sum())


def pack_process(process: GaussianProcess) -> dict[str, npt.NDArray[np.generic]]:
    """Return a process as plain arrays; `unpack_process` reads them back."""
    facts = json.dumps(
        {
            "kernel": process.kernel.name,
            "trend": asdict(process.trend),
            "structure_sd": process.structure_sd,
            "noise_sd": process.noise_sd,
        }
    )
    return {
        "scales": process.kernel.scales,
        "features": process.features,
        "log_macs": process.log_macs,
        "targets": process.targets,
        "facts": np.frombuffer(facts.encode(), dtype=np.uint8),
    }


def unpack_process(arrays: Mapping[str, npt.NDArray[np.generic]]) -> GaussianProcess:
    """Read what `pack_process` gave."""
    facts = json.loads(arrays["facts"].tobytes())
    held = {
        name: np.asarray(arrays[name], dtype=np.float64)
        for name in ("scales", "features", "log_macs", "targets")
    }
    scales = held["scales"]
    return GaussianProcess(
        kernel=Kernel(name=facts["kernel"], scales=scales, parts=(tuple(range(len(scales))),)),
        trend=Trend(**facts["trend"]),
        structure_sd=facts["structure_sd"],
        offset_sd=0.0,
        noise_sd=facts["noise_sd"],
        features=held["features"],
        log_macs=held["log_macs"],
        targets=held["targets"],
        recipes=np.zeros(len(held["targets"]), dtype=np.int64),
    )
