"""Fit the accuracy predictor with BoTorch and GPyTorch; the only file that needs them.

Hyperparameters are the mode of their posterior. The priors are log-normal. On length scales it is BoTorch's
default, dimension-scaled [Hvarfner2024]_; on variances the spread is 1 and the modes, as deviations in log error:

- structure: 0.1, which is 3 points at 70 % top-1;
- recipe offset: 0.07, or 2 points at 70 %. Two families cannot tell it; leaving one out costs 2 to 4 points, of
  which a part is structure;
- a recipe's own structure, where networks were trained with several: 0.3 of the shared one;
- noise: 0.008, or 0.25 points at 70 %: seeds differ by 0.14 to 0.26 points.

The slope on log-MACs is normal around one deviation of log error for one of log-MACs, half of that its own
deviation, and integrated out: more work makes for less error, a priori with 98 %.

References:
    [Hvarfner2024] Vanilla Bayesian Optimization Performs Great in High Dimensions. ICML 2024.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from chamnet.errors import ConfigError
from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.gp import GaussianProcess, Kernel, KernelLayout, KernelName, Trend, kernel_layout
from chamnet.predictors.pool import BEYOND_FAMILIES, Pool, published_pool
from chamnet.predictors.validation import validate

try:
    import gpytorch
    import torch
    from botorch.exceptions.errors import ModelFittingError
    from botorch.fit import fit_gpytorch_mll
    from botorch.models.gpytorch import GPyTorchModel
    from botorch.utils.sampling import manual_seed
    from gpytorch.constraints import GreaterThan
    from gpytorch.priors import LogNormalPrior
    from linear_operator.operators import DiagLinearOperator
except ImportError as error:
    raise ConfigError(
        f"fitting needs torch, botorch and gpytorch ({error}); pip install chamnet[fit]"
    ) from error

__all__ = ["Scaling", "fit_accuracy", "fit_default", "fit_gp", "fit_model"]

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

_STRUCTURE_SD, _OFFSET_SD, _NOISE_SD = 0.1, 0.07, 0.008  # modes, in log error
_OWN = 0.3  # mode of a recipe's own structure over the shared one: the two rank alike at a correlation of 0.9
_SLOPE, _SLOPE_SD, _LEVEL_SD = 1.0, 0.5, 1.0  # scaled: in deviations of the pool
_SPREAD = 1.0  # of the logarithm of a variance
_STARTS, _MANY = 4, 100  # the likelihood of few trainings has several modes
_CONVERGED = 1e-7  # relative gain in likelihood below which a fit ends: far below what one network tells
_SHORTEST = 0.025  # length scale, as in BoTorch
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
            level_sd=_LEVEL_SD * y_sd,
            slope=_SLOPE * slope,
            slope_sd=_SLOPE_SD * slope,
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


def fit_model(pool: Pool, *, kernel: KernelName, seed: int, starts: int) -> "tuple[_Model, Scaling]":
    """Return the fitted GPyTorch model, ready to predict, and the scaling of its inputs and outputs."""
    scaling = Scaling(pool)
    best, best_score = None, -math.inf
    with manual_seed(seed), _one_thread():
        for start in range(starts):
            model = _Model(pool, scaling, kernel_layout(kernel, pool.structure.feature_names), kernel)
            if start:  # there may be several modes: few networks, several length scales
                for shape in model.shapes:
                    shape.lengthscale = shape.lengthscale * torch.randn(shape.lengthscale.shape).exp()
            marginal = gpytorch.ExactMarginalLogLikelihood(model.likelihood, model)
            try:
                fit_gpytorch_mll(marginal, optimizer_kwargs={"options": {"ftol": _CONVERGED}})
            except ModelFittingError:
                continue  # another start may do
            score = _score(marginal)
            if score > best_score + 1e-6:
                best, best_score = model, score
    if best is None:
        log.warning(
            "the fit to %d trainings did not converge; the predictor has the numbers that are likely before any data: look"
            " at its error, and at the accuracies for mistakes",
            len(pool),
        )
        best = _Model(pool, scaling, kernel_layout(kernel, pool.structure.feature_names), kernel)
    best.eval()
    return best, scaling


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch on one thread: for matrices this small more are slower, up to fifty times on busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Scaling:
    """Brings log error and log-MACs of a pool to mean 0 and deviation 1."""

    def __init__(self, pool: Pool) -> None:
        self.y_mean, self.y_sd = float(pool.log_error.mean()), float(pool.log_error.std())
        self.t_mean, self.t_sd = float(pool.log_macs.mean()), float(pool.log_macs.std())

    def inputs(self, features: FloatArray, log_macs: FloatArray, recipes: npt.ArrayLike) -> torch.Tensor:
        """Return features, scaled log-MACs and recipe numbers side by side, shape `n x (d + 2)`."""
        return torch.tensor(np.column_stack([features, (log_macs - self.t_mean) / self.t_sd, recipes]))


def _score(marginal: Any) -> float:
    marginal.train()
    with torch.no_grad():
        return float(marginal(marginal.model(*marginal.model.train_inputs), marginal.model.train_targets))


class _Model(gpytorch.models.ExactGP, GPyTorchModel):  # type: ignore[misc]  # no types
    """Level, slope, recipe offsets and structure as one sum of kernels, on scaled inputs and outputs."""

    def __init__(self, pool: Pool, scaling: Scaling, layout: KernelLayout, name: KernelName) -> None:
        inputs = scaling.inputs(pool.features, pool.log_macs, pool.recipe_numbers)
        targets = torch.tensor((pool.log_error - scaling.y_mean) / scaling.y_sd)
        noise = _prior(_NOISE_SD / scaling.y_sd)
        constraint = GreaterThan(1e-6, transform=None, initial_value=noise.mode)
        likelihood = gpytorch.likelihoods.GaussianLikelihood(noise_prior=noise, noise_constraint=constraint)
        relative = pool.seed_noise.relative(pool.log_error, pool.recipe_numbers)
        likelihood.noise_covar = _Noise(
            torch.tensor(relative), noise_prior=noise, noise_constraint=constraint
        )
        # The prior mean of the slope is known, so it is taken off the targets.
        self._macs_column = pool.features.shape[1]
        super().__init__(inputs, targets - _SLOPE * inputs[:, self._macs_column], likelihood)
        self.structure = _scaled(_Shape(layout, name), _STRUCTURE_SD / scaling.y_sd)
        self.beside = None
        if layout.beside is not None:
            self.beside = _scaled(_Shape(layout.beside, "matern-ard"), _STRUCTURE_SD / scaling.y_sd)
        # GPyTorch takes a kernel's prior once for each name it has, so those of length scales count twice, as they did
        # for the shipped predictor: their spread in log is smaller by a root of 2.
        self.sharper = torch.nn.ModuleList(part.base_kernel for part in self.structures)
        same = _SameRecipe(active_dims=(self._macs_column + 1,))
        self.offsets = _scaled(same, _OFFSET_SD / scaling.y_sd)
        self.own = (
            _scaled(_SameRecipe(active_dims=(self._macs_column + 1,)), _OWN) if pool.shares_networks else None
        )
        self.tilt = gpytorch.kernels.LinearKernel(active_dims=(self._macs_column,))
        self.tilt.variance = _SLOPE_SD**2
        self.tilt.raw_variance.requires_grad_(False)
        self.double()

    @property
    def structures(self) -> list[Any]:
        """The kernels whose sum the structure is, each with its variance."""
        return [self.structure] if self.beside is None else [self.structure, self.beside]

    @property
    def shapes(self) -> "list[_Shape]":
        """Their correlations."""
        return [part.base_kernel for part in self.structures]

    def forward(self, x: torch.Tensor) -> Any:
        """Return the prior at scaled inputs, shape `n x (d + 2)`."""
        structure = sum((part(x) for part in self.structures[1:]), self.structure(x))
        if self.own is not None:
            structure = structure.to_dense() * (1 + self.own(x).to_dense())
        covariance = structure + self.offsets(x) + self.tilt(x)
        covariance = covariance + _LEVEL_SD**2 * torch.ones(len(x), len(x), dtype=x.dtype)
        return gpytorch.distributions.MultivariateNormal(torch.zeros_like(x[:, 0]), covariance)


class _Noise(gpytorch.likelihoods.noise_models.HomoskedasticNoise):  # type: ignore[misc]  # no types
    """Noise whose variance is a learned number times a known one for each training."""

    def __init__(self, relative: torch.Tensor, **options: Any) -> None:
        super().__init__(**options)
        self._relative = relative

    def forward(self, *params: Any, shape: torch.Size | None = None, **options: Any) -> Any:
        """Return the diagonal of the noise; other inputs than the trainings have the usual one."""
        if shape is None or shape[-1] != len(self._relative):
            return super().forward(*params, shape=shape, **options)
        return DiagLinearOperator(self.noise * self._relative)


class _Shape(gpytorch.kernels.Kernel):  # type: ignore[misc]  # no types
    """Correlation by features, with length scales shared among them."""

    has_lengthscale = True

    def __init__(self, layout: KernelLayout, name: KernelName) -> None:
        count = max(layout.scale_of) + 1
        largest = max(map(len, layout.parts))
        prior = LogNormalPrior(math.sqrt(2) + 0.5 * math.log(largest), math.sqrt(3))
        constraint = GreaterThan(_SHORTEST, transform=None, initial_value=prior.mode)
        columns = tuple(range(len(layout.scale_of)))
        super().__init__(
            ard_num_dims=count,
            active_dims=columns,
            lengthscale_prior=prior,
            lengthscale_constraint=constraint,
        )
        self._layout, self._name = layout, name
        self._last: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        self._members = torch.zeros(len(layout.scale_of), len(layout.parts), dtype=torch.float64)
        for number, part in enumerate(layout.parts):
            self._members[list(part), number] = 1

    def scales(self) -> FloatArray:
        """Return the length scale of each feature, shape `d`."""
        scales: FloatArray = self.lengthscale.detach().numpy().ravel()[list(self._layout.scale_of)]
        return scales

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, diag: bool = False, **_: Any) -> torch.Tensor:
        """Return the mean correlation of the additive terms."""
        if diag:
            return torch.ones(x1.shape[:-1], dtype=x1.dtype)
        scales = self.lengthscale[..., list(self._layout.scale_of)]
        squared = self._apart(x1, x2) @ (self._members / scales.squeeze(0)[:, None] ** 2)  # n x m x terms
        if self._name == "rbf":
            return torch.exp(-0.5 * squared).mean(dim=-1)
        correlation: torch.Tensor = _Matern.apply(squared)  # type: ignore[no-untyped-call]
        return correlation.mean(dim=-1)

    def _apart(self, x1: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
        """Return squared differences by feature, shape `n x m x d`; those of the last call are kept.

        The inputs are data, and only scales are learned, so a fit asks for the same again and again.
        """
        if self._last is None or not (torch.equal(x1, self._last[0]) and torch.equal(x2, self._last[1])):
            with torch.no_grad():
                self._last = x1, x2, (x1[:, None] - x2) ** 2
        return self._last[2]


class _Matern(torch.autograd.Function):
    """Matern-5/2 at squared distances, with its derivative in closed form: several times as fast, and finite at 0."""

    @staticmethod
    def forward(ctx: Any, squared: torch.Tensor) -> torch.Tensor:
        """Return correlations."""
        distance = (5 * squared).sqrt_()
        decay = torch.exp(-distance)
        ctx.save_for_backward(torch.add(distance, 1).mul_(decay).mul_(-5 / 6))
        return (1 + distance + squared * (5 / 3)).mul_(decay)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> torch.Tensor:
        """Return the gradient by the squared distances."""
        (slope,) = ctx.saved_tensors
        (above,) = gradients
        return cast(torch.Tensor, above * slope)


class _SameRecipe(gpytorch.kernels.Kernel):  # type: ignore[misc]  # no types
    """1 for networks of one recipe, else 0."""

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, diag: bool = False, **_: Any) -> torch.Tensor:
        """Compare recipe numbers, shapes `n x 1` and `m x 1`."""
        same = x1[..., 0] == x2[..., 0] if diag else x1 == x2.transpose(-1, -2)
        return same.to(x1)


def _scaled(kernel: Any, mode_sd: float) -> Any:
    prior = _prior(mode_sd)
    constraint = GreaterThan(1e-6, transform=None, initial_value=prior.mode)
    return gpytorch.kernels.ScaleKernel(kernel, outputscale_prior=prior, outputscale_constraint=constraint)


def _prior(mode_sd: float) -> Any:
    """Return the prior of a variance with its mode at a deviation of `mode_sd`."""
    return LogNormalPrior(2 * math.log(mode_sd) + _SPREAD**2, _SPREAD)
