"""Operators: one convolution, linear layer, pooling or squeeze-excite with its full shape.

An `OpSpec` is immutable and hashable. Its `key` is readable, canonical and parses back, so the host,
the wire and the store all name an operator by the same text:

```text
conv:f32:1x3x224x224:o32:k3:s2:relu        3x3 convolution, stride 2, ReLU fused
conv:f32:1x96x56x56:o96:k3:g96:relu6       depthwise (groups = channels)
conv:f32:1x96x56x56:o24:add                1x1 projection with the residual added
linear:f32:1x1280x1x1:o1000
```
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, cast, get_args

__all__ = ["Activation", "DType", "OpKind", "OpSpec"]

OpKind = Literal["conv", "linear", "gap", "maxpool", "se"]
Activation = Literal["", "relu", "relu6"]
DType = Literal["f32", "int8"]

_BYTES = {"f32": 4, "int8": 1}


@dataclass(frozen=True, kw_only=True)
class OpSpec:
    """One operator with its shape, element type and what is fused into it.

    Padding is `kernel // 2` on all sides. A convolution carries batch norm in training (folded for
    measuring); linear and squeeze-excite carry biases.

    Attributes:
        kind: `conv`, `linear`, `gap` (global average pool), `maxpool` or `se` (squeeze-excite:
            pool, 1x1 to `reduced`, ReLU, 1x1 back, sigmoid, scale).
        batch, in_c, in_h, in_w: Shape of the input, NCHW.
        out_c: Channels of the output.
        kernel, stride, groups: As usual; square.
        act: Activation fused behind it; empty for none.
        add: Whether a residual of the output's shape is added (before the activation).
        reduced: Channels inside a squeeze-excite.
        dtype: Element type of weights and activations.
        out_h, out_w: Height and width of the output.

    Raises:
        ValueError: The shape makes no sense.
    """

    kind: OpKind
    batch: int = 1
    in_c: int
    in_h: int = 1
    in_w: int = 1
    out_c: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    act: Activation = ""
    add: bool = False
    reduced: int = 0
    dtype: DType = "f32"
    out_h: int = field(init=False, repr=False, compare=False)
    out_w: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the shape, and work out that of the output."""
        sizes = (
            self.batch,
            self.in_c,
            self.in_h,
            self.in_w,
            self.out_c,
            self.kernel,
            self.stride,
            self.groups,
        )
        if min(sizes) < 1 or self.reduced < 0:
            raise ValueError(f"sizes must be positive: {self}")
        if self.in_c % self.groups or self.out_c % self.groups:
            raise ValueError(f"groups {self.groups} must divide {self.in_c} and {self.out_c} channels")
        if self.kind in ("gap", "maxpool", "se") and self.in_c != self.out_c:
            raise ValueError(f"{self.kind} keeps its {self.in_c} channels, not {self.out_c}")
        if self.kind == "se" and not self.reduced:
            raise ValueError(f"se on {self.in_c} channels needs reduced channels")
        object.__setattr__(self, "out_h", _out_size(self.in_h, self))  # once: grids ask for it many times
        object.__setattr__(self, "out_w", _out_size(self.in_w, self))

    @cached_property
    def key(self) -> str:
        """Canonical text; `OpSpec.parse` reads it back."""
        parts = [self.kind, self.dtype, f"{self.batch}x{self.in_c}x{self.in_h}x{self.in_w}", f"o{self.out_c}"]
        if self.kernel != 1:
            parts.append(f"k{self.kernel}")
        if self.stride != 1:
            parts.append(f"s{self.stride}")
        if self.groups != 1:
            parts.append(f"g{self.groups}")
        if self.reduced:
            parts.append(f"r{self.reduced}")
        if self.add:
            parts.append("add")
        if self.act:
            parts.append(self.act)
        return ":".join(parts)

    @classmethod
    def parse(cls, key: str) -> "OpSpec":
        """Read a key.

        Raises:
            ValueError: Not a canonical key; says which part.

        >>> OpSpec.parse("conv:f32:1x3x224x224:o32:k3:s2:relu").macs
        10838016
        """
        try:
            kind, dtype, shape, *rest = key.split(":")
            batch, in_c, in_h, in_w = (int(size) for size in shape.split("x"))
        except ValueError as error:
            raise ValueError(f"operator key {key!r}: expected KIND:DTYPE:NxCxHxW:oC...") from error
        if kind not in get_args(OpKind) or dtype not in get_args(DType):
            known = f"{', '.join(get_args(OpKind))} in {', '.join(get_args(DType))}"
            raise ValueError(f"operator key {key!r}: unknown {kind!r} or {dtype!r}; known: {known}")
        options: dict[str, int] = {}
        flags: dict[str, object] = {}
        for part in rest:
            if part in get_args(Activation) and part:
                flags["act"] = part
            elif part == "add":
                flags["add"] = True
            elif part[:1] in _OPTIONS and part[1:].isdecimal():
                options[_OPTIONS[part[:1]]] = int(part[1:])
            else:
                raise ValueError(f"operator key {key!r}: unknown part {part!r}")
        if "out_c" not in options:
            raise ValueError(f"operator key {key!r}: no output channels (o...)")
        shape_fields = {"batch": batch, "in_c": in_c, "in_h": in_h, "in_w": in_w}
        op = cls(kind=cast(OpKind, kind), dtype=cast(DType, dtype), **shape_fields, **options, **flags)  # type: ignore[arg-type]
        if op.key != key:
            raise ValueError(f"operator key {key!r} is not canonical; write {op.key!r}")
        return op

    def cast(self, dtype: DType) -> "OpSpec":
        """Return the same operator with another element type.

        >>> OpSpec.parse("conv:f32:1x96x56x56:o24:add").cast("int8").key
        'conv:int8:1x96x56x56:o24:add'
        """
        return replace(self, dtype=dtype)

    @property
    def in_shape(self) -> tuple[int, int, int, int]:
        """Input shape, NCHW."""
        return self.batch, self.in_c, self.in_h, self.in_w

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        """Output shape, NCHW."""
        return self.batch, self.out_c, self.out_h, self.out_w

    @property
    def depthwise(self) -> bool:
        """Whether every channel is convolved on its own."""
        return self.kind == "conv" and self.groups == self.in_c == self.out_c > 1

    @property
    def multiplied_weights(self) -> int:
        """Weights that take part in multiply-adds; no biases."""
        if self.kind in ("conv", "linear"):
            return self.kernel**2 * self.in_c // self.groups * self.out_c
        return 2 * self.in_c * self.reduced if self.kind == "se" else 0

    @property
    def weights(self) -> int:
        """Parameters but for batch norm and the classifier's bias, as published tables count them.

        That is the multiplied weights, and for squeeze-excite its biases too: so the MnasNet-A1
        figure of 3,852,550 comes out.
        """
        return self.multiplied_weights + (self.in_c + self.reduced if self.kind == "se" else 0)

    @property
    def params(self) -> int:
        """Trainable parameters: weights, biases, and two per batch-norm channel."""
        return self.weights + {"conv": 2 * self.out_c, "linear": self.out_c}.get(self.kind, 0)

    @property
    def macs(self) -> int:
        """Multiply-adds of conv and linear weights; bias, norm, activation and pooling count 0."""
        per_weight = self.out_h * self.out_w if self.kind == "conv" else 1
        return self.batch * self.multiplied_weights * per_weight

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights and folded biases as a runtime holds them (int8 keeps int32 biases)."""
        biases = {"conv": self.out_c, "linear": self.out_c, "se": self.in_c + self.reduced}.get(self.kind, 0)
        return self.multiplied_weights * _BYTES[self.dtype] + 4 * biases

    @property
    def in_bytes(self) -> int:
        """Bytes read: the input, and the residual where one is added."""
        residual = math.prod(self.out_shape) if self.add else 0
        return (math.prod(self.in_shape) + residual) * _BYTES[self.dtype]

    @property
    def out_bytes(self) -> int:
        """Bytes written."""
        return math.prod(self.out_shape) * _BYTES[self.dtype]


_OPTIONS = {"o": "out_c", "k": "kernel", "s": "stride", "g": "groups", "r": "reduced"}


def _out_size(size: int, op: OpSpec) -> int:
    if op.kind in ("conv", "maxpool"):
        return (size + 2 * (op.kernel // 2) - op.kernel) // op.stride + 1
    return size if op.kind == "se" else 1
