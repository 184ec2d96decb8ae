"""Units and networks as models that runtimes and torch can run. Only `torch_module` imports torch."""

from chamnet.models.onnx_executed import executed_keys
from chamnet.models.onnx_graph import OnnxGraph, OnnxNode, OnnxTensor, OnnxValue
from chamnet.models.onnx_reader import read_onnx
from chamnet.models.onnx_writer import identity_model, onnx_model
from chamnet.models.weights import Weights, random_weights

__all__ = [
    "OnnxGraph",
    "OnnxNode",
    "OnnxTensor",
    "OnnxValue",
    "Weights",
    "executed_keys",
    "identity_model",
    "onnx_model",
    "random_weights",
    "read_onnx",
]
