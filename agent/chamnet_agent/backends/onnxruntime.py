"""ONNX Runtime, CPU execution provider.

A lone unit is run as the runtime executes it inside a network: optimised between neighbours on this device, and its
nodes cut out (`chamnet.models.onnx_cut`). No reorders that a network would not have, whatever layout the device likes.

The runtime and numpy are imported inside the methods: the server process loads this file to describe the
backend, and stays small.
"""

import math
import os
import re
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from chamnet.errors import ConfigError, UnsupportedOpError
from chamnet.records import Component
from chamnet.units import Unit
from chamnet_agent.backends.base import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from chamnet.models.onnx_cut import Cut

__all__ = ["OnnxRuntimeBackend", "OrtModel", "installed_version", "onnx_bytes"]

_NOOP_SHAPE = (1, 8, 1, 1)
_FIRST_BUFFER_BYTES = 8 * 2**20  # holds every activation of a mobile network at 224 pixels
_RESIDUAL = 2  # of the three shared buffers, the one that is only read
_ERRORS_ONLY = 3  # log severity
_CUTS_BYTES = 512 * 2**20  # of cut units kept, at most, so that the next visit need not cut again
_CUTS_SHARE = 8  # and at most this part of the memory


@dataclass(frozen=True, slots=True)
class OrtModel:
    """A session with its inputs and outputs bound to fixed memory.

    Attributes:
        run: Runs it.
        memory: Keeps the bound arrays alive.
    """

    run: Callable[[], object]
    memory: tuple[Any, ...]


