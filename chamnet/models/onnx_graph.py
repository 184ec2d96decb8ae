"""What an ONNX file says, as plain records. Names are those of the file; an absent optional input is ``""``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["AttributeValue", "OnnxGraph", "OnnxNode", "OnnxTensor", "OnnxValue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxTensor:
    """A constant.

    Attributes:
        name: Of the value; empty where an attribute holds the tensor.
        dtype: Lower-case ONNX element type, such as `float`, `int8` or `int64`.
        shape: Empty for a scalar.
        load: Decodes the values; see `array`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    load: Callable[[], NDArray[np.generic]] = field(repr=False, compare=False)

    def array(self) -> NDArray[np.generic]:
        """Decode the values.

        Raises:
            ConfigError: The values are damaged, in another file, or of a type that numpy lacks.
        """
        return self.load()


AttributeValue = int | float | str | OnnxTensor | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxValue:
    """An input, output or intermediate value.

    Attributes:
        name: As nodes name it.
        dtype: Lower-case ONNX element type; empty if the file does not say.
        shape: A size, or the name of a free dimension (`?` without one); None if the file does not say.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNode:
    """One operator of the graph.

    Attributes:
        domain: Of the operator; empty for ONNX's own.
        op_type: Such as `Conv`.
        name: May be empty.
        inputs, outputs: Names of values.
        attributes: By name; None for kinds that ChamNet does not read (graphs, types, sparse tensors).
    """

    domain: str
    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]

    def numbers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return an attribute that is a list of whole numbers, or the default."""
        value = self.attributes.get(name)
        whole = tuple(v for v in value if isinstance(v, int)) if isinstance(value, tuple) else ()
        return whole or default

    def number(self, name: str, default: int) -> int:
        """Return an attribute that is a whole number, or the default."""
        value = self.attributes.get(name)
        return value if isinstance(value, int) else default

    def input(self, index: int) -> str:
        """Return the name of an input, empty where there is none."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxGraph:
    """The main graph of an ONNX file.

    Attributes:
        ir_version: Of the file format.
        opsets: Version of each operator domain; empty name for ONNX's own.
        nodes: In topological order.
        initializers: Constants by name.
        inputs, outputs: In order; constants that old files list as inputs are left out.
        values: Intermediate values whose shapes the file gives; often none.
    """

    ir_version: int
    opsets: Mapping[str, int]
    nodes: tuple[OnnxNode, ...]
    initializers: Mapping[str, OnnxTensor]
    inputs: tuple[OnnxValue, ...]
    outputs: tuple[OnnxValue, ...]
    values: tuple[OnnxValue, ...] = ()
