"""`benchmark_model` of TensorFlow Lite and LiteRT as a subprocess.

Only the files that it writes for programs are read, never its log: a message `BenchmarkResult` with the mean time of its
runs, and a message `ModelRuntimeDetails` with the nodes that ran and the delegate behind each. It writes no single runs, so
a run of the tool is one sample. Profiles of operators (`--enable_op_profiling`) are not asked for: taking them costs time
inside the runs.
"""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from chamnet.errors import ConfigError
from chamnet.wire import benchmark_subset_pb2 as pb

__all__ = ["BenchmarkTool", "Node", "Refusal", "ToolEndedError", "ToolRun", "mistake_in"]

_PR_SET_PDEATHSIG = 1
_LEAST_RUNS, _LEAST_S = 10, 0.1  # in a sample: such that a clock of microseconds is fine enough
_WARM_RUNS, _WARM_S = 3, 0.05
_TAIL_CHARS, _LINES = 4_000, 6
_LINE_CHARS = 200
_ENVIRONMENT = re.compile(r"[A-Za-z_]\w*=")
_FLAG = re.compile(r"--(\w+)=")
_OWN = frozenset({
    "graph", "num_threads", "num_runs", "min_secs", "warmup_runs", "warmup_min_secs", "require_full_delegation",
    "result_file_path", "export_model_runtime_info", "model_runtime_info_output_file", "dry_run", "help",
})  # fmt: skip
_OF_2025 = "a benchmark_model built from sources of 2025 or later writes it"

M = TypeVar("M", bound=Message)


class ToolEndedError(Exception):
    """The tool was ended by a signal, or fails at what it did before; says its last lines."""


@dataclass(frozen=True, slots=True)
class Node:
    """What ran as one.

    Attributes:
        name: Of the operator, such as `CONV_2D`, or the delegate's again.
        delegate: Name of the delegate behind it; empty: TensorFlow Lite's own kernels.
    """

    name: str
    delegate: str


