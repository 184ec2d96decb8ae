"""LiteRT on the CPU, with XNNPACK; where it is not installed its predecessor, `tflite-runtime`.

The runtime and numpy are imported inside the methods: the server process loads this file to describe the
backend, and stays small.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chamnet.errors import ConfigError, UnsupportedOpError
from chamnet.records import Component
from chamnet_agent.backends.base import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LiteRtBackend", "LiteRtModel", "tflite_bytes"]

_NAME = "litert"
_PROVIDER = "XNNPACK"
_DTYPES = ("f32", "int8")
_PACKAGES = ("ai_edge_litert", "tflite_runtime")
_NOOP_SHAPE = (1, 8, 1, 1)


@dataclass(frozen=True, slots=True)
class LiteRtModel:
    """An interpreter with its inputs filled.

    Attributes:
        run: Runs it.
        interpreter: Keeps the model and its tensors alive.
        tensors: Views of its outputs, then of its inputs; none where the runtime cannot run while they are held.
    """

    run: Callable[[], object]
    interpreter: Any
    tensors: tuple[Any, ...] = ()

    def warm(self) -> None:
        """Write inputs and outputs anew: in a network their memory was just in use by the layers before."""
        for tensor in self.tensors:
            tensor |= 0


class LiteRtBackend:
    """Runs TFLite files on the CPU.

    Raises:
        ConfigError: The runtime is installed, but broken; says what to do.
    """

    def __init__(self, *, threads: int) -> None:
        package, version = _installed()
        self._threads = threads
        self._version = _shown(package, version)
        try:
            self._new_interpreter = import_module(f"{package}.interpreter").Interpreter
            self.prepare(Workload(), seed=0, slot=0)
        except (ImportError, AttributeError, SystemError, UnsupportedOpError) as error:
            # tflite-runtime imports with numpy 2, and only breaks when it is used
            cure = "pip install 'numpy<2'" if package == "tflite_runtime" else "pip install 'chamnet[litert]'"
            raise ConfigError(
                f"backend {_NAME}: {package} {version} does not work here: {error.__cause__ or error}; try {cure}"
            ) from error

    @staticmethod
    def describe() -> Component:
        """Return version, provider and whether it is installed."""
        package, version = _installed()
        return Component(
            name=_NAME,
            version=_shown(package, version),
            provider=_PROVIDER,
            dtypes=_DTYPES,
            why_not=None if package else "not installed; pip install 'chamnet[litert]'",
        )

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> LiteRtModel:
        """Load a workload; its tensors are its own, since LiteRT shares none between models.

        Raises:
            UnsupportedOpError: The runtime refuses it, or a shape is not fixed.
        """
        import numpy as np

        data = tflite_bytes(workload, seed)
        rng = np.random.default_rng(seed)
        with self._refusals():
            interpreter = self._interpreter(data)
            for details in interpreter.get_input_details():
                interpreter.set_tensor(details["index"], _noise(details, rng))
            interpreter.invoke()  # what it refuses only when run, it refuses here
        # `invoke` first checks whether views of tensors are held: 0.25 us, half as long as an empty run
        run = getattr(getattr(interpreter, "_interpreter", None), "Invoke", None)
        if run is None:
            return LiteRtModel(interpreter.invoke, interpreter)
        return LiteRtModel(run, interpreter, tuple(_views(interpreter)))

    def resolve(self, workload: Workload, *, seed: int) -> tuple[str, ...]:
        """Return a key per operator, marked where XNNPACK does not take it.

        Raises:
            UnsupportedOpError: The runtime refuses it.
        """
        from chamnet.models.tflite_executed import tflite_executed_keys

        data = tflite_bytes(workload, seed)
        with self._refusals():
            interpreter = self._interpreter(data)
            operators: list[dict[str, Any]] = getattr(interpreter, "_get_ops_details", list)()
            return tflite_executed_keys(data, apart=_apart(operators))

    def _interpreter(self, data: bytes) -> Any:
        interpreter = self._new_interpreter(model_content=data, num_threads=self._threads)
        interpreter.allocate_tensors()
        return interpreter

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Translate what the runtime raises about a model."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            raise UnsupportedOpError(f"backend {_NAME} {self._version} cannot run this: {error}") from error


def _views(interpreter: Any) -> Iterator[Any]:
    """Yield the memory of outputs and inputs as whole numbers, so that writing it anew changes nothing."""
    for details in (*interpreter.get_output_details(), *interpreter.get_input_details()):
        view = interpreter.tensor(details["index"])()
        yield view.view({1: "u1", 2: "u2", 4: "u4", 8: "u8"}[view.dtype.itemsize])


def _installed() -> tuple[str, str]:
    """Return package and version of the runtime, empty if there is none; loads nothing."""
    for package in _PACKAGES:
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            source = Path(spec.origin).read_text(encoding="utf-8")
            version = re.search(r"""^__version__ = ["']([^"']+)["']""", source, re.MULTILINE)
            return package, version[1] if version else "unknown"
    return "", ""


def _shown(package: str, version: str) -> str:
    """Return the version, with the package's name where that is not LiteRT: times of the two do not compare."""
    return f"tflite-runtime {version}" if package == "tflite_runtime" else version


def tflite_bytes(workload: Workload, seed: int) -> bytes:
    """Return a workload as a TFLite file.

    Raises:
        UnsupportedOpError: It cannot be written, or the model file is none.
    """
    from chamnet.models.tflite_writer import tflite_identity_model, tflite_model
    from chamnet.models.weights import random_weights

    if workload.model is not None:
        if workload.model[4:8] != b"TFL3":  # the runtime verifies the rest
            raise UnsupportedOpError("cannot run this: the model is no TFLite file")
        return workload.model
    if not workload.blocks:
        return tflite_identity_model(_NOOP_SHAPE)
    return tflite_model(workload.blocks, random_weights(workload.blocks, seed=seed))


def _noise(details: dict[str, Any], rng: "np.random.Generator") -> "NDArray[Any]":
    """Return what an input is filled with: noise, or ones for whole numbers that may be indices."""
    import numpy as np

    shape, dtype = tuple(details["shape"]), np.dtype(details["dtype"])
    if -1 in details["shape_signature"]:
        raise UnsupportedOpError(
            f"{details['name']}: shape {tuple(details['shape_signature'])} is not fixed; "
            "export the model with fixed shapes"
        )
    if dtype.kind == "f":
        return rng.standard_normal(shape, np.float32).astype(dtype)
    if dtype.itemsize == 1 and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    return np.ones(shape, dtype)


def _apart(operators: Sequence[dict[str, Any]]) -> set[int]:
    """Return the places of operators that no delegate runs.

    The runtime lists the operators of the file, then the delegates that took over: each runs all that lies between
    its inputs and its outputs.
    """
    makers = {
        index: operator
        for operator in operators
        if operator["op_name"] != "DELEGATE"
        for index in operator["outputs"]
    }
    apart = {operator["index"] for operator in makers.values()}
    for delegate in operators:
        if delegate["op_name"] == "DELEGATE":
            given, wanted = set(delegate["inputs"]), list(delegate["outputs"])
            while wanted:
                operator = makers.get(wanted.pop())
                if operator and operator["index"] in apart:
                    apart.remove(operator["index"])
                    wanted += [index for index in operator["inputs"] if index not in given]
    return apart
