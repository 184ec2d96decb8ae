"""A native tool of the user's, for accelerators whose libraries this process cannot load: GPUs and NPUs of phones.

Regime: each run of the tool loads one file and calls it again and again, so it finds the caches as that same unit left
them. Walking through a network is not possible; what the host asks for as a ring is only measured in turn.

What the delegate leaves to the CPU is refused as a fallback, never timed. The tool says which nodes ran; XNNPACK counts as
the CPU unless it was asked for by name, since TensorFlow Lite hands it whatever a delegate leaves.
"""

import os
import shlex
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from chamnet.errors import ConfigError, FallbackError, UnsupportedOpError
from chamnet.records import Component
from chamnet_agent.backends.base import Workload
from chamnet_agent.backends.benchmark_tool import (
    BenchmarkTool,
    Node,
    Refusal,
    ToolEndedError,
    ToolRun,
    mistake_in,
)
from chamnet_agent.backends.litert import tflite_bytes
from chamnet_agent.backends.outside import digest_of, why_no_file
from chamnet_agent.settings import DEFAULTS, BackendSettings

__all__ = ["NativeToolBackend", "ToolModel"]

_NAME = "native-tool"
_DTYPES = ("f32", "int8")
_HOW = (
    "no tool is given; put benchmark_model of TensorFlow Lite on the device, and start the agent with --native-tool PATH and"
    " --native-tool-args='--use_gpu=true' (native_tool and native_tool_args in a device profile)"
)
_CPU = "XNNPack"  # in the name of the delegate that takes what others leave
_FOLDER = "chamnet-tool-"


class ToolModel:
    """A file that the tool runs anew for each call.

    Args:
        tool: Runs it.
        model: The file; its folder goes with this object.
        first: What the first run said.
        asked_for_cpu: Whether XNNPACK was asked for.
    """

    runs_apart: ClassVar = True

    def __init__(self, tool: BenchmarkTool, model: Path, first: ToolRun, *, asked_for_cpu: bool) -> None:
        self._tool = tool
        self._model = model
        self._asked_for_cpu = asked_for_cpu
        self._pending: ToolRun | None = first
        self._last = first
        self._cleaned = weakref.finalize(self, shutil.rmtree, model.parent, ignore_errors=True)

    def run(self) -> None:
        """Run the tool once. The first call is the run that preparing took.

        Raises:
            ToolEndedError: It fails at what it did before.
        """
        if self._pending is not None:
            self._last, self._pending = self._pending, None
            return
        done = self._tool.run(self._model, whole=True)
        if isinstance(done, Refusal) or _left_to_cpu(done.nodes, asked_for_cpu=self._asked_for_cpu):
            said = f":\n{done.last_lines}" if isinstance(done, Refusal) else " leaving nodes to the CPU"
            raise ToolEndedError(f"the tool ran this before, and now ends{said}")
        self._last = done

    def device_ns(self) -> int:
        """Return what a call took in the last run, on average."""
        return self._last.mean_ns


