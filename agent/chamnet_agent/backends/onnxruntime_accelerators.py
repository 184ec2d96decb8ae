"""ONNX Runtime on accelerators: NVIDIA GPUs through CUDA, Hexagon NPUs through QNN.

What a provider leaves to the CPU is refused as a fallback, never timed: the number would be another device's. A provider
compiles graphs as it likes, so a unit is a file of its own, and its executed key is its own key.
"""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from chamnet.errors import ConfigError, FallbackError, UnsupportedOpError
from chamnet.records import Component
from chamnet_agent.backends.base import Workload
from chamnet_agent.backends.onnxruntime import OnnxRuntimeBackend, installed_version, onnx_bytes
from chamnet_agent.backends.torch_cuda import cuda_provider, has_nvidia_device

__all__ = ["OnnxRuntimeAccelerator", "OnnxRuntimeCudaBackend", "OnnxRuntimeQnnBackend"]

_REFUSED = "fallback to CPU EP has been explicitly disabled"  # what the runtime says then


class OnnxRuntimeAccelerator(OnnxRuntimeBackend):
    """Runs ONNX files on one provider alone."""

    dtypes: ClassVar[tuple[str, ...]] = ("f32",)

    def resolve(self, workload: Workload, *, seed: int) -> tuple[str, ...]:
        """Return the provider and the key of each unit, once the provider has taken them all.

        Raises:
            FallbackError: The provider leaves an operator to the CPU.
            UnsupportedOpError: The runtime refuses it.
        """
        with self._refusals():
            self._loaded(workload, seed)
        return tuple(f"{self.provider}:{unit.key}" for unit in workload.blocks) or (f"{self.provider}:model",)

    def _loaded(self, workload: Workload, seed: int) -> Any:
        if other := {op.dtype for unit in workload.blocks for op in unit.ops} - set(self.dtypes):
            raise UnsupportedOpError(
                f"backend {self.name} runs {', '.join(self.dtypes)}, not {', '.join(other)}"
            )
        return self._session(onnx_bytes(workload, seed))

    def _session(self, data: bytes, *, optimise: bool = True, saved: Path | None = None) -> Any:
        try:
            return super()._session(data, optimise=optimise, saved=saved)
        except Exception as error:
            if _REFUSED in str(error):
                raise FallbackError(
                    f"backend {self.name}: {self.provider} leaves an operator of this to the CPU; it is not measured"
                ) from error
            raise

    def _started(self, data: bytes, options: Any) -> Any:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        return self._on_provider(data, options)

    def _on_provider(self, data: bytes, options: Any) -> Any:
        """Return a session with every node on the provider."""
        return self._ort.InferenceSession(data, options, providers=[self.provider])


class OnnxRuntimeCudaBackend(OnnxRuntimeAccelerator):
    """Runs ONNX files on the first NVIDIA GPU, with inputs and outputs in its memory."""

    name: ClassVar = "onnxruntime-cuda"
    provider: ClassVar = "CUDAExecutionProvider"

    @classmethod
    def describe(cls, root: Path = Path("/")) -> Component:
        """Return version, GPU and whether it can be used here.

        Args:
            root: Where the file system of the device begins.
        """
        found = installed_version()
        if not found:
            why_not = "not installed; pip install onnxruntime-gpu"
        elif not _library("onnxruntime_providers_cuda"):
            why_not = f"onnxruntime {found} is built without CUDA; pip install onnxruntime-gpu in its place"
        elif not has_nvidia_device(root):
            why_not = "no NVIDIA device here"
        else:
            why_not = None
        return Component(
            name=cls.name, version=found, provider=cuda_provider(root), dtypes=cls.dtypes, why_not=why_not
        )

    def _bind(self, session: Any, binding: Any, slot: int) -> Iterator[Any]:
        """Bind inputs and outputs on the GPU; yield what the inputs live in."""
        for value in session.get_inputs():
            held = self._ort.OrtValue.ortvalue_from_numpy(self._array(value, None), "cuda", 0)
            binding.bind_ortvalue_input(value.name, held)
            yield held
        for value in session.get_outputs():
            binding.bind_output(value.name, "cuda")


class OnnxRuntimeQnnBackend(OnnxRuntimeAccelerator):
    """Runs ONNX files on a Hexagon NPU through QNN; on x86 on the simulator that its package brings.

    Not int8: QNN leaves a classifier with a scale for each channel to the CPU (onnxruntime-qnn 2.7.0).
    """

    name: ClassVar = "onnxruntime-qnn"
    provider: ClassVar = "QNNExecutionProvider"

    def __init__(self, *, threads: int) -> None:
        super().__init__(threads=threads)
        import onnxruntime_qnn

        self._ort.register_execution_provider_library(self.provider, onnxruntime_qnn.get_library_path())
        self._devices = [each for each in self._ort.get_ep_devices() if each.ep_name == self.provider]
        if not self._devices:
            raise ConfigError(f"backend {self.name}: {self.provider} finds no device here")
        self._htp = onnxruntime_qnn.get_qnn_htp_path()

    @classmethod
    def describe(cls) -> Component:
        """Return version, what runs the work, and whether it is installed."""
        simulated = platform.machine() in ("x86_64", "AMD64")
        provider = f"{cls.provider} ({'HTP simulator: its times mean nothing' if simulated else 'HTP'})"
        runtime, why_not = installed_version(), None
        try:
            found = f"{runtime}+qnn{version('onnxruntime-qnn')}"
        except PackageNotFoundError:
            found, why_not = "", "not installed; pip install onnxruntime-qnn"
        if not runtime:
            why_not = "onnxruntime is not installed; pip install 'chamnet[onnx]'"
        return Component(name=cls.name, version=found, provider=provider, dtypes=cls.dtypes, why_not=why_not)

    def _on_provider(self, data: bytes, options: Any) -> Any:
        options.add_provider_for_devices(self._devices[:1], {"backend_path": str(self._htp)})
        return self._ort.InferenceSession(data, options)


def _library(name: str) -> bool:
    """Whether the runtime has a library of its own for a provider."""
    spec = find_spec("onnxruntime")
    folder = Path(spec.origin).parent / "capi" if spec and spec.origin else None
    return bool(folder and any(folder.glob(f"*{name}*")))
