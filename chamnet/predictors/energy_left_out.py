"""How far energy predictors are off on networks that they have not seen: each is left out of everything once.

Calibration and numbers of the processes are fitted anew each time; the rows of units stay.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from chamnet.predictors.energy_sum import EnergyCalibration, NetworkSum
from chamnet.predictors.network_process import ENERGY, RESIDUAL, ProcessPrior, fit_process

__all__ = ["EnergyModel", "left_out_process", "left_out_sums"]

FloatArray = npt.NDArray[np.float64]
EnergyModel = Literal["lut", "network-gp", "residual-gp"]

_FEWEST_LEFT = 3  # networks that are left where one of the fewest is left out


def left_out_sums(sums: Sequence[NetworkSum], truth_mj: FloatArray, idle_w: float) -> FloatArray:
    """Return the log of summed over measured energy of each network left out; arguments as of `left_out_process`."""
    folds = (_fold(sums, truth_mj, idle_w, without=i) for i in range(len(sums)))
    summed = [fold.energy_mj(each) for fold, each in zip(folds, sums, strict=True)]
    return np.asarray(np.log(summed) - np.log(truth_mj))


def left_out_process(
    model: EnergyModel,
    features: FloatArray,
    log_macs: FloatArray,
    sums: Sequence[NetworkSum],
    truth_mj: FloatArray,
    idle_w: float,
) -> tuple[FloatArray, FloatArray]:
    """Return a process's log of predicted over measured, and its predicted variance, of each network left out.

    Args:
        model: Which process.
        features: Of the networks, shape `n x d`.
        log_macs: Shape `n`.
        sums: Over their units.
        truth_mj: Their measured energies, shape `n`.
        idle_w: Power of the idling device.
    """
    logs = np.log(truth_mj)
    errors, variances = np.empty(len(sums)), np.empty(len(sums))
    prior: ProcessPrior = ENERGY if model == "network-gp" else RESIDUAL
    for i in range(len(sums)):
        others = [j for j in range(len(sums)) if j != i]
        base = np.zeros(len(sums))
        if model == "residual-gp":
            fold = _fold(sums, truth_mj, idle_w, without=i)
            base = np.log([fold.energy_mj(each) for each in sums])
        process = fit_process(features[others], log_macs[others], (logs - base)[others], prior)
        mean, variance = process.posterior(features[[i]], log_macs[[i]])
        errors[i] = base[i] + mean[0] - logs[i]
        variances[i] = variance[0] + process.noise_sd**2
    return errors, variances


def _fold(
    sums: Sequence[NetworkSum], truth_mj: FloatArray, idle_w: float, *, without: int
) -> EnergyCalibration:
    others = [j for j in range(len(sums)) if j != without]
    return EnergyCalibration.fit([sums[j] for j in others], truth_mj[others], idle_w, fewest=_FEWEST_LEFT)
