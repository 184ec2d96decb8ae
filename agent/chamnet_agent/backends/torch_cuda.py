"""PyTorch on an NVIDIA GPU, eager, timed by the GPU.

Convolutions and products compute as torch's defaults have it: TensorFloat-32 where those allow it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from chamnet.errors import ConfigError
from chamnet.records import Component
from chamnet_agent.backends.base import Workload
from chamnet_agent.backends.torch import TorchBackend, TorchModel, installed_torch

if TYPE_CHECKING:
    import torch

__all__ = ["TorchCudaBackend", "TorchCudaModel", "cuda_provider", "has_nvidia_device"]

_NODES = ("dev/nvidia[0-9]*", "dev/nvgpu", "dev/nvhost-gpu", "dev/dxg")  # a card, two kinds of Jetson, WSL


@dataclass(frozen=True, slots=True)
class TorchCudaModel(TorchModel):
    """A chain with its inputs on the GPU, and the events around its last run."""

    start: "torch.cuda.Event"
    end: "torch.cuda.Event"

    def run(self) -> "torch.Tensor":
        """Run it, wait for the GPU, and return the output."""
        self.start.record()
        output = self.chain(*self.inputs)
        self.end.record()
        self.end.synchronize()
        return output

    def device_ns(self) -> int:
        """Return what passed on the GPU between the begin and the end of the last run.

        Where the GPU waits for the next kernel to be launched, that counts too.
        """
        elapsed_ms: float = self.start.elapsed_time(self.end)
        return round(elapsed_ms * 1e6)


class TorchCudaBackend(TorchBackend):
    """Runs chains of units eagerly on the first CUDA device that torch sees.

    Raises:
        ConfigError: Torch sees none.
    """

    name: ClassVar = "torch-cuda"
    device: ClassVar = "cuda"

    def __init__(self, *, threads: int) -> None:
        super().__init__(threads=threads)
        if not self._torch.cuda.is_available():
            raise ConfigError(
                f"backend {self.name}: torch {self._torch.__version__} sees no CUDA device; look at nvidia-smi "
                "and CUDA_VISIBLE_DEVICES"
            )

    @staticmethod
    def describe(root: Path = Path("/")) -> Component:
        """Return version, GPU and whether it can be used here.

        Args:
            root: Where the file system of the device begins.
        """
        version, cuda = installed_torch()
        if not version:
            why_not = "not installed; pip install 'chamnet[torch]'"
        elif not has_nvidia_device(root):
            why_not = "no NVIDIA device here"
        elif not cuda:
            why_not = f"torch {version} is built without CUDA; install another from pytorch.org"
        else:
            why_not = None
        return Component(
            name="torch-cuda", version=version, provider=cuda_provider(root), dtypes=("f32",), why_not=why_not
        )

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> TorchCudaModel:
        """Build a chain on the GPU.

        Raises:
            UnsupportedOpError: A model file or int8, or torch refuses a shape.
        """
        chain, inputs = self._built(workload, seed)
        event = self._torch.cuda.Event
        model = TorchCudaModel(chain, inputs, event(enable_timing=True), event(enable_timing=True))
        model.run()  # so there is a last run
        return model


def has_nvidia_device(root: Path = Path("/")) -> bool:
    """Whether there is an NVIDIA device.

    Args:
        root: Where the file system of the device begins.
    """
    return any(match for node in _NODES for match in root.glob(node))


def cuda_provider(root: Path = Path("/")) -> str:
    """Return CUDA and the GPU's model, so that rows of different GPUs never mix."""
    models = set()
    for information in root.glob("proc/driver/nvidia/gpus/*/information"):
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "Model":
                models.add(value.strip())
    return f"CUDA ({', '.join(sorted(models))})" if models else "CUDA"