class NativeToolBackend:
    """Has a `benchmark_model` run TFLite files.

    Raises:
        ConfigError: The tool does not work here at all; says what it said.
    """

    settings: ClassVar[BackendSettings] = DEFAULTS

    def __init__(self, *, threads: int) -> None:
        if reason := self.describe().why_not:
            raise ConfigError(f"backend {_NAME}: {reason}")
        assert self.settings.native_tool is not None
        args = self.settings.native_tool_args
        self._asked_for_cpu = any(word.startswith("--use_xnnpack=") for word in args)
        self._tool = BenchmarkTool(self.settings.native_tool, args, threads=threads)
        _sweep()
        self._check()

    @classmethod
    def describe(cls) -> Component:
        """Return the tool's digest as version, its arguments as provider, and whether it is there."""
        tool, args = cls.settings.native_tool, cls.settings.native_tool_args
        absent = _HOW if tool is None else why_no_file(tool)
        if tool is None or absent:
            return Component(name=_NAME, dtypes=_DTYPES, why_not=absent)
        if not os.access(tool, os.X_OK):
            absent = f"{tool} is not executable; chmod +x it there"
        return Component(
            name=_NAME,
            version=f"{tool.name} {digest_of(tool)}",
            provider=shlex.join(args),
            dtypes=_DTYPES,
            why_not=absent or mistake_in(args),
        )

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> ToolModel:
        """Write a workload to a file and run it once.

        Raises:
            FallbackError: The delegate leaves something to the CPU.
            UnsupportedOpError: The tool refuses it, or a shape is not fixed.
            ConfigError: The program is not the tool that this expects.
            ToolEndedError: A signal ended it.
        """
        model = _written(_checked_bytes(workload, seed))
        try:
            return ToolModel(self._tool, model, self._whole(model), asked_for_cpu=self._asked_for_cpu)
        except BaseException:
            shutil.rmtree(model.parent, ignore_errors=True)
            raise

    def resolve(self, workload: Workload, *, seed: int) -> tuple[str, ...]:
        """Return the delegate and the key of each unit, once the delegate has taken them all.

        Raises:
            FallbackError: The delegate leaves something to the CPU.
            UnsupportedOpError: The tool refuses it.
        """
        model = _written(_checked_bytes(workload, seed))
        try:
            delegate = self._whole(model).nodes[0].delegate
        finally:
            shutil.rmtree(model.parent, ignore_errors=True)
        return tuple(f"{delegate}:{unit.key}" for unit in workload.blocks) or (f"{delegate}:model",)

    def _whole(self, model: Path) -> ToolRun:
        """Return a run in which the delegate took everything."""
        done = self._tool.run(model, whole=True)
        if isinstance(done, ToolRun):
            if left := _left_to_cpu(done.nodes, asked_for_cpu=self._asked_for_cpu):
                raise self._fallback(left)
            return done
        parts = self._tool.run(model, whole=False)
        if isinstance(parts, Refusal):
            raise UnsupportedOpError(
                f"backend {_NAME} cannot run this: the tool ended with {parts.code}; its last lines:\n{parts.last_lines}"
            )
        if left := _left_to_cpu(parts.nodes, asked_for_cpu=self._asked_for_cpu):
            raise self._fallback(left)
        if len(parts.nodes) > 1:
            raise FallbackError(
                f"backend {_NAME}: the delegate takes this in {len(parts.nodes)} pieces, between which the CPU copies; it is"
                " not measured"
            )
        raise ToolEndedError(
            f"the tool refuses to run this whole, and then does so; it said:\n{done.last_lines}"
        )

    def _fallback(self, left: tuple[str, ...]) -> FallbackError:
        return FallbackError(
            f"backend {_NAME}: with {shlex.join(self.settings.native_tool_args)}, {', '.join(left)} of this"
            f" {'is' if len(left) == 1 else 'are'} left to the CPU; it is not measured"
        )

    def _check(self) -> None:
        """Run the empty model, wherever it runs, and see that asking for the delegate alone ends nothing.

        Raises:
            ConfigError: That fails, as everything would: a library is missing, a flag unknown, or two do not go together.
        """
        model = _written(tflite_bytes(Workload(), 0))
        try:
            done = self._tool.run(model, whole=False)
            self._tool.run(model, whole=True)
        except ToolEndedError as error:
            raise ConfigError(f"backend {_NAME} does not work here: {error}") from error
        finally:
            shutil.rmtree(model.parent, ignore_errors=True)
        if isinstance(done, Refusal):
            raise ConfigError(
                f"backend {_NAME} does not work here: {self.settings.native_tool} ended with {done.code} on an empty model; its"
                f" last lines:\n{done.last_lines}"
            )


def _left_to_cpu(nodes: tuple[Node, ...], *, asked_for_cpu: bool) -> tuple[str, ...]:
    """Return the names of nodes that another than the delegate ran, each once."""

    def left() -> Iterator[str]:
        for node in nodes:
            if not node.delegate:
                yield node.name
            elif _CPU in node.delegate and not asked_for_cpu:
                yield "what XNNPACK takes"

    return tuple(dict.fromkeys(left()))


def _checked_bytes(workload: Workload, seed: int) -> bytes:
    """Return a workload as a file.

    Raises:
        UnsupportedOpError: It cannot be written, or a model file is broken or without fixed shapes.
    """
    from chamnet.models.tflite_schema import unpack

    data = tflite_bytes(workload, seed)
    if workload.model is None:
        return data
    try:
        graph = unpack(data).subgraphs[0]
        inputs = [graph.tensors[index] for index in graph.inputs]
    except (ValueError, IndexError) as error:
        raise UnsupportedOpError(
            f"backend {_NAME} cannot run this: the model file is broken ({error})"
        ) from error
    for tensor in inputs:
        if -1 in tensor.shape_signature:  # the tool would take 1 for it
            raise UnsupportedOpError(
                f"{tensor.name}: shape {tensor.shape_signature} is not fixed; export the model with fixed shapes"
            )
    return data


def _written(data: bytes) -> Path:
    """Return a file, in a folder of its own."""
    model = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-")) / "model.tflite"
    model.write_bytes(data)
    return model


def _sweep() -> None:
    """Remove what processes left that were shot."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        pid = folder.name.removeprefix(_FOLDER).partition("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(folder, ignore_errors=True)
