"""The accuracy predictor as a GPyTorch model: its prior, its kernels and its marginal likelihood.

With `accuracy_fit`, which fits it, the only file that needs BoTorch and GPyTorch.

The priors are log-normal. On length scales the mode is that of BoTorch's default, dimension-scaled [Hvarfner2024]_, with
half its variance. On variances the spread is 1 and the modes, as deviations in log error:

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

import math
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from chamnet.errors import ConfigError
from chamnet.predictors.gp import KernelLayout, KernelName, kernel_layout
from chamnet.predictors.pool import Pool

try:
    import gpytorch
    import torch
    from botorch.models.gpytorch import GPyTorchModel
    from gpytorch.constraints import GreaterThan
    from gpytorch.priors import LogNormalPrior
    from linear_operator.operators import DiagLinearOperator
except ImportError as error:
    raise ConfigError(
        f"fitting needs torch, botorch and gpytorch ({error}); pip install chamnet[fit]"
    ) from error

__all__ = ["LEVEL_SD", "SLOPE", "SLOPE_SD", "AccuracyModel", "Marginal", "Scaling"]

FloatArray = npt.NDArray[np.float64]

SLOPE, SLOPE_SD, LEVEL_SD = 1.0, 0.5, 1.0  # scaled: in deviations of the pool
_STRUCTURE_SD, _OFFSET_SD, _NOISE_SD = 0.1, 0.07, 0.008  # modes, in log error
_OWN = 0.3  # mode of a recipe's own structure over the shared one: the two rank alike at a correlation of 0.9
_SPREAD = 1.0  # of the logarithm of a variance
_SCALE_MODE, _SCALE_SPREAD = math.sqrt(2) - 3, math.sqrt(1.5)  # of the logarithm of a length scale
_SHORTEST = 0.025  # length scale, as in BoTorch
_SAME = 12  # decimals in which equal differences agree


class Scaling:
    """Brings log error and log-MACs of a pool to mean 0 and deviation 1."""

    def __init__(self, pool: Pool) -> None:
        self.y_mean, self.y_sd = float(pool.log_error.mean()), float(pool.log_error.std())
        self.t_mean, self.t_sd = float(pool.log_macs.mean()), float(pool.log_macs.std())

    def inputs(self, features: FloatArray, log_macs: FloatArray, recipes: npt.ArrayLike) -> torch.Tensor:
        """Return features, scaled log-MACs and recipe numbers side by side, shape `n x (d + 2)`."""
        return torch.tensor(np.column_stack([features, (log_macs - self.t_mean) / self.t_sd, recipes]))


class AccuracyModel(gpytorch.models.ExactGP, GPyTorchModel):  # type: ignore[misc]  # no types
    """Level, slope, recipe offsets and structure as one sum of kernels, on scaled inputs and outputs."""

    _num_outputs = 1  # BoTorch asks

    def __init__(self, pool: Pool, scaling: Scaling, name: KernelName) -> None:
        layout = kernel_layout(name, pool.structure.feature_names)
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
        super().__init__(inputs, targets - SLOPE * inputs[:, self._macs_column], likelihood)
        self.structure = _scaled(_Shape(layout, name), _STRUCTURE_SD / scaling.y_sd)
        self.beside = None
        if layout.beside is not None:
            self.beside = _scaled(_Shape(layout.beside, "matern-ard"), _STRUCTURE_SD / scaling.y_sd)
        same = _SameRecipe(active_dims=(self._macs_column + 1,))
        self.offsets = _scaled(same, _OFFSET_SD / scaling.y_sd)
        self.own = (
            _scaled(_SameRecipe(active_dims=(self._macs_column + 1,)), _OWN) if pool.shares_networks else None
        )
        self.tilt = gpytorch.kernels.LinearKernel(active_dims=(self._macs_column,))
        self.tilt.variance = SLOPE_SD**2
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
        covariance = covariance + LEVEL_SD**2 * torch.ones(len(x), len(x), dtype=x.dtype)
        return gpytorch.distributions.MultivariateNormal(torch.zeros_like(x[:, 0]), covariance)


class Marginal(gpytorch.ExactMarginalLogLikelihood):  # type: ignore[misc]  # no types
    """Log density of the trainings and of the hyperparameters, as GPyTorch's, in half the time."""

    def forward(self, prior: Any, targets: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Return it per training, for the model's prior at its `n` training inputs and their targets, shape `n`."""
        noise = self.likelihood.noise_covar(shape=targets.shape).to_dense()
        density: torch.Tensor = _LogDensity.apply(prior.covariance_matrix + noise, targets - prior.mean)  # type: ignore[no-untyped-call]
        return cast(torch.Tensor, self._add_other_terms(density, ())) / len(targets)


class _LogDensity(torch.autograd.Function):
    """Log density of a normal vector around 0, with its gradient by the covariance in closed form [Rasmussen2006]_ (5.9).

    Torch would derive it through the factors, which takes several times the work of the inverse.

    References:
        [Rasmussen2006] Rasmussen and Williams: Gaussian Processes for Machine Learning. MIT Press 2006.
    """

    @staticmethod
    def forward(ctx: Any, covariance: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        """Return the log density of a vector, shape `n`, with a covariance, shape `n x n`."""
        factor = torch.linalg.cholesky(covariance)
        precision = torch.cholesky_inverse(factor)
        weights = precision @ vector
        ctx.save_for_backward(precision, weights)
        logarithm = factor.diagonal().log().sum() + 0.5 * len(vector) * math.log(2 * math.pi)
        return cast(torch.Tensor, -0.5 * (vector @ weights) - logarithm)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[torch.Tensor, None]:
        """Return the gradient by the covariance; the vector is data."""
        precision, weights = ctx.saved_tensors
        (above,) = gradients
        return torch.addr(precision, weights, weights, beta=-0.5, alpha=0.5).mul_(above), None


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
        mode = _SCALE_MODE + 0.5 * math.log(largest)
        prior = LogNormalPrior(mode + _SCALE_SPREAD**2, _SCALE_SPREAD)
        constraint = GreaterThan(_SHORTEST, transform=None, initial_value=prior.mode)
        columns = tuple(range(len(layout.scale_of)))
        super().__init__(
            ard_num_dims=count,
            active_dims=columns,
            lengthscale_prior=prior,
            lengthscale_constraint=constraint,
        )
        self._layout, self._name = layout, name
        self._last: tuple[torch.Tensor, torch.Tensor, list[_Differences]] | None = None

    def scales(self) -> FloatArray:
        """Return the length scale of each feature, shape `d`."""
        scales: FloatArray = self.lengthscale.detach().numpy().ravel()[list(self._layout.scale_of)]
        return scales

    def forward(self, x1: torch.Tensor, x2: torch.Tensor, diag: bool = False, **_: Any) -> torch.Tensor:
        """Return the mean correlation of the additive terms."""
        if diag:
            return torch.ones(x1.shape[:-1], dtype=x1.dtype)
        weights = self.lengthscale.squeeze(0)[list(self._layout.scale_of)] ** -2
        total = torch.zeros(x1.shape[0] * x2.shape[0], dtype=x1.dtype)
        for part, differences in zip(self._layout.parts, self._differences(x1, x2), strict=True):
            total = total + differences.spread(self._correlation(differences.kinds @ weights[list(part)]))
        return (total / len(self._layout.parts)).view(x1.shape[0], x2.shape[0])

    def _correlation(self, squared: torch.Tensor) -> torch.Tensor:
        if self._name == "rbf":
            return torch.exp(-0.5 * squared)
        return cast(torch.Tensor, _Matern.apply(squared))  # type: ignore[no-untyped-call]

    def _differences(self, x1: torch.Tensor, x2: torch.Tensor) -> "list[_Differences]":
        """Return the differences that each term sees; those of the last call are kept.

        The inputs are data, and only scales are learned, so a fit asks for the same again and again.
        """
        if self._last is None or not (torch.equal(x1, self._last[0]) and torch.equal(x2, self._last[1])):
            self._last = (
                x1,
                x2,
                [_Differences(x1[:, list(part)], x2[:, list(part)]) for part in self._layout.parts],
            )
        return self._last[2]


class _Differences:
    """Squared differences of all pairs, each kind of them once: numbers of a grid differ in few ways.

    Attributes:
        kinds: Shape `k x d`.
    """

    def __init__(self, x1: torch.Tensor, x2: torch.Tensor) -> None:
        """Compare features, shapes `n x d` and `m x d`."""
        with torch.no_grad():
            apart = ((x1[:, None] - x2) ** 2).flatten(0, 1)
            code = torch.zeros(len(apart), dtype=torch.int64)
            for column in apart.round(decimals=_SAME).T:
                values, number = column.unique(return_inverse=True)
                _, code = (code * len(values) + number).unique(return_inverse=True)
            member = torch.zeros(int(code.max()) + 1, dtype=torch.int64)
            self.kinds = apart[member.scatter_(0, code, torch.arange(len(code)))]
            self._code = code.to(torch.int32)

    def spread(self, values: torch.Tensor) -> torch.Tensor:
        """Return the value of each pair, shape `n * m`, given that of each kind, shape `k`."""
        return values.index_select(0, self._code)


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