@dataclass(frozen=True, slots=True)
class ToolRun:
    """What a run of the tool wrote.

    Attributes:
        mean_ns: Wall-clock time of a call, as the tool has it.
        nodes: What ran, in order.
    """

    mean_ns: int
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The tool ended with an exit code other than 0.

    Attributes:
        code: The exit code.
        last_lines: Of its output.
    """

    code: int
    last_lines: str


def mistake_in(args: Sequence[str]) -> str | None:
    """Return what is wrong with arguments for the tool; None if nothing is."""
    flags = _split(args)[1]
    if not flags:
        return "it is given no delegate: name one, such as --use_gpu=true, or --use_xnnpack=true for the CPU"
    for word in flags:
        found = _FLAG.match(word)
        if not found:
            return f"argument {word!r}: write it as --name=value"
        if found[1] in _OWN:
            return f"argument --{found[1]}: it is the agent's to give; leave it out"
    return None


class BenchmarkTool:
    """Runs the program, in the process group of this process; it ends with the thread that calls.

    Args:
        program: Its path.
        args: Its own flags, behind settings of its environment.
        threads: It computes with.
    """

    def __init__(self, program: Path, args: Sequence[str], *, threads: int) -> None:
        self._program = program
        self._environ, self._flags = _split(args)
        self._threads = threads
        self._tie = _tied_to(os.getpid())

    def run(self, model: Path, *, whole: bool) -> ToolRun | Refusal:
        """Run a model and return what the tool wrote, or how it refused.

        Args:
            model: A TFLite file; the tool's own files are put beside it.
            whole: Whether the tool is to refuse what its delegate does not take in one piece.

        Raises:
            ConfigError: The program cannot be started, or is not the tool that this expects.
            ToolEndedError: A signal ended it.
        """
        result, nodes, log = (model.with_name(name) for name in ("result", "nodes", "log"))
        for stale in (result, nodes):
            stale.unlink(missing_ok=True)
        code = self._ended([*self._flags, *self._own_flags(model, result, nodes, whole)], log)
        if code < 0:
            raise ToolEndedError(
                f"{self._program} was ended by {signal.Signals(-code).name}; its last lines:\n{_last_lines(log)}"
            )
        if code > 0:
            return Refusal(code, _last_lines(log))
        return ToolRun(self._mean_ns(result, log), self._nodes(nodes, log))

    def _own_flags(self, model: Path, result: Path, nodes: Path, whole: bool) -> list[str]:
        given = {
            "graph": model,
            "num_threads": self._threads,
            "num_runs": _LEAST_RUNS,
            "min_secs": _LEAST_S,
            "warmup_runs": _WARM_RUNS,
            "warmup_min_secs": _WARM_S,
            "require_full_delegation": str(whole).lower(),
            "result_file_path": result,
            "export_model_runtime_info": "true",
            "model_runtime_info_output_file": nodes,
        }
        return [f"--{name}={value}" for name, value in given.items()]

    def _ended(self, flags: Sequence[str], log: Path) -> int:
        """Return the exit code; less than zero where a signal ended it."""
        with log.open("wb") as output:
            try:
                process = subprocess.Popen(
                    [self._program, *flags],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self._environ},
                    preexec_fn=self._tie,
                )
            except OSError as error:
                raise ConfigError(
                    f"{self._program} cannot be started: {error.strerror}; it has to be executable (chmod +x), where"
                    " programs may be started (on a phone /data/local/tmp), and built for this processor and C library"
                ) from error
        try:
            return process.wait()
        finally:
            process.kill()
            process.wait()

    def _mean_ns(self, path: Path, log: Path) -> int:
        result = self._read(pb.BenchmarkResult, path, log)
        if not result.latency_metrics.HasField("avg_ms") or result.misc_metrics.num_runs < 1:
            raise self._unreadable(pb.BenchmarkResult, path, log)
        mean_ms = result.latency_metrics.avg_ms
        if not 0 <= mean_ms < float("inf"):
            raise ConfigError(f"{self._program}: a call took {mean_ms} ms, it says; that is no time")
        return round(mean_ms * 1e6)

    def _nodes(self, path: Path, log: Path) -> tuple[Node, ...]:
        details = self._read(pb.ModelRuntimeDetails, path, log)
        graph = details.subgraphs[0] if details.subgraphs else pb.RuntimeSubgraph()
        known = {node.id: node for node in graph.nodes}
        if not graph.execution_plan or not known.keys() >= set(graph.execution_plan):
            raise self._unreadable(pb.ModelRuntimeDetails, path, log)
        ran = [known[index] for index in graph.execution_plan]
        return tuple(
            Node(node.name, node.delegate_node_details.delegate_name or node.name)
            if node.HasField("delegate_node_details")
            else Node(node.name, "")
            for node in ran
        )

    def _read(self, kind: type[M], path: Path, log: Path) -> M:
        try:
            return kind.FromString(path.read_bytes())
        except (OSError, DecodeError) as error:
            raise self._unreadable(kind, path, log) from error

    def _unreadable(self, kind: type[Message], path: Path, log: Path) -> ConfigError:
        if path.exists():
            found = f"a file that begins {_first_line(path)!r}"
        else:
            found = f"no file; its output begins {_first_line(log)!r}"
        return ConfigError(
            f"{self._program}: expected a message {kind.DESCRIPTOR.name} in a file of its own, found {found}; {_OF_2025}"
        )


def _split(args: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the settings of the environment that stand before the first flag, and the rest."""
    environ: dict[str, str] = {}
    for place, word in enumerate(args):
        if not _ENVIRONMENT.match(word):
            return environ, tuple(args[place:])
        name, _, value = word.partition("=")
        environ[name] = value
    return environ, ()


def _tied_to(parent: int) -> Callable[[], None]:
    """Return what a child runs before the program, so that it ends with the thread that started it."""
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):  # no Linux: it ends with its process group
        return lambda: None

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return tie


def _first_line(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.readline(_LINE_CHARS).decode(errors="replace").strip()
    return ""


def _last_lines(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_CHARS))
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join([line[:_LINE_CHARS] for line in lines if line.strip()][-_LINES:])
