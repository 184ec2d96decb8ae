"""Providers that must not leave work to the CPU in silence.

The runtime's own wheel has a provider that runs no operator at all: with it, every fallback is real. `make test-qnn` runs the
Hexagon tests on the simulator.
"""

import platform
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime
import pytest

from chamnet.errors import FallbackError
from chamnet.models.onnx_writer import onnx_model
from chamnet.models.weights import random_weights
from chamnet.records import Conditions, Item, Policy
from chamnet.testing import FakeClock
from chamnet.units import Unit
from chamnet_agent.backends.base import Workload
from chamnet_agent.backends.onnxruntime_accelerators import (
    OnnxRuntimeAccelerator,
    OnnxRuntimeCudaBackend,
    OnnxRuntimeQnnBackend,
)
from chamnet_agent.profiler import Bench, Profiler
from chamnet_agent.testing import BackendContract

CONV = Unit.parse("conv:f32:1x16x14x14:o16:k3:relu")
needs_qnn = pytest.mark.skipif(
    not find_spec("onnxruntime_qnn"), reason="onnxruntime-qnn is not installed; make test-qnn runs these"
)


class NeverRuns(OnnxRuntimeAccelerator):
    """A provider of the runtime that takes no operator."""

    name: ClassVar = "never"
    provider: ClassVar = "AzureExecutionProvider"


def test_what_falls_back_is_refused_by_name() -> None:
    backend = NeverRuns(threads=1)
    for ask in (
        lambda: backend.prepare(Workload(blocks=(CONV,)), seed=0, slot=0),
        lambda: backend.resolve(Workload(blocks=(CONV,)), seed=0),
    ):
        with pytest.raises(FallbackError, match="backend never: AzureExecutionProvider leaves an operator"):
            ask()


def test_a_fallback_is_a_status_of_its_own() -> None:
    bench = Bench(
        clock=FakeClock(),
        conditions=Conditions,
        switches=lambda: 0,
        unix_ms=lambda: 0,
        mark=lambda item: None,
        work=[],
    )
    profiler = Profiler(NeverRuns(threads=1), bench=bench, threads=1)
    item = Item(visit_id="a", blocks=(CONV.key,))
    (visit,) = profiler.measure([item], Policy(mode="loop", noops=0))
    (resolved,) = profiler.resolve([item])
    assert visit.status == resolved.status == "fallback"
    assert visit.samples_ns == ()
    assert "leaves an operator of this to the CPU" in visit.message


def test_a_gpu_asked_for_and_absent_is_explained(tmp_path: Path) -> None:
    found = OnnxRuntimeCudaBackend.describe(tmp_path)
    assert "pip install onnxruntime-gpu" in (found.why_not or "") or "no NVIDIA device" in (
        found.why_not or ""
    )


@pytest.mark.skipif(bool(find_spec("onnxruntime_qnn")), reason="it is installed")
def test_qnn_says_what_to_install() -> None:
    assert OnnxRuntimeQnnBackend.describe().why_not == "not installed; pip install onnxruntime-qnn"


@pytest.fixture(scope="module")
def qnn() -> OnnxRuntimeQnnBackend:
    return OnnxRuntimeQnnBackend(threads=1)


@needs_qnn
class TestOnnxRuntimeQnnBackend(BackendContract):
    @pytest.fixture
    def backend(self, qnn: OnnxRuntimeQnnBackend) -> OnnxRuntimeQnnBackend:
        return qnn

    def test_it_computes_what_the_cpu_computes(self, qnn: OnnxRuntimeQnnBackend) -> None:
        data = onnx_model((CONV,), random_weights((CONV,), seed=0))
        image = np.random.default_rng(0).standard_normal((1, 16, 14, 14)).astype(np.float32)
        (ours,) = qnn._session(data).run(None, {qnn._session(data).get_inputs()[0].name: image})
        cpu = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        (theirs,) = cpu.run(None, {cpu.get_inputs()[0].name: image})
        assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()

    @pytest.mark.skipif(platform.machine() != "x86_64", reason="a real NPU")
    def test_the_simulator_is_not_taken_for_a_device(self) -> None:
        assert "its times mean nothing" in OnnxRuntimeQnnBackend.describe().provider
