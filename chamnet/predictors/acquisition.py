"""What to train next: Bayesian optimisation for a predictor that must serve every budget of every device.

- `budget-ei`: expected improvement [Jones1998]_ over the best trained network within each of several MACs levels in
  turn, one network a level;
- `paper`: as the paper's algorithm is understood [Dai2019]_, the most uncertain network and the one of the highest
  ratio of predicted accuracy to MACs by turns. Alone that ratio picks the smallest networks over and over, so it is
  applied within each sub-space of MACs in turn;
- `random`: any network of the pool.

All work on one pick at a time. Trainings that still run are believed to come to what is predicted for them
(`GaussianProcess.believing`), which keeps the next picks away from them.

References:
    [Jones1998] Efficient Global Optimization of Expensive Black-Box Functions. 1998, eq. 15.
    [Dai2019] ChamNet: Towards Efficient Network Design through Platform-Aware Model Adaptation. CVPR 2019.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from chamnet.errors import ConfigError
from chamnet.predictors.gp import GaussianProcess
from chamnet.predictors.pool import from_log_error
from chamnet.space.qmc import SUBSPACES

__all__ = ["ACQUISITIONS", "AcquisitionName", "Candidates", "expected_regret", "macs_levels", "pick"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

AcquisitionName = Literal["budget-ei", "paper", "random"]
ACQUISITIONS: tuple[AcquisitionName, ...] = get_args(AcquisitionName)
_LEVELS = 10  # of MACs
_CONTENDERS, _SAMPLES = 64, 256  # of the expected regret
_JITTER = 1e-8  # a deviation of 0.0001 in log error, lost in any noise


@dataclass(frozen=True, eq=False)
class Candidates:
    """Networks to pick from, `n` of them.

    Attributes:
        features: Shape `n x d`.
        log_macs: Shape `n`.
        trained: Whether each has been trained, or is being, shape `n`; the others may be picked.
    """

    features: FloatArray
    log_macs: FloatArray
    trained: BoolArray


def pick(
    name: AcquisitionName,
    model: GaussianProcess,
    candidates: Candidates,
    *,
    turn: int,
    rng: np.random.Generator,
    recipe: int = 0,
) -> int | None:
    """Return the row of the next network to train; None where all have been.

    Args:
        name: Of the acquisition.
        model: Fitted to what is known, believing what runs.
        candidates: To pick from.
        turn: Number of the pick, from 0: whose turn it is among levels or sub-spaces.
        rng: For `random`.
        recipe: Recipe number of the trainings to come.

    Raises:
        ConfigError: Unknown acquisition.
    """
    if name not in ACQUISITIONS:
        raise ConfigError(f"unknown acquisition {name!r}; known: {', '.join(ACQUISITIONS)}")
    open_rows = np.flatnonzero(~candidates.trained)
    if not len(open_rows):
        return None
    if name == "random":
        return int(rng.choice(open_rows))
    mean, variance = model.posterior(candidates.features, candidates.log_macs, recipe)
    if name == "paper":
        return _by_paper(mean, variance, candidates, turn)
    return _by_improvement(mean, np.sqrt(variance), candidates, turn)


def macs_levels(log_macs: FloatArray, count: int = _LEVELS) -> FloatArray:
    """Return log MACs below which equal shares of networks lie: the budgets that a pool stands for."""
    levels: FloatArray = np.quantile(log_macs, np.arange(1, count + 1) / count)
    return levels


def expected_regret(
    model: GaussianProcess, candidates: Candidates, *, rng: np.random.Generator, recipe: int = 0
) -> float:
    """Return by how much the network predicted best is expected to miss the best one, in points of top-1.

    Mean over MACs levels. At each one the posterior is sampled, jointly, over the networks that have a chance.

    Args:
        model: Fitted to what is known.
        candidates: Networks a search might find.
        rng: Draws the samples.
        recipe: Recipe number.
    """
    mean, variance = model.posterior(candidates.features, candidates.log_macs, recipe)
    hopeful = mean + 2 * np.sqrt(variance)
    missed = []
    for level in macs_levels(candidates.log_macs):
        within = np.flatnonzero(candidates.log_macs <= level + 1e-12)
        best = within[np.argmax(mean[within])]
        rows = np.union1d(within[np.argsort(-hopeful[within], kind="stable")[:_CONTENDERS]], [best])
        joint_mean, covariance = model.joint(candidates.features[rows], candidates.log_macs[rows], recipe)
        factor = np.linalg.cholesky(covariance + _JITTER * np.eye(len(rows)))
        samples = joint_mean + rng.standard_normal((_SAMPLES, len(rows))) @ factor.T
        top1 = from_log_error(samples)
        missed.append(np.mean(top1.max(axis=1) - top1[:, np.searchsorted(rows, best)]))
    return float(np.mean(missed))


def _by_improvement(mean: FloatArray, deviation: FloatArray, candidates: Candidates, turn: int) -> int:
    levels = macs_levels(candidates.log_macs)
    for offset in range(
        len(levels)
    ):  # a level whose networks have all been trained gives its turn to the next
        within = candidates.log_macs <= levels[(turn + offset) % len(levels)] + 1e-12
        rows, known = np.flatnonzero(within & ~candidates.trained), within & candidates.trained
        if len(rows):
            best = mean[known].max() if known.any() else mean[within].min()
            gain = _improvement(mean[rows] - best, deviation[rows])
            return int(rows[np.argmax(gain)])
    raise ValueError("every candidate has been trained")


def _improvement(above: FloatArray, deviation: FloatArray) -> FloatArray:
    """Return the expected improvement, eq. 15 of [Jones1998]."""
    from scipy.special import ndtr  # takes a while, so only where it is used

    z = above / np.maximum(deviation, 1e-12)
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    gain: FloatArray = above * ndtr(z) + deviation * density
    return gain


def _by_paper(mean: FloatArray, variance: FloatArray, candidates: Candidates, turn: int) -> int:
    log_macs = candidates.log_macs
    edges = np.linspace(log_macs.min(), log_macs.max(), SUBSPACES + 1)[1:-1]
    part = np.searchsorted(edges, log_macs)
    for offset in range(SUBSPACES):
        rows = np.flatnonzero((part == (turn // 2 + offset) % SUBSPACES) & ~candidates.trained)
        if len(rows):
            score = from_log_error(mean[rows]) / np.exp(log_macs[rows]) if turn % 2 else variance[rows]
            return int(rows[np.argmax(score)])
    raise ValueError("every candidate has been trained")
