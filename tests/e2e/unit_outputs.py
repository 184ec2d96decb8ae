"""Writes what a backend computes for units: run by a bundle's Python on a device, and here, to compare.

Usage: unit_outputs.py BACKEND FILE UNIT...

The file is numpy's `.npz`; of the first unit it holds `model_0` (bytes), `input_0` and `output_0`, and so on. Each unit is a
network of its own, which the runtime optimises for its processor; weights and inputs come from seed 0.
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chamnet.models import onnx_model, random_weights
from chamnet.models.tflite_writer import tflite_model
from chamnet.units import Unit
from chamnet_agent.backends.base import Workload
from chamnet_agent.registry import load_backend

WRITERS = {"onnxruntime": onnx_model, "litert": tflite_model}


def main(name: str, file: str, *keys: str) -> None:
    backend = load_backend(name)(threads=1)
    found: dict[str, NDArray[Any]] = {}
    for i, key in enumerate(keys):
        unit = Unit.parse(key)
        model = WRITERS[name]((unit,), random_weights((unit,), seed=0))
        prepared = backend.prepare(Workload(model=model), seed=0, slot=0)
        prepared.run()
        found[f"model_{i}"] = np.frombuffer(model, np.uint8)
        found[f"input_{i}"], found[f"output_{i}"] = (np.array(each) for each in ends(prepared))
    np.savez(file, **found)


def ends(prepared: Any) -> Iterator[NDArray[np.float32]]:
    """Yield the input, then the output of a model with one of each."""
    if hasattr(prepared, "tensors"):  # LiteRT: whole numbers over the same memory, output first
        yield from (tensor.view(np.float32) for tensor in reversed(prepared.tensors))
    else:
        yield from (each for each in prepared.memory if isinstance(each, np.ndarray))


if __name__ == "__main__":
    main(*sys.argv[1:])