class OnnxRuntimeBackend:
    """Runs ONNX files on the CPU, fully optimised, sequentially."""

    name: ClassVar = "onnxruntime"
    provider: ClassVar = "CPUExecutionProvider"
    dtypes: ClassVar[tuple[str, ...]] = ("f32", "int8")

    def __init__(self, *, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:  # installed, but a library of it is missing or does not fit
            raise ConfigError(
                f"backend {self.name} is installed but does not load ({error}); reinstall it: pip install"
                " --force-reinstall onnxruntime"
            ) from error

        self._ort = onnxruntime
        self._threads = threads
        self._buffers = _Buffers()
        self._cuts = _Cuts()

    @classmethod
    def describe(cls) -> Component:
        """Return version, provider and whether it is installed."""
        version = installed_version()
        why_not = None if version else "not installed; pip install 'chamnet[onnx]'"
        return Component(
            name=cls.name, version=version, provider=cls.provider, dtypes=cls.dtypes, why_not=why_not
        )

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> OrtModel:
        """Load a workload with its tensors bound to the shared buffers.

        Raises:
            UnsupportedOpError: The runtime refuses it, or a shape is not fixed.
        """
        with self._refusals():
            session = self._loaded(workload, seed)
            binding = session.io_binding()
            memory = tuple(self._bind(session, binding, slot))
            session.run_with_iobinding(binding)  # what it refuses only when run, it refuses here
        # the private twin of `run_with_iobinding` saves a microsecond of Python a call, half of an empty run
        raw = getattr(session, "_sess", None)
        if raw is None or not hasattr(binding, "_iobinding"):
            return OrtModel(lambda: session.run_with_iobinding(binding), memory)
        fast, inner = raw.run_with_iobinding, binding._iobinding
        return OrtModel(lambda: fast(inner, None), (*memory, session, binding))

    def _loaded(self, workload: Workload, seed: int) -> Any:
        """Return a session that runs a workload; a lone unit as inside a network."""
        if _lone(workload):
            return self._session(self._cut(workload.blocks[0], seed).model, optimise=False)
        return self._session(onnx_bytes(workload, seed))

    def resolve(self, workload: Workload, *, seed: int) -> tuple[str, ...]:
        """Return the keys of the nodes of the optimised graph.

        Raises:
            UnsupportedOpError: The runtime refuses it.
        """
        from chamnet.models.onnx_executed import executed_keys
        from chamnet.models.onnx_reader import read_onnx

        with self._refusals():
            if _lone(workload):
                return self._cut(workload.blocks[0], seed).keys
            return executed_keys(read_onnx(self._optimised(onnx_bytes(workload, seed))))

    def _cut(self, unit: Unit, seed: int) -> "Cut":
        """Return what this device's runtime makes of a unit inside a network."""
        from chamnet.models.onnx_cut import carrier_of, cut

        if (found := self._cuts.get(unit.key, seed)) is None:
            carrier = carrier_of(unit)
            whole = self._optimised(onnx_bytes(Workload(blocks=carrier.blocks), seed))
            found = cut(whole, carrier.names)
            self._cuts.put(unit.key, seed, found)
        return found

    def _optimised(self, data: bytes) -> bytes:
        with tempfile.NamedTemporaryFile(prefix="chamnet-", suffix=".onnx") as file:
            self._session(data, saved=Path(file.name))
            return Path(
                file.name
            ).read_bytes()  # not through `file`: the runtime may have put another in its place

    def _session(self, data: bytes, *, optimise: bool = True, saved: Path | None = None) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.execution_mode = self._ort.ExecutionMode.ORT_SEQUENTIAL
        level = self._ort.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        if self._threads == 1:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if saved:
            options.optimized_model_filepath = str(saved)
        return self._started(data, options)

    def _started(self, data: bytes, options: Any) -> Any:
        """Return a session on the provider."""
        return self._ort.InferenceSession(data, options, providers=[self.provider])

    def _bind(self, session: Any, binding: Any, slot: int) -> Iterator[Any]:
        """Bind inputs and outputs; yield the arrays they live in."""
        for i, value in enumerate(session.get_inputs()):
            which = slot % 2 if i == 0 else _RESIDUAL
            array = self._array(value, which if i < 2 else None)
            binding.bind_input(value.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            yield array
        for i, value in enumerate(session.get_outputs()):
            array = self._array(value, (slot + 1) % 2 if i == 0 else None)
            binding.bind_output(value.name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
            yield array

    def _array(self, value: Any, which: int | None) -> "NDArray[Any]":
        """Return memory for an input or output, in a shared buffer or of its own."""
        return self._buffers.take(which, _shape(value), _dtype(value))

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Translate what the runtime raises about a model."""
        state = self._ort.capi.onnxruntime_pybind11_state
        try:
            yield
        except (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf,
                state.NotImplemented, state.RuntimeException) as error:  # fmt: skip
            message = f"backend {self.name} {self._ort.__version__} cannot run this: {error}"
            raise UnsupportedOpError(message) from error


class _Cuts:
    """The units cut last, by key and seed, as many as fit the memory set aside for them."""

    def __init__(self) -> None:
        self._room = min(_CUTS_BYTES, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _CUTS_SHARE)
        self._held: OrderedDict[tuple[str, int], Cut] = OrderedDict()

    def get(self, key: str, seed: int) -> "Cut | None":
        """Return a unit that was cut before; None if it is not held."""
        if (key, seed) not in self._held:
            return None
        self._held.move_to_end((key, seed))
        return self._held[key, seed]

    def put(self, key: str, seed: int, cut: "Cut") -> None:
        """Hold a unit, and let go of those not asked for longest."""
        self._held[key, seed] = cut
        self._room -= len(cut.model)
        while self._room < 0 and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            self._room += len(dropped.model)


class _Buffers:
    """Two activation buffers that models swap, and one for residuals; they grow, and are filled with noise."""

    def __init__(self) -> None:
        import numpy as np

        self._np = np
        self._noise = np.random.default_rng(0).standard_normal(2**18, dtype=np.float32)
        self._shared: list[NDArray[np.float32]] = [self._filled(0)] * 3

    def take(self, which: int | None, shape: tuple[int, ...], dtype: "np.dtype[Any]") -> "NDArray[Any]":
        """Return an array in a shared buffer; with memory of its own for `None` and for wide whole numbers."""
        size = math.prod(shape)
        if dtype.itemsize == 1 and which is not None:
            return (
                self.take(which, (-(-size // 4),), self._np.dtype("float32"))
                .view(dtype)[:size]
                .reshape(shape)
            )
        if dtype != self._np.float32:
            return self._np.ones(shape, dtype)
        if which is None:
            return self._filled(size)[:size].reshape(shape)
        if self._shared[which].size < size:
            grown = max(_FIRST_BUFFER_BYTES // 4, 2 ** math.ceil(math.log2(max(size, 1))))
            self._shared[which] = self._filled(grown)
        return self._shared[which][:size].reshape(shape)

    def _filled(self, size: int) -> "NDArray[np.float32]":
        return self._np.resize(self._noise, max(size, 1))


def installed_version() -> str:
    """Return the version of the runtime; empty if it is not installed.

    Read, not imported: importing takes half a second and 60 MB.
    """
    spec = find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        return ""
    source = Path(spec.origin).read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE)
    return found[1] if found else "unknown"


def _lone(workload: Workload) -> bool:
    """Return whether a workload is one unit, to be run as inside a network."""
    return len(workload.blocks) == 1 and workload.model is None and not workload.isolated


def onnx_bytes(workload: Workload, seed: int) -> bytes:
    """Return a workload as an ONNX file."""
    from chamnet.models.onnx_writer import identity_model, onnx_model
    from chamnet.models.weights import random_weights

    if workload.model is not None:
        return workload.model
    if not workload.blocks:
        return identity_model(_NOOP_SHAPE)
    return onnx_model(workload.blocks, random_weights(workload.blocks, seed=seed))


def _shape(value: Any) -> tuple[int, ...]:
    if not all(isinstance(size, int) for size in value.shape):
        raise UnsupportedOpError(
            f"{value.name}: shape {value.shape} is not fixed; export the model with fixed shapes"
        )
    return tuple(value.shape)


def _dtype(value: Any) -> "np.dtype[Any]":
    import numpy as np

    kind = value.type.removeprefix("tensor(").removesuffix(")")
    try:
        dtype: np.dtype[Any] = np.dtype({"float": "float32", "double": "float64"}.get(kind, kind))
    except TypeError as error:
        raise UnsupportedOpError(f"{value.name}: element type {value.type} cannot be filled") from error
    return dtype
