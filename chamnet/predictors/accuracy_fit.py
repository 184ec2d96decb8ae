"""Fit the accuracy predictor with BoTorch and GPyTorch.

Hyperparameters are the mode of their posterior; `accuracy_model` has the model and its priors.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from chamnet.errors import ConfigError
from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.accuracy_model import LEVEL_SD, SLOPE, SLOPE_SD, AccuracyModel, Marginal, Scaling
from chamnet.predictors.gp import GaussianProcess, Kernel, KernelName, Trend, kernel_layout
from chamnet.predictors.pool import BEYOND_FAMILIES, Pool, published_pool
from chamnet.predictors.validation import validate

try:
    import torch
    from botorch.exceptions.errors import ModelFittingError
    from botorch.fit import fit_gpytorch_mll
    from botorch.utils.sampling import manual_seed
except ImportError as error:
    raise ConfigError(
        f"fitting needs torch, botorch and gpytorch ({error}); pip install chamnet[fit]"
    ) from error

__all__ = ["fit_accuracy", "fit_default", "fit_gp", "fit_model"]

log = logging.getLogger(__name__)

_STARTS, _MANY = 4, 100  # the likelihood of few trainings has several modes
_SAMPLE = 250  # trainings that tell the mode roughly; more only polish it
_CONVERGED = 1e-7  # relative gain in likelihood below which a fit ends: far below what one network tells
_FEWEST = 6  # networks of a pool; leaving one out must leave something to fit
_REFITTED = (
    40  # trainings up to which every left-out part is fitted anew; one of many hardly moves the numbers
)


def fit_default(*, seed: int = 0, kernel: KernelName = "additive") -> AccuracyPredictor:
    """Fit the shipped predictor anew, on the published networks; takes about a minute.

    Args:
        seed: Of starting points and of the learning curve.
        kernel: See `kernel_layout`.
    """
    return fit_accuracy(published_pool(), kernel=kernel, seed=seed, beyond=published_pool(BEYOND_FAMILIES))


def fit_accuracy(
    pool: Pool, *, kernel: KernelName = "additive", seed: int = 0, beyond: Pool | None = None
) -> AccuracyPredictor:
    """Fit a predictor to a pool and find out how wrong it is.

    Args:
        pool: Known networks, such as your own trainings; six at least. A network with several seeds is left out with
            all of them.
        kernel: See `kernel_layout`.
        seed: Of starting points and of the learning curve.
        beyond: Networks outside the structure, for a further check.

    Raises:
        ConfigError: The pool is too small, or its networks all have the same accuracy or MACs.
    """
    if len(set(pool.names)) < _FEWEST or min(np.ptp(pool.top1), np.ptp(pool.log_macs)) <= 0:
        raise ConfigError(f"a pool needs {_FEWEST} networks that differ in accuracy and MACs; train more")
    model = fit_gp(pool, kernel=kernel, seed=seed)

    def fold(part: Pool) -> GaussianProcess:
        if len(pool) <= _REFITTED:
            return fit_gp(part, kernel=kernel, seed=seed, starts=1)
        return model.on(part.features, part.log_macs, part.log_error, part.recipe_numbers)

    validation = validate(pool, fold, beyond=beyond, seed=seed)
    return AccuracyPredictor(model=model, pool=pool, validation=validation, seed=seed)


def fit_gp(
    pool: Pool, *, kernel: KernelName = "additive", seed: int = 0, starts: int | None = None
) -> GaussianProcess:
    """Fit the model to a pool.

    Args:
        pool: Known networks, three at least.
        kernel: See `kernel_layout`.
        seed: Of the starting points after the first.
        starts: Starting points of the optimiser; the best mode found is kept. None for as many as a pool of that size
            has use for.
    """
    if starts is None:
        starts = _STARTS if len(pool) <= _MANY else _STARTS // 2
    model, scaling = fit_model(pool, kernel=kernel, seed=seed, starts=starts)
    y_sd = scaling.y_sd
    layout = kernel_layout(kernel, pool.structure.feature_names)
    slope = y_sd / scaling.t_sd
    variances = [part.outputscale.item() for part in model.structures]
    structure_sd = math.sqrt(sum(variances)) * y_sd
    fitted = Kernel(name=kernel, scales=model.shapes[0].scales(), parts=layout.parts)
    if layout.beside is not None:
        whole = Kernel(name="matern-ard", scales=model.shapes[1].scales(), parts=layout.beside.parts)
        fitted = replace(fitted, beside=whole, share=variances[1] / sum(variances))
    return GaussianProcess(
        kernel=fitted,
        trend=Trend(
            centre=scaling.t_mean,
            level=scaling.y_mean,
            level_sd=LEVEL_SD * y_sd,
            slope=SLOPE * slope,
            slope_sd=SLOPE_SD * slope,
        ),
        structure_sd=structure_sd,
        own_sd=math.sqrt(model.own.outputscale.item()) * structure_sd if model.own is not None else 0.0,
        seeds=pool.seed_noise,
        offset_sd=math.sqrt(model.offsets.outputscale.item()) * y_sd,
        noise_sd=math.sqrt(model.likelihood.noise.item()) * y_sd,
        features=pool.features,
        log_macs=pool.log_macs,
        targets=pool.log_error,
        recipes=pool.recipe_numbers,
    )


def fit_model(pool: Pool, *, kernel: KernelName, seed: int, starts: int) -> tuple[AccuracyModel, Scaling]:
    """Return the fitted GPyTorch model, ready to predict, and the scaling of its inputs and outputs.

    Of a large pool a random part is fitted from every starting point, and the best mode polished on the whole.
    """
    scaling = Scaling(pool)
    model, known = AccuracyModel(pool, scaling, kernel), "the numbers that are likely before any data"
    with manual_seed(seed), _one_thread():
        if len(pool) > 2 * _SAMPLE:
            part = pool.subset(torch.randperm(len(pool))[:_SAMPLE].sort().values.tolist())
            rough, _ = fit_model(part, kernel=kernel, seed=seed, starts=starts)
            model.load_state_dict(
                rough.state_dict(), strict=False
            )  # a part may lack recipes that share networks
            starts, known = 1, f"what fits {_SAMPLE} of them"
        best = max(_modes(model, starts), key=lambda mode: mode[0], default=None)
    if best is not None:
        model.load_state_dict(best[1])
    else:
        log.warning(
            "the fit to %d trainings did not converge; the predictor has %s: look at its error, and at the accuracies for mistakes",
            len(pool),
            known,
        )
    model.eval()
    return model, scaling


def _modes(model: AccuracyModel, starts: int) -> Iterator[tuple[float, dict[str, Any]]]:
    """Yield the score and the hyperparameters of the mode found from each starting point, the model's own first."""
    first = deepcopy(model.state_dict())
    for start in range(starts):
        model.load_state_dict(first)
        if start:  # there may be several modes: few networks, several length scales
            for shape in model.shapes:
                shape.lengthscale = shape.lengthscale * torch.randn(shape.lengthscale.shape).exp()
        marginal = Marginal(model.likelihood, model)
        try:
            fit_gpytorch_mll(marginal, optimizer_kwargs={"options": {"ftol": _CONVERGED}})
        except ModelFittingError:
            continue  # another start may do
        yield _score(marginal), deepcopy(model.state_dict())
    model.load_state_dict(first)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch on one thread: for matrices this small more are slower, up to fifty times on busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _score(marginal: Marginal) -> float:
    marginal.train()
    with torch.no_grad():
        return round(
            float(marginal(marginal.model(*marginal.model.train_inputs), marginal.model.train_targets)), 6
        )
