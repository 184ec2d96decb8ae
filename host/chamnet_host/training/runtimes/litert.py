"""TFLite files in LiteRT."""

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
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ConfigError("--check of a TFLite file needs LiteRT: pip install 'chamnet[litert]'") from error
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run_one(image: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(target["index"]))

    return lambda images: np.concatenate([run_one(image) for image in images.transpose(0, 2, 3, 1)])  # NHWC
