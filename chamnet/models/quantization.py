"""The int8 scheme that every model writer shares: what one runtime computes, the others compute too.

Activations are asymmetric, one scale a tensor; weights symmetric, one scale an output channel; biases int32 at the
product of both scales. Ranges of activations are fixed, not calibrated: weights are random and only the time
counts, which depends on no scale. They fit activations near 1, as `random_weights` keeps them, so outputs stay
comparable with those in f32.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from chamnet.errors import UnsupportedOpError
from chamnet.ops import OpSpec

__all__ = [
    "INPUT",
    "Quantization",
    "addend_quantization",
    "output_quantization",
    "quantize_bias",
    "quantize_weights",
]

_LOW, _HIGH = -128, 127
_WEIGHT_MAX = 127  # symmetric: -128 stays unused, as kernels demand


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a tensor of activations stands for real numbers: `scale * (value - zero_point)`.

    Attributes:
        scale: A float32 number, since files hold no finer one.
        zero_point: The value that stands for 0, which padding needs.
    """

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> "Quantization":
        """Return the quantisation that covers a range.

        Args:
            low: At most 0.
            high: At least 0, and more than `low`.

        >>> Quantization.of_range(0, 255)
        Quantization(scale=1.0, zero_point=-128)
        """
        if not low <= 0 <= high or low == high:
            raise ValueError(f"a range holds 0 and more, unlike [{low}, {high}]")
        steps = _HIGH - _LOW
        return cls(float(np.float32((high - low) / steps)), round(_LOW - low * steps / (high - low)))

    def quantize(self, values: NDArray[np.float32]) -> NDArray[np.int8]:
        """Return the nearest int8 values; what lies outside the range becomes its end."""
        steps = np.rint(np.asarray(values, np.float64) / self.scale) + self.zero_point
        clipped: NDArray[np.int8] = np.clip(steps, _LOW, _HIGH).astype(np.int8)
        return clipped

    def dequantize(self, values: NDArray[np.int8]) -> NDArray[np.float32]:
        """Return the real numbers that int8 values stand for."""
        return ((values.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)


INPUT = Quantization.of_range(-4, 4)  # of a chain's inputs, residuals included: standard normal noise
_OUTPUTS = {
    "": Quantization.of_range(-8, 8),
    "relu": Quantization.of_range(0, 8),
    "relu6": Quantization.of_range(0, 6),
}


def output_quantization(op: OpSpec, source: Quantization) -> Quantization:
    """Return how an operator's output is quantised, its addition and activation included.

    Args:
        op: Its element type does not matter.
        source: Of its input, which pooling hands on: runtimes demand it, and an activation behind only clips.

    Raises:
        UnsupportedOpError: A squeeze-excite.

    >>> output_quantization(OpSpec(kind="gap", in_c=8, in_h=4, in_w=4, out_c=8), INPUT) == INPUT
    True
    """
    if op.kind == "se":
        raise UnsupportedOpError(f"{op.key}: squeeze-excite is not written in int8; use f32")
    if op.kind in ("gap", "maxpool") and not op.add:
        return source
    return _OUTPUTS[op.act]


def addend_quantization(op: OpSpec, source: Quantization) -> Quantization:
    """Return how what an operator adds to its residual is quantised: its output without addition and activation.

    Args:
        op: Its element type does not matter.
        source: Of its input, which pooling hands on.

    Raises:
        UnsupportedOpError: A squeeze-excite.
    """
    return output_quantization(replace(op, add=False, act=""), source)


def quantize_weights(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise weights symmetrically around zero point 0.

    Args:
        weight: Output channels first, as `chamnet.models.weights` shapes them.

    Returns:
        Values of the same shape, and one scale an output channel. The channels of a linear layer share theirs,
        since tflite-runtime 2.14 knows no others there.

    >>> quantize_weights(np.array([[[[0.5]]], [[[-254.0]]], [[[0.0]]]], np.float32))[1].tolist()
    [0.003937007859349251, 2.0, 1.0]
    """
    axes = tuple(range(1, weight.ndim)) if weight.ndim > 2 else None
    largest = np.broadcast_to(np.abs(weight).max(axis=axes), weight.shape[:1]).astype(np.float32)
    scales = np.where(largest > 0, largest / np.float32(_WEIGHT_MAX), np.float32(1)).astype(np.float32)
    steps = np.rint(weight.astype(np.float64) / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return steps.astype(np.int8), scales


def quantize_bias(
    bias: NDArray[np.float32], source: Quantization, weight_scales: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Quantise biases at the scale of the products they are added to; zero point 0.

    Args:
        bias: One an output channel.
        source: Of the operator's input.
        weight_scales: As `quantize_weights` gives them.

    Returns:
        Values, and one scale an output channel.
    """
    scales = (np.float32(source.scale) * weight_scales).astype(np.float32)
    limit = 2**31 - 1
    steps = np.clip(np.rint(bias.astype(np.float64) / scales), -limit, limit)
    return steps.astype(np.int32), scales
