from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

Run = Callable[..., NDArray[np.float32]]


@pytest.fixture
def run_onnx() -> Run:
    """Runs a file on `input` and, if given, `residual`; returns `output`."""

    def run(
        model: bytes, value: NDArray[np.float32], residual: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        feeds = {"input": value} if residual is None else {"input": value, "residual": residual}
        (output,) = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(["output"], feeds)
        return np.asarray(output)

    return run


@pytest.fixture
def optimise(tmp_path: Path) -> Callable[[bytes], bytes]:
    """Returns the graph that ONNX Runtime makes of a file on this machine."""

    def run(model: bytes) -> bytes:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        options.log_severity_level = 3  # it warns that the file suits this machine only, which is the point
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return (tmp_path / "optimised.onnx").read_bytes()

    return run
