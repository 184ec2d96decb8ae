"""LiteRT on the CPU, with XNNPACK, or on a delegate of the user's; where it is not installed its predecessor, `tflite-runtime`.

What a delegate leaves to the CPU is refused as a fallback, never timed: the number would be another device's.

The runtime and numpy are imported inside the methods: the server process loads this file to describe the
backend, and stays small.
"""

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from chamnet.errors import ConfigError, FallbackError, UnsupportedOpError
from chamnet.records import Component
from chamnet_agent.backends.base import Workload
from chamnet_agent.backends.outside import digest_of, why_no_file
from chamnet_agent.settings import DEFAULTS, BackendSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LiteRtBackend", "LiteRtModel", "tflite_bytes"]

_NAME = "litert"
_PROVIDER = "XNNPACK"
_DTYPES = ("f32", "int8")
_PACKAGES = ("ai_edge_litert", "tflite_runtime")
_NOOP_SHAPE = (1, 8, 1, 1)
_ENTRY_POINTS = ("tflite_plugin_create_delegate", "tflite_plugin_destroy_delegate")


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
    """Runs TFLite files on the CPU, or on a delegate.

    Raises:
        ConfigError: The runtime is installed, but broken, or the delegate does not load; says what to do.
    """

    settings: ClassVar[BackendSettings] = DEFAULTS

    def __init__(self, *, threads: int) -> None:
        package, version = _installed()
        self._threads = threads
        self._version = _shown(package, version)
        self._delegate: _External | None = None
        try:
            module = import_module(f"{package}.interpreter")
            self._new_interpreter = module.Interpreter
            self.prepare(Workload(), seed=0, slot=0)
        except (ImportError, AttributeError, SystemError, UnsupportedOpError) as error:
            # tflite-runtime imports with numpy 2, and only breaks when it is used
            cure = "pip install 'numpy<2'" if package == "tflite_runtime" else "pip install 'chamnet[litert]'"
            raise ConfigError(
                f"backend {_NAME}: {package} {version} does not work here: {error.__cause__ or error}; try {cure}"
            ) from error
        if self.settings.delegate is not None:
            self._delegate = _External(module, self.settings.delegate, dict(self.settings.delegate_options))

    @classmethod
    def describe(cls) -> Component:
        """Return version, provider and whether it is installed, and its delegate there.

        A delegate is a provider of its own, by name, digest and options.
        """
        package, version = _installed()
        delegate, provider = cls.settings.delegate, _PROVIDER
        why_not = None if package else "not installed; pip install 'chamnet[litert]'"
        if delegate is not None:
            why_not = why_not or why_no_file(delegate)
            digest = "" if why_not else digest_of(delegate)
            options = (f"{name}={value}" for name, value in cls.settings.delegate_options)
            provider = " ".join([delegate.name, digest, *options])
        return Component(
            name=_NAME, version=_shown(package, version), provider=provider, dtypes=_DTYPES, why_not=why_not
        )

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> LiteRtModel:
        """Load a workload; its tensors are its own, since LiteRT shares none between models.

        Raises:
            FallbackError: The delegate leaves something to the CPU.
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
        if self._delegate:  # its tensors may live elsewhere
            return LiteRtModel(interpreter.invoke, interpreter)
        # `invoke` first checks whether views of tensors are held: 0.25 us, half as long as an empty run
        run = getattr(getattr(interpreter, "_interpreter", None), "Invoke", None)
        if run is None:
            return LiteRtModel(interpreter.invoke, interpreter)
        return LiteRtModel(run, interpreter, tuple(_views(interpreter)))

    def resolve(self, workload: Workload, *, seed: int) -> tuple[str, ...]:
        """Return a key per operator, marked where XNNPACK does not take it; with a delegate, its name and each unit's key.

        Raises:
            FallbackError: The delegate leaves something to the CPU.
            UnsupportedOpError: The runtime refuses it.
        """
        from chamnet.models.tflite_executed import tflite_executed_keys

        data = tflite_bytes(workload, seed)
        with self._refusals():
            interpreter = self._interpreter(data)
            if self._delegate:
                name = self._delegate.name
                return tuple(f"{name}:{unit.key}" for unit in workload.blocks) or (f"{name}:model",)
            operators: list[dict[str, Any]] = getattr(interpreter, "_get_ops_details", list)()
            return tflite_executed_keys(data, apart=_apart(operators))

    def _interpreter(self, data: bytes) -> Any:
        delegated = self._delegate.arguments() if self._delegate else {}
        interpreter = self._new_interpreter(model_content=data, num_threads=self._threads, **delegated)
        interpreter.allocate_tensors()
        if self._delegate:
            self._delegate.check(interpreter)
        return interpreter

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Translate what the runtime raises about a model."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            raise UnsupportedOpError(f"backend {_NAME} {self._version} cannot run this: {error}") from error


class _External:
    """A delegate that the user brings.

    Args:
        module: Of the runtime, with its interpreter.
        library: Of the delegate.
        options: Given to it.

    Raises:
        ConfigError: It does not load, or the runtime does not tell what it takes.
    """

    def __init__(self, module: Any, library: Path, options: dict[str, str]) -> None:
        self._module = module
        self._library = library
        self._options = options
        if not hasattr(module.Interpreter, "_get_ops_details") or not hasattr(module, "OpResolverType"):
            raise ConfigError(
                f"backend {_NAME}: this runtime does not tell what a delegate leaves to the CPU; pip install 'chamnet[litert]'"
            )
        self._loaded()

    @property
    def name(self) -> str:
        """Name of the library."""
        return self._library.name

    def arguments(self) -> dict[str, Any]:
        """Return what a new interpreter is given: a delegate of its own, and no XNNPACK for what that one leaves."""
        alone = self._module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        return {"experimental_delegates": [self._loaded()], "experimental_op_resolver_type": alone}

    def check(self, interpreter: Any) -> None:
        """Check that the delegate runs everything.

        Raises:
            FallbackError: It does not; says what it leaves.
        """
        operators: list[dict[str, Any]] = interpreter._get_ops_details()
        apart = _apart(operators)
        left = dict.fromkeys(each["op_name"] for each in operators if each["index"] in apart)
        if left:
            raise FallbackError(
                f"backend {_NAME}: delegate {self.name} leaves {', '.join(left)} of this to the CPU; it is not measured"
            )

    def _loaded(self) -> Any:
        try:
            library = ctypes.CDLL(str(self._library))
            if missing := [name for name in _ENTRY_POINTS if not hasattr(library, name)]:
                raise ConfigError(
                    f"backend {_NAME}: {self._library} is no external delegate: it has no {missing[0]}"
                )
            return self._module.load_delegate(str(self._library), self._options)
        except OSError as error:
            raise ConfigError(
                f"backend {_NAME}: delegate {self._library} does not load: {error}; it has to be built for this processor and"
                " C library, which those of a phone are not: there, the backend native-tool runs them"
            ) from error
        except ValueError as error:
            said = str(error).partition("\n")[2].strip() or "nothing"
            raise ConfigError(
                f"backend {_NAME}: delegate {self._library} cannot be made; it said: {said}; look at --delegate-options"
            ) from error


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
