"""ONNX files in ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from chamnet.errors import ConfigError

__all__ = ["load"]


def load(path: Path) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function from images, NCHW, to scores, shape `n x classes`; the file takes one image at a time.

    Raises:
        ConfigError: The runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "--check of an ONNX file needs ONNX Runtime: pip install 'chamnet[onnx]'"
        ) from error
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([session.run(["output"], {"input": image[None]})[0] for image in images])

    return run
