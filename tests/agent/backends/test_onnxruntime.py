import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from chamnet.errors import UnsupportedOpError
from chamnet.models.onnx_writer import identity_model, onnx_model
from chamnet.models.weights import random_weights
from chamnet.units import Unit
from chamnet_agent.backends.base import Backend, Workload
from chamnet_agent.backends.onnxruntime import OnnxRuntimeBackend
from chamnet_agent.testing import BackendContract, FakeBackend

BLOCK = Unit.parse("conv:f32:1x16x8x8:o16:k3:g16:relu6+conv:f32:1x16x8x8:o16:add+skip")


class InThread:
    """A backend, or a model of one, that works in a thread of its own.

    The runtime leaves the thread that runs it without subnormal numbers; the tests after these need theirs.
    """

    describe = staticmethod(OnnxRuntimeBackend.describe)

    def __init__(self, inner: Any, thread: ThreadPoolExecutor) -> None:
        self._inner = inner
        self._thread = thread
        self.memory: tuple[Any, ...] = getattr(inner, "memory", ())

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> "InThread":
        prepare = self._thread.submit(self._inner.prepare, workload, seed=seed, slot=slot)
        return InThread(prepare.result(), self._thread)

    def resolve(self, workload: Workload, *, seed: int) -> tuple[str, ...]:
        keys: tuple[str, ...] = self._thread.submit(self._inner.resolve, workload, seed=seed).result()
        return keys

    def run(self) -> None:
        self._thread.submit(self._inner.run).result()


@pytest.fixture
def runtime() -> Iterator[InThread]:
    with ThreadPoolExecutor(1) as thread:
        yield InThread(OnnxRuntimeBackend(threads=1), thread)


class TestOnnxRuntimeBackend(BackendContract):
    @pytest.fixture
    def backend(self, runtime: InThread) -> Any:
        return runtime


class TestFakeBackend(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return FakeBackend(threads=1)


def test_the_bound_session_computes_what_an_ordinary_one_does(runtime: InThread) -> None:
    prepared = runtime.prepare(Workload(blocks=(BLOCK,), isolated=True), seed=3, slot=0)
    source, result = prepared.memory[:2]
    plain = onnxruntime.InferenceSession(
        onnx_model((BLOCK,), random_weights((BLOCK,), seed=3)), providers=["CPUExecutionProvider"]
    )
    (expected,) = plain.run(None, {"input": source.copy()})
    result[:] = 0
    prepared.run()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("isolated", [True, False])
def test_neighbours_in_a_ring_swap_two_buffers(runtime: InThread, isolated: bool) -> None:
    workload = Workload(blocks=(BLOCK,), isolated=isolated)
    first, second = (runtime.prepare(workload, seed=0, slot=slot) for slot in (0, 1))
    assert np.shares_memory(first.memory[1], second.memory[0])
    assert np.shares_memory(first.memory[0], second.memory[1])
    assert not np.shares_memory(first.memory[0], first.memory[1])


def test_a_model_file_runs_and_resolves(runtime: InThread) -> None:
    model = Workload(model=identity_model((1, 4, 2, 2)))
    runtime.prepare(model, seed=0, slot=0).run()
    assert len(runtime.resolve(model, seed=0)) == 1


def test_what_the_runtime_says_is_passed_on(runtime: InThread) -> None:
    with pytest.raises(UnsupportedOpError, match=r"backend onnxruntime \d.*cannot run this"):
        runtime.prepare(Workload(model=b"no model"), seed=0, slot=0)


def test_open_shapes_are_refused(runtime: InThread) -> None:
    floats = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "open",
        [onnx.helper.make_tensor_value_info("x", floats, ["batch", 3])],
        [onnx.helper.make_tensor_value_info("y", floats, ["batch", 3])],
    )
    model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    with pytest.raises(UnsupportedOpError, match="fixed shapes"):
        runtime.prepare(Workload(model=model.SerializeToString()), seed=0, slot=0)


def test_nothing_is_left_in_the_temporary_folder(
    runtime: InThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runtime.resolve(Workload(blocks=(BLOCK, BLOCK)), seed=0)
    assert not list(tmp_path.iterdir())


def test_describing_loads_no_runtime() -> None:
    code = (
        "import sys; from chamnet_agent import registry; registry.backends(); "
        "assert not {'onnxruntime', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class PublicSession:
    """A session of another version: only what is public."""

    def __init__(self, session: Any) -> None:
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs
        self.io_binding, self.run_with_iobinding = session.io_binding, session.run_with_iobinding


class PublicBackend(OnnxRuntimeBackend):
    def _session(self, *arguments: Any, **options: Any) -> Any:
        return PublicSession(super()._session(*arguments, **options))


def test_private_parts_of_the_runtime_are_not_required() -> None:
    with ThreadPoolExecutor(1) as thread:
        prepared = InThread(PublicBackend(threads=1), thread).prepare(
            Workload(blocks=(BLOCK,)), seed=0, slot=0
        )
        prepared.memory[1][:] = 0
        prepared.run()
        assert prepared.memory[1].any()


POINT = Unit.parse("conv:f32:1x32x14x14:o64:relu")


def test_a_lone_unit_is_what_a_network_runs_and_an_isolated_one_is_not(runtime: InThread) -> None:
    """Where the CPU likes another layout, a unit alone pays for reorders that a network does not have."""
    network = runtime.resolve(Workload(blocks=(CHAIN[0], POINT, CHAIN[1])), seed=0)
    lone = runtime.resolve(Workload(blocks=(POINT,)), seed=0)
    isolated = runtime.resolve(Workload(blocks=(POINT,), isolated=True), seed=0)
    assert len(lone) == 1
    assert set(lone) <= set(network)
    assert set(lone) <= set(isolated)


CHAIN = (Unit.parse("conv:f32:1x32x14x14:o32:relu"), Unit.parse("conv:f32:1x64x14x14:o32:relu"))


def test_units_of_other_weights_are_cut_anew_and_others_are_kept(runtime: InThread) -> None:
    """What was cut is kept, so that later visits build quickly; never for another seed."""
    outputs = []
    for seed in (1, 2, 1):
        prepared = runtime.prepare(Workload(blocks=(POINT,)), seed=seed, slot=0)
        prepared.memory[1][:] = 0
        prepared.run()
        outputs.append(prepared.memory[1].copy())
    np.testing.assert_array_equal(outputs[0], outputs[2])
    assert not np.array_equal(outputs[0], outputs[1])


@pytest.mark.parametrize("key", [BLOCK.key, POINT.key, "gap:f32:1x32x14x14:o32", "linear:f32:1x32x1x1:o10"])
def test_int8_runs_alone_and_in_a_network(runtime: InThread, key: str) -> None:
    unit = Unit.parse(key).cast("int8")
    for workload in (Workload(blocks=(unit,)), Workload(blocks=(unit,), isolated=True)):
        prepared = runtime.prepare(workload, seed=0, slot=1)
        prepared.run()
        assert runtime.resolve(workload, seed=0)


def test_an_installed_runtime_that_does_not_load_says_what_to_do(tmp_path: Path) -> None:
    package = tmp_path / "onnxruntime"
    package.mkdir()
    (package / "__init__.py").write_text(
        '__version__ = "9.9"\nraise ImportError("libz.so.9: no such file")\n'
    )
    code = (
        "from chamnet.errors import ConfigError; from chamnet_agent.registry import load_backend\n"
        "try: load_backend('onnxruntime')(threads=1)\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "installed but does not load (libz.so.9: no such file); reinstall it: pip install" in done.stdout
