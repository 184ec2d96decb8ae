"""Weights of a chain of units, with batch norm already folded.

A convolution or linear layer has `.weight` and `.bias`, a squeeze-excite two of each:

```text
block3.op1.weight           out x in/groups x k x k of a convolution, out x in of a linear layer
block3.op1.bias             out
block3.shortcut.weight
block3.op2.reduce.weight    reduced x channels x 1 x 1 of a squeeze-excite; its way back is `.expand`
```

[He2015]: Delving Deep into Rectifiers, https://arxiv.org/abs/1502.01852
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from chamnet.ops import OpSpec
from chamnet.units import Unit

__all__ = ["Weights", "named_ops", "random_weights", "weight_shapes"]

Weights = dict[str, NDArray[np.float32]]

_ADDED_GAIN = 0.1  # power of a branch that is added to a residual: 50 of them grow the sum 1.1^50 = 117 fold
_OPEN_GATE = 2.0  # bias of a squeeze-excite gate: sigmoid(2) = 0.88 passes a signal through 20 gates in a row
_BIAS_STD = 0.1


def random_weights(blocks: Sequence[Unit], *, seed: int) -> Weights:
    """Return weights that keep activations near 1 through any depth, after [He2015].

    The same blocks and seed give the same weights.

    Args:
        blocks: The chain.
        seed: Not negative.

    Returns:
        Every weight that the chain needs, by name.
    """
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, op in named_ops(blocks):
        for part, shape in weight_shapes(op).items():
            values = rng.random(shape, dtype=np.float32)  # uniform: a third of the time that normal ones take
            values -= np.float32(0.5)
            std = _BIAS_STD if part.endswith("bias") else _weight_std(op, part, shape)
            values *= np.float32(std * 12**0.5)
            if part == "expand.bias":
                values += np.float32(_OPEN_GATE)
            weights[f"{name}.{part}"] = values
    return weights


def named_ops(blocks: Sequence[Unit]) -> Iterator[tuple[str, OpSpec]]:
    """Give every operator of a chain with its name, such as `block3.op1` or `block3.shortcut`."""
    for i, unit in enumerate(blocks):
        for j, op in enumerate(unit.ops):
            yield f"block{i}.op{j}", op
        if unit.shortcut:
            yield f"block{i}.shortcut", unit.shortcut


def weight_shapes(op: OpSpec) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of an operator.

    >>> weight_shapes(OpSpec(kind="conv", in_c=8, out_c=8, kernel=3, groups=8))
    {'weight': (8, 1, 3, 3), 'bias': (8,)}
    """
    if op.kind == "conv":
        return {"weight": (op.out_c, op.in_c // op.groups, op.kernel, op.kernel), "bias": (op.out_c,)}
    if op.kind == "linear":
        return {"weight": (op.out_c, op.in_c), "bias": (op.out_c,)}
    if op.kind == "se":
        inner, outer = op.reduced, op.in_c
        return {
            "reduce.weight": (inner, outer, 1, 1),
            "reduce.bias": (inner,),
            "expand.weight": (outer, inner, 1, 1),
            "expand.bias": (outer,),
        }
    return {}


def _weight_std(op: OpSpec, part: str, shape: tuple[int, ...]) -> float:
    rectified = part == "reduce.weight" or (op.act and op.kind != "se")
    gain = 2.0 if rectified else 1.0  # a ReLU drops half of the power
    if op.add:
        gain *= _ADDED_GAIN
    return float(np.sqrt(gain / np.prod(shape[1:])))
