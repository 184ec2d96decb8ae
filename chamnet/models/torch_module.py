"""Chains of units as torch modules, in the form that is trained: batch norm behind every convolution.

[He2015]: Delving Deep into Rectifiers, https://arxiv.org/abs/1502.01852
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from chamnet.models.weights import Weights, named_ops
from chamnet.ops import OpSpec
from chamnet.units import Unit

__all__ = ["ChainModule", "fold", "load_weights"]


class ChainModule(nn.Module):
    """A chain of units, ready to train.

    Args:
        blocks: The chain; each unit takes the previous one's output. One of them may take an external residual.
        generator: Of the initial weights, after [He2015]; torch's global one if None.

    Attributes:
        blocks: As given.
        units: Their modules, in order.

    Raises:
        ValueError: The units do not fit together.
    """

    def __init__(self, blocks: Sequence[Unit], *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if sum(unit.takes_residual for unit in blocks) > 1:
            raise ValueError("two units take an external residual; give blocks with their skips")
        for before, after in pairwise(blocks):
            if before.out_shape != after.in_shape:
                raise ValueError(f"{after.key} does not take the output of {before.key}")
        self.blocks = tuple(blocks)
        self.units = nn.ModuleList(_UnitModule(unit) for unit in blocks)
        _initialise(self, generator)

    def forward(self, value: Tensor, residual: Tensor | None = None) -> Tensor:
        """Run the chain.

        Args:
            value: NCHW.
            residual: For the unit that takes an external one; of its output's shape.

        Returns:
            NCHW, or `n x c` behind a linear layer.
        """
        for unit in self.units:
            value = unit(value, residual)
        return value


def fold(module: ChainModule) -> Weights:
    """Return what the module computes with in eval mode, batch norm folded into its convolutions.

    Names and shapes are those of `chamnet.models.weights`.
    """
    weights: Weights = {}
    for name, layer, norm in _layers(module):
        weight = _numpy(layer.weight)
        bias = np.zeros(len(weight)) if layer.bias is None else _numpy(layer.bias)
        if norm is not None:
            scale, shift = _affine(norm)
            weight, bias = weight * scale[:, None, None, None], bias * scale + shift
        weights[f"{name}.weight"] = weight.astype(np.float32)
        weights[f"{name}.bias"] = bias.astype(np.float32)
    return weights


def load_weights(module: ChainModule, weights: Weights) -> None:
    """Set a module so that in eval mode it computes with these folded weights; `fold` gives them back.

    Batch norms become identities with the biases as their shifts, so training can go on from here.

    Args:
        module: Changed in place.
        weights: As `fold` or `random_weights` give them; more than needed does no harm.

    Raises:
        ValueError: A weight is missing or misshaped.
    """
    for name, layer, norm in _layers(module):
        _set(layer.weight, f"{name}.weight", weights)
        _set(layer.bias if norm is None else norm.bias, f"{name}.bias", weights)
        if norm is not None:
            identity = {"weight": 1.0, "running_mean": 0.0, "running_var": 1.0 - norm.eps}
            with torch.no_grad():
                for part, value in identity.items():
                    getattr(norm, part).fill_(value)


class _UnitModule(nn.Module):
    """A unit: its operators in a row, and its skip."""

    def __init__(self, unit: Unit) -> None:
        super().__init__()
        self.skip = unit.skip
        self.ops = nn.ModuleList(_OpModule(op) for op in unit.ops)
        self.shortcut = _OpModule(unit.shortcut) if unit.shortcut else None

    def forward(self, value: Tensor, residual: Tensor | None) -> Tensor:
        if self.skip:
            residual = value
        if self.shortcut is not None:
            residual = self.shortcut(residual, None)
        for op in self.ops:
            value = op(value, residual)
        return value


class _OpModule(nn.Module):
    """An operator, then its addition, then its activation."""

    def __init__(self, op: OpSpec) -> None:
        super().__init__()
        self.op = op
        self.body = _body(op)

    def forward(self, value: Tensor, residual: Tensor | None) -> Tensor:
        value = self.body(value)
        if self.op.add:
            if residual is None:
                raise ValueError(f"{self.op.key} adds a residual; give one")
            value = value + residual
        if self.op.act == "relu" and self.op.kind != "se":
            return functional.relu(value)
        if self.op.act == "relu6" and self.op.kind != "se":
            return functional.relu6(value)
        return value


def _body(op: OpSpec) -> nn.Module:
    if op.kind == "conv":
        return _ConvNorm(op)
    if op.kind == "linear":
        return _Linear(op.in_c, op.out_c)
    if op.kind == "gap":
        return nn.AdaptiveAvgPool2d(1)
    if op.kind == "maxpool":
        return nn.MaxPool2d(op.kernel, op.stride, op.kernel // 2)
    return _SqueezeExcite(op)


class _ConvNorm(nn.Module):
    def __init__(self, op: OpSpec) -> None:
        super().__init__()
        window = (op.kernel, op.stride, op.kernel // 2)
        self.conv = nn.Conv2d(op.in_c, op.out_c, *window, groups=op.groups, bias=False)
        self.norm = nn.BatchNorm2d(op.out_c)

    def forward(self, value: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(value))
        return normed


class _Linear(nn.Linear):
    """A linear layer on maps of one pixel."""

    def forward(self, value: Tensor) -> Tensor:
        return super().forward(value.flatten(1))


class _SqueezeExcite(nn.Module):
    def __init__(self, op: OpSpec) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(op.in_c, op.reduced, 1)
        self.expand = nn.Conv2d(op.reduced, op.in_c, 1)

    def forward(self, value: Tensor) -> Tensor:
        hidden = functional.relu(self.reduce(value.mean((2, 3), keepdim=True)))
        return value * torch.sigmoid(self.expand(hidden))


def _initialise(module: nn.Module, generator: torch.Generator | None) -> None:
    for layer in module.modules():  # batch norm starts at 1 and 0 by itself
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.01, generator=generator)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _layers(module: ChainModule) -> Iterator[tuple[str, nn.Conv2d | nn.Linear, nn.BatchNorm2d | None]]:
    """Give every layer with the name of its weights, and the batch norm behind it."""
    op_modules = (child for child in module.modules() if isinstance(child, _OpModule))
    for (name, _), op_module in zip(named_ops(module.blocks), op_modules, strict=True):
        body = op_module.body
        if isinstance(body, _ConvNorm):
            yield name, body.conv, body.norm
        elif isinstance(body, _Linear):
            yield name, body, None
        elif isinstance(body, _SqueezeExcite):
            yield f"{name}.reduce", body.reduce, None
            yield f"{name}.expand", body.expand, None


def _affine(norm: nn.BatchNorm2d) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scale and shift that a batch norm applies in eval mode, one per channel."""
    scale = _numpy(norm.weight) / np.sqrt(_numpy(norm.running_var) + norm.eps)
    return scale, _numpy(norm.bias) - _numpy(norm.running_mean) * scale


def _numpy(tensor: Tensor | None) -> NDArray[np.float64]:
    if tensor is None:
        raise ValueError("a batch norm of a chain keeps running statistics")
    values: NDArray[np.float64] = tensor.detach().double().cpu().numpy()
    return values


def _set(parameter: Tensor | None, name: str, weights: Weights) -> None:
    found = weights.get(name)
    if parameter is None or found is None or found.shape != tuple(parameter.shape):
        state = "missing" if found is None else f"of shape {found.shape}"
        wanted = None if parameter is None else tuple(parameter.shape)
        raise ValueError(f"weight {name!r} is {state}; its shape must be {wanted}")
    with torch.no_grad():
        parameter.copy_(torch.tensor(found))
