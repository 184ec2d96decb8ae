"""PyTorch on the CPU, eager: what a deployed network costs without a runtime that optimises it.

Torch is imported inside the methods: the server process loads this file to describe the backend, and stays small.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from chamnet.errors import UnsupportedOpError
from chamnet.records import Component
from chamnet.units import Unit
from chamnet_agent.backends.base import Workload

if TYPE_CHECKING:
    from torch import Tensor

    from chamnet.models.torch_eager import EagerChain

__all__ = ["TorchBackend", "TorchModel", "installed_torch"]

_NOOP_SHAPE = (1, 8, 1, 1)
_FIRST_BUFFER = 2**21  # numbers: holds every activation of a mobile network at 224 pixels


@dataclass(frozen=True, slots=True)
class TorchModel:
    """A chain with its inputs.

    Attributes:
        inputs: The input, and the residual where one is taken; channels last, shared with other models.
    """

    chain: "EagerChain"
    inputs: tuple["Tensor", ...]

    def run(self) -> "Tensor":
        """Run it and return the output, which torch allocates anew each time."""
        return self.chain(*self.inputs)


class TorchBackend:
    """Runs chains of units eagerly, in channels last, with batch norm folded.

    The number of threads and the flushing of subnormal numbers are settings of the process and of the thread that
    makes the backend.
    """

    name: ClassVar = "torch"
    device: ClassVar = "cpu"

    def __init__(self, *, threads: int) -> None:
        import torch

        self._torch = torch
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        self._inputs = _Inputs(self.device)

    @staticmethod
    def describe() -> Component:
        """Return version, provider and whether it is installed."""
        version, _ = installed_torch()
        why_not = None if version else "not installed; pip install 'chamnet[torch]'"
        return Component(name="torch", version=version, provider="CPU", dtypes=("f32",), why_not=why_not)

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> TorchModel:
        """Build a chain; its input is shared, and read by all: eager torch writes to memory of its own.

        Raises:
            UnsupportedOpError: A model file or int8, or torch refuses a shape.
        """
        chain, inputs = self._built(workload, seed)
        return TorchModel(chain, inputs)

    def resolve(self, workload: Workload, *, seed: int) -> tuple[str, ...]:
        """Return a key for each call that computes.

        Raises:
            UnsupportedOpError: A model file or int8.
        """
        from chamnet.models.torch_eager import eager_keys

        return eager_keys(self._blocks(workload))

    def _built(self, workload: Workload, seed: int) -> tuple["EagerChain", tuple["Tensor", ...]]:
        """Return a chain that has run once, and its inputs."""
        from chamnet.models.torch_eager import EagerChain
        from chamnet.models.weights import random_weights

        blocks = self._blocks(workload)
        shapes = [blocks[0].in_shape if blocks else _NOOP_SHAPE]
        shapes += [unit.out_shape for unit in blocks if unit.takes_residual]
        with self._refusals():
            chain = EagerChain(blocks, random_weights(blocks, seed=seed), device=self.device)
            inputs = tuple(self._inputs.take(i, shape) for i, shape in enumerate(shapes))
            chain(*inputs)  # what torch refuses only when run, it refuses here
        return chain, inputs

    def _blocks(self, workload: Workload) -> tuple[Unit, ...]:
        if workload.model is not None:
            raise UnsupportedOpError(f"backend {self.name} takes no model files; use the backend onnxruntime")
        return workload.blocks

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Translate what torch raises about a chain."""
        try:
            yield
        except RuntimeError as error:
            if "CUDA error" in str(error):  # then all later calls fail too, and the process has to go
                raise
            message = f"backend {self.name} {self._torch.__version__} cannot run this: {error}"
            raise UnsupportedOpError(message) from error


def installed_torch() -> tuple[str, str]:
    """Return the versions of torch and of the CUDA that it is built for, empty where there is none.

    Read, not imported: importing takes seconds.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return "", ""
    source = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    found = [
        re.search(rf"^{name}\b[^=\n]*= *'([^']+)'", source, re.MULTILINE) for name in ("__version__", "cuda")
    ]
    version, cuda = (match[1] if match else "" for match in found)
    return version or "unknown", cuda


class _Inputs:
    """One buffer for inputs and one for residuals, which chains only read; they grow, and hold noise."""

    def __init__(self, device: str) -> None:
        import torch

        self._torch = torch
        self._device = device
        self._shared: list[Tensor] = [torch.empty(0), torch.empty(0)]

    def take(self, which: int, shape: tuple[int, int, int, int]) -> "Tensor":
        """Return a tensor in a shared buffer, NCHW with the channels last in memory."""
        size = math.prod(shape)
        if self._shared[which].numel() < size:
            grown = max(_FIRST_BUFFER, 2 ** math.ceil(math.log2(size)))
            noise = self._torch.randn(grown, generator=self._torch.Generator().manual_seed(which))
            self._shared[which] = noise.to(self._device)
        batch, channels, height, width = shape
        return self._shared[which][:size].view(batch, height, width, channels).permute(0, 3, 1, 2)
