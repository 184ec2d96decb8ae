"""Units: the smallest thing a look-up table row times.

A unit is a serial chain of operators: one operator, a fused pair, or a whole inverted-residual or
bottleneck block. A block may carry a skip: its own input (through `shortcut` if given) added by its
last operator. Where the last operator adds but the unit does not contain the skip, the residual is a
second input.

Keys join operator keys with `+`; a skip is written last: `...+skip` or `...+skip(conv:...)`.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from chamnet.ops import DType, OpSpec

__all__ = ["Granularity", "Unit"]

Granularity = Literal["op", "block"]


@dataclass(frozen=True)
class Unit:
    """A serial chain of operators that is timed as one.

    Attributes:
        ops: The main path, in order; each takes the previous one's output.
        skip: Whether the unit's own input is the residual of its last operator.
        shortcut: Projection on the skip; None for the identity.

    Raises:
        ValueError: The chain does not fit together.
    """

    ops: tuple[OpSpec, ...]
    skip: bool = False
    shortcut: OpSpec | None = None

    def __post_init__(self) -> None:
        """Check that the chain fits together."""
        if not self.ops:
            raise ValueError("a unit has at least one operator")
        for before, after in zip(self.ops, self.ops[1:], strict=False):
            joined = (after.batch, after.in_c, after.in_h, after.in_w, after.dtype)
            if joined != (before.batch, before.out_c, before.out_h, before.out_w, before.dtype) and not (
                after.kind == "linear" and after.in_c == before.out_c
            ):
                raise ValueError(f"{after.key} does not take the output of {before.key}")
            if before.add:
                raise ValueError(f"only the last operator of a unit may add a residual, not {before.key}")
        if self.shortcut and not self.skip:
            raise ValueError("a shortcut needs a skip")
        if self.skip:
            residual = self.shortcut.out_shape if self.shortcut else self.ops[0].in_shape
            if not self.ops[-1].add or residual != self.ops[-1].out_shape:
                raise ValueError(f"the skip of {self.ops[0].key} does not fit {self.ops[-1].key}")

    @cached_property
    def key(self) -> str:
        """Canonical text; `Unit.parse` reads it back."""
        parts = [op.key for op in self.ops]
        if self.skip:
            parts.append(f"skip({self.shortcut.key})" if self.shortcut else "skip")
        return "+".join(parts)

    @classmethod
    def parse(cls, key: str) -> "Unit":
        """Read a key.

        Raises:
            ValueError: Not a canonical key.
        """
        *parts, last = key.split("+")
        if not last.startswith("skip"):
            return cls(tuple(OpSpec.parse(part) for part in (*parts, last)))
        shortcut = None
        if last != "skip":
            if not (last.startswith("skip(") and last.endswith(")")):
                raise ValueError(f"unit key {key!r}: expected skip or skip(OPERATOR), not {last!r}")
            shortcut = OpSpec.parse(last[5:-1])
        return cls(tuple(OpSpec.parse(part) for part in parts), True, shortcut)

    def split(self) -> tuple["Unit", ...]:
        """Return its operators as units of their own, the shortcut before the one that adds it."""
        singles = [Unit((op,)) for op in self.ops]
        if self.shortcut:
            singles.insert(-1, Unit((self.shortcut,)))
        return tuple(singles)

    def cast(self, dtype: DType) -> "Unit":
        """Return the same unit with another element type.

        >>> Unit.parse("conv:f32:1x8x4x4:o8+conv:f32:1x8x4x4:o8:add+skip").cast("int8").key
        'conv:int8:1x8x4x4:o8+conv:int8:1x8x4x4:o8:add+skip'
        """
        if dtype == self.dtype:
            return self
        shortcut = self.shortcut.cast(dtype) if self.shortcut else None
        return Unit(tuple(op.cast(dtype) for op in self.ops), self.skip, shortcut)

    @property
    def all_ops(self) -> tuple[OpSpec, ...]:
        """Main path and shortcut."""
        return (*self.ops, self.shortcut) if self.shortcut else self.ops

    @property
    def takes_residual(self) -> bool:
        """Whether the unit has a second input, the residual."""
        return self.ops[-1].add and not self.skip

    @property
    def in_shape(self) -> tuple[int, int, int, int]:
        """Input shape, NCHW."""
        return self.ops[0].in_shape

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        """Output shape, NCHW."""
        return self.ops[-1].out_shape

    @property
    def dtype(self) -> DType:
        """Element type."""
        return self.ops[0].dtype

    @cached_property
    def signature(self) -> str:
        """What it is without its sizes: units of one signature can be interpolated between.

        >>> unit = Unit((OpSpec(kind="conv", in_c=3, in_h=8, in_w=8, out_c=8, kernel=3, stride=2),))
        >>> unit.signature, unit.cast("int8").signature
        ('conv3x3s2', 'int8:conv3x3s2')
        """
        chain = "+".join((*map(_op_signature, self.ops), *(["skip"] if self.skip else [])))
        return chain if self.dtype == "f32" else f"{self.dtype}:{chain}"

    @cached_property
    def macs(self) -> int:
        """Multiply-adds."""
        return sum(op.macs for op in self.all_ops)

    @property
    def weights(self) -> int:
        """Parameters but for batch norm and the classifier's bias."""
        return sum(op.weights for op in self.all_ops)

    @cached_property
    def params(self) -> int:
        """Trainable parameters."""
        return sum(op.params for op in self.all_ops)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of weights and folded biases."""
        return sum(op.weight_bytes for op in self.all_ops)

    @property
    def activation_bytes(self) -> int:
        """Bytes of activations that all operators read and write together."""
        return sum(op.in_bytes + op.out_bytes for op in self.all_ops)

    @property
    def peak_activation_bytes(self) -> int:
        """Largest input plus output of any operator, with the skip held beside it."""
        held = self.ops[0].in_bytes if self.skip else 0
        return max(op.in_bytes + op.out_bytes + (held if i else 0) for i, op in enumerate(self.ops))


def _op_signature(op: OpSpec) -> str:
    return _signature("dwconv" if op.depthwise else op.kind, op.kernel, op.stride, op.add, op.act)


@cache
def _signature(name: str, kernel: int, stride: int, add: bool, act: str) -> str:
    size = f"{kernel}x{kernel}" if name in ("conv", "dwconv", "maxpool") else ""
    parts = [name + size + (f"s{stride}" if stride != 1 else ""), "add" if add else "", act]
    return "_".join(filter(None, parts))
