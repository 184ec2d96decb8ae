from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

Run = Callable[..., NDArray[Any]]


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


@pytest.fixture
def run_tflite() -> Run:
    """Runs a file on `input` and, if given, `residual`, NCHW as for ONNX; returns `output`."""
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")

    def run(model: bytes, value: NDArray[Any], residual: NDArray[Any] | None = None) -> NDArray[Any]:
        interpreter = interpreters.Interpreter(model_content=model)
        interpreter.allocate_tensors()
        given = {"input": value} if residual is None else {"input": value, "residual": residual}
        for details in interpreter.get_input_details():
            interpreter.set_tensor(details["index"], given[details["name"]].transpose(0, 2, 3, 1))
        interpreter.invoke()
        (details,) = interpreter.get_output_details()
        output = np.asarray(interpreter.get_tensor(details["index"]))
        return output if output.ndim == 2 else output.transpose(0, 3, 1, 2)

    return run
