"""Chains of units as torch runs a deployed network: eager calls, batch norm folded, channels last.

Plain functions, no modules: calling those would add Python that the smallest operators do not outweigh. Activations
work in place, as the published networks' do. `torch_module` has the form that is trained.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from chamnet.errors import UnsupportedOpError
from chamnet.models.weights import Weights, weight_shapes
from chamnet.ops import OpSpec
from chamnet.units import Unit

__all__ = ["EagerChain", "eager_keys"]

_Run = Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[str, _Run] = {"relu": torch.relu_, "relu6": partial(functional.relu6, inplace=True)}


class EagerChain:
    """A chain of units that is called with its input and, where a unit takes an external one, a residual.

    Args:
        blocks: The chain; each unit takes the previous one's output. An empty one gives its input back.
        weights: As named and shaped in `chamnet.models.weights`.
        device: Where the weights go, and the inputs must be.

    Raises:
        UnsupportedOpError: An element type or operator that is not written here; says what is.
        ValueError: The units do not fit together, or a weight is missing or misshaped.
    """

    def __init__(self, blocks: Sequence[Unit], weights: Weights, *, device: str = "cpu") -> None:
        _check(blocks)
        layers = _Layers(weights, device)
        self._units = tuple(layers.unit(f"block{i}", unit) for i, unit in enumerate(blocks))

    def __call__(self, value: Tensor, residual: Tensor | None = None) -> Tensor:
        """Run the chain in inference mode.

        Args:
            value: NCHW, channels last in memory.
            residual: For the unit that takes an external one; of its output's shape.

        Returns:
            NCHW, or `n x c` behind a linear layer.
        """
        with torch.inference_mode():
            for unit in self._units:
                value = unit(value, residual)
            return value


def eager_keys(blocks: Sequence[Unit]) -> tuple[str, ...]:
    """Return the executed keys of a chain: what torch computes, in order. Views are left out.

    Raises:
        UnsupportedOpError: An element type or operator that is not written here; says what is.
        ValueError: The units do not fit together.

    >>> eager_keys([Unit.parse("conv:f32:1x24x56x56:o144:relu6")])
    ('torch:conv2d[1x24x56x56->144,1x1]', 'torch:relu6[1x144x56x56]')
    """
    _check(blocks)
    ops = (op for unit in blocks for op in ((unit.shortcut,) if unit.shortcut else ()) + unit.ops)
    return tuple(f"torch:{call}" for op in ops for call in _calls(op))


def _check(blocks: Sequence[Unit]) -> None:
    if sum(unit.takes_residual for unit in blocks) > 1:
        raise ValueError("two units take an external residual; give blocks with their skips")
    for before, after in pairwise(blocks):
        if before.out_shape != after.in_shape:
            raise ValueError(f"{after.key} does not take the output of {before.key}")
    for op in (op for unit in blocks for op in unit.all_ops):
        if op.dtype != "f32":
            raise UnsupportedOpError(f"{op.key}: torch runs f32 here; use another backend for {op.dtype}")
        if op.kind == "linear" and (op.add or op.in_h != 1 or op.in_w != 1):
            raise UnsupportedOpError(f"{op.key}: linear takes 1x1 maps and adds nothing; put gap before it")


@dataclass(frozen=True, slots=True)
class _Op:
    """An operator, then its addition, then its activation."""

    body: _Run
    add: bool
    act: _Run | None

    def __call__(self, value: Tensor, residual: Tensor | None) -> Tensor:
        value = self.body(value)
        if self.add:
            value = torch.add(value, residual)  # type: ignore[arg-type] # no residual: torch says so
        return self.act(value) if self.act else value


@dataclass(frozen=True, slots=True)
class _Unit:
    """A unit: its operators in a row, and its skip."""

    ops: tuple[_Op, ...]
    skip: bool
    shortcut: _Op | None

    def __call__(self, value: Tensor, residual: Tensor | None) -> Tensor:
        if self.skip:
            residual = self.shortcut(value, None) if self.shortcut else value
        for op in self.ops:
            value = op(value, residual)
        return value


class _Layers:
    """Makes the calls of operators, with their weights on the device."""

    def __init__(self, weights: Weights, device: str) -> None:
        self._weights = weights
        self._device = device

    def unit(self, name: str, unit: Unit) -> _Unit:
        ops = tuple(self._op(f"{name}.op{j}", op) for j, op in enumerate(unit.ops))
        shortcut = self._op(f"{name}.shortcut", unit.shortcut) if unit.shortcut else None
        return _Unit(ops, unit.skip, shortcut)

    def _op(self, name: str, op: OpSpec) -> _Op:
        act = _ACTIVATIONS.get(op.act) if op.kind != "se" else None
        return _Op(self._body(op, self._tensors(name, op)), op.add, act)

    def _body(self, op: OpSpec, tensors: dict[str, Tensor]) -> _Run:
        window: dict[str, Any] = {"stride": op.stride, "padding": op.kernel // 2}
        if op.kind == "conv":
            return partial(torch.conv2d, **tensors, **window, groups=op.groups)
        if op.kind == "linear":
            return lambda value: functional.linear(value.flatten(1), **tensors)
        if op.kind == "gap":
            return partial(torch.mean, dim=(2, 3), keepdim=True)
        if op.kind == "maxpool":
            return partial(torch.max_pool2d, kernel_size=op.kernel, **window)
        return partial(_squeeze_excite, *tensors.values())

    def _tensors(self, name: str, op: OpSpec) -> dict[str, Tensor]:
        """Return the weights of an operator by their last names."""
        tensors = {}
        for part, shape in weight_shapes(op).items():
            found = self._weights.get(f"{name}.{part}")
            if found is None or found.shape != shape:
                state = "missing" if found is None else f"of shape {found.shape}"
                raise ValueError(f"weight '{name}.{part}' is {state}; its shape must be {shape}")
            layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
            tensors[part] = torch.tensor(found, device=self._device).contiguous(memory_format=layout)
        return tensors


def _squeeze_excite(
    reduce: Tensor, reduce_bias: Tensor, expand: Tensor, expand_bias: Tensor, value: Tensor
) -> Tensor:
    pooled = torch.mean(value, dim=(2, 3), keepdim=True)
    hidden = torch.relu_(torch.conv2d(pooled, reduce, reduce_bias))
    return torch.mul(value, torch.sigmoid_(torch.conv2d(hidden, expand, expand_bias)))


def _calls(op: OpSpec) -> Iterator[str]:
    """Give what torch computes for an operator, with all that its time depends on."""
    into, out = _text(op.in_shape), _text(op.out_shape)
    window = f"{op.kernel}x{op.kernel}" + (f"s{op.stride}" if op.stride != 1 else "")
    if op.kind == "conv":
        yield f"conv2d[{into}->{op.out_c},{window}" + (f",g{op.groups}]" if op.groups != 1 else "]")
    elif op.kind == "linear":
        yield f"linear[{op.batch}x{op.in_c}->{op.out_c}]"
    elif op.kind == "gap":
        yield f"mean[{into}]"
    elif op.kind == "maxpool":
        yield f"max_pool2d[{into},{window}]"
    else:
        yield from _squeeze_excite_calls(op)
    if op.add:
        yield f"add[{out}]"
    if op.act and op.kind != "se":
        yield f"{op.act}[{out}]"


def _squeeze_excite_calls(op: OpSpec) -> Iterator[str]:
    whole = _text(op.in_shape)
    pooled, hidden = (f"{op.batch}x{channels}x1x1" for channels in (op.in_c, op.reduced))
    yield f"mean[{whole}]"
    yield f"conv2d[{pooled}->{op.reduced},1x1]"
    yield f"relu[{hidden}]"
    yield f"conv2d[{hidden}->{op.in_c},1x1]"
    yield f"sigmoid[{pooled}]"
    yield f"mul[{whole}]"


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
