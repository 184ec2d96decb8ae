"""Cut a unit's nodes out of a graph that a runtime has optimised, as the runtime runs them inside a network.

A unit alone in a file is not what a network runs: the runtime adds layout changes around it, and fuses what it
would fuse otherwise. So a unit is optimised between neighbours (its *carrier*: a convolution before it, one behind
it, and where it adds a residual one more that makes it), and its nodes are cut out by their names, which runtimes
keep. What is left is a file of already optimised nodes, in the runtime's own operators and layouts.

A layout change belongs to the operator that reads its output, and behind the last operator to the one that wrote
its input; one into the runtime's own layout belongs to whoever left that layout.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chamnet.errors import UnsupportedOpError
from chamnet.models.onnx_executed import executed_keys
from chamnet.models.onnx_graph import OnnxGraph, OnnxNode
from chamnet.models.onnx_reader import read_onnx
from chamnet.models.onnx_shapes import infer_dtypes, infer_shapes
from chamnet.ops import OpSpec
from chamnet.units import Unit
from chamnet.wire import onnx_subset_pb2 as pb

__all__ = ["Carrier", "Cut", "carrier_of", "cut", "owners"]

_NAME = re.compile(r"block\d+\.(?:op\d+|shortcut)")
_NEIGHBOUR = 32  # channels beyond the neighbours: whole in any blocked layout
_IMAGE_CHANNELS = 4  # an operator on so few reads the image: nothing comes before it


@dataclass(frozen=True, slots=True)
class Carrier:
    """A unit between neighbours.

    Attributes:
        blocks: The chain to optimise.
        names: Names of the unit's own operators in it, such as `block1.op0`.
    """

    blocks: tuple[Unit, ...]
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Cut:
    """A unit as the runtime runs it.

    Attributes:
        model: File of its nodes alone.
        keys: Their executed keys, in order.
    """

    model: bytes
    keys: tuple[str, ...]


def carrier_of(unit: Unit) -> Carrier:
    """Return a unit between the neighbours that it would have in a network."""
    first, last = unit.ops[0], unit.ops[-1]
    reads_image = first.in_c <= _IMAGE_CHANNELS and first.groups == 1
    before = () if reads_image else (_conv(first, _NEIGHBOUR, first.in_c, first.in_h, first.in_w),)
    held = f"block{len(before)}"
    middle, offset = unit, 0
    if unit.takes_residual and (first.in_h, first.in_w) == (last.out_h, last.out_w):
        # the residual comes from the convolution before, and the unit's input from one between
        inner = _conv(first, last.out_c, first.in_c, first.in_h, first.in_w).ops[0]
        before = (_conv(first, _NEIGHBOUR, last.out_c, first.in_h, first.in_w),)
        held, offset = "block1", 1
        middle = Unit((inner, *unit.ops), skip=True)
    names = {f"{held}.op{i + offset}" for i in range(len(unit.ops))}
    if unit.shortcut:
        names.add(f"{held}.shortcut")
    return Carrier((*before, middle, *_behind(last)), frozenset(names))


def _behind(last: OpSpec) -> tuple[Unit, ...]:
    if last.kind == "linear":
        return ()
    if last.kind == "gap":
        classifier = OpSpec(
            kind="linear", batch=last.batch, in_c=last.out_c, out_c=_NEIGHBOUR, dtype=last.dtype
        )
        return (Unit((classifier,)),)
    return (_conv(last, last.out_c, _NEIGHBOUR, last.out_h, last.out_w),)


def _conv(like: OpSpec, in_c: int, out_c: int, height: int, width: int) -> Unit:
    """Return a 1x1 convolution with ReLU, as neighbours are."""
    op = OpSpec(
        kind="conv",
        batch=like.batch,
        in_c=in_c,
        in_h=height,
        in_w=width,
        out_c=out_c,
        act="relu",
        dtype=like.dtype,
    )
    return Unit((op,))


def owners(graph: OnnxGraph) -> tuple[str, ...]:
    """Return the operator that each node of an optimised chain belongs to, such as `block3.op1`.

    Raises:
        UnsupportedOpError: No node tells which operator it came from; says what they are called.
    """
    named = [_named(node, graph) for node in graph.nodes]
    made_by = {out: i for i, node in enumerate(graph.nodes) for out in node.outputs}
    read_by: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        for name in node.inputs:
            read_by.setdefault(name, i)
    for i in reversed(range(len(named))):  # readers come later: they have their owner already
        if not named[i] and graph.nodes[i].op_type != "ReorderInput":
            readers = [read_by[out] for out in graph.nodes[i].outputs if out in read_by]
            named[i] = named[readers[0]] if readers else ""
    for i, node in enumerate(graph.nodes):
        if not named[i]:
            makers = [made_by[name] for name in node.inputs if name in made_by]
            readers = [read_by[out] for out in node.outputs if out in read_by]
            named[i] = next((named[j] for j in (*makers, *readers) if named[j]), "")
    if not all(named):
        seen = ", ".join(sorted({node.name or node.op_type for node in graph.nodes}))
        raise UnsupportedOpError(
            f"the optimised graph does not say which operator its nodes come from ({seen})"
        )
    return tuple(named)


def _named(node: OnnxNode, graph: OnnxGraph) -> str:
    """Return the operator that a node's name or constants name; empty where they name none."""
    texts = (node.name, *(name for name in node.inputs if name in graph.initializers))
    return next((match[0] for text in texts if (match := _NAME.search(text))), "")


def cut(optimised: bytes, names: frozenset[str]) -> Cut:
    """Cut the nodes of operators out of an optimised file.

    Args:
        optimised: As the runtime saved it.
        names: Of the operators.

    Raises:
        UnsupportedOpError: They cannot be told apart from the others, or a shape is not known.
    """
    model, graph = pb.ModelProto.FromString(optimised), read_onnx(optimised)
    chosen = [i for i, owner in enumerate(owners(graph)) if owner in names]
    if not chosen:
        raise UnsupportedOpError(f"nothing of {', '.join(sorted(names))} is left in the optimised graph")
    part = _Part(graph)
    for i in chosen:
        part.add(model.graph.node[i], model.graph.initializer)
    keys = executed_keys(graph)
    return Cut(part.serialise(model), tuple(keys[i] for i in chosen))


class _Part:
    """Some nodes of a graph, with the constants they read; what else they read becomes an input."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._shapes, self._dtypes = infer_shapes(graph), infer_dtypes(graph)
        self._constants = graph.initializers
        self._reads = [name for node in graph.nodes for name in node.inputs]
        self._whole = {value.name for value in graph.outputs}
        self._nodes: list[pb.NodeProto] = []
        self._held: dict[str, pb.TensorProto] = {}

    def add(self, node: pb.NodeProto, initializers: Sequence[pb.TensorProto]) -> None:
        self._nodes.append(node)
        wanted = set(node.input) & self._constants.keys() - self._held.keys()
        self._held |= {tensor.name: tensor for tensor in initializers if tensor.name in wanted}

    def serialise(self, model: pb.ModelProto) -> bytes:
        made = [name for node in self._nodes for name in node.output if name]
        read = dict.fromkeys(name for node in self._nodes for name in node.input if name)
        inner = [name for node in self._nodes for name in node.input]
        part = pb.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
        part.opset_import.extend(model.opset_import)
        part.graph.name = "unit"
        part.graph.node.extend(self._nodes)
        part.graph.initializer.extend(self._held.values())
        part.graph.input.extend(self._value(n) for n in read if n not in made and n not in self._constants)
        leaving = [n for n in made if n in self._whole or self._reads.count(n) > inner.count(n)]
        part.graph.output.extend(self._value(name) for name in leaving)
        return part.SerializeToString(deterministic=True)

    def _value(self, name: str) -> pb.ValueInfoProto:
        shape = self._shapes.get(name)
        if shape is None:
            raise UnsupportedOpError(f"the shape of {name!r} in the optimised graph is not known")
        info = pb.ValueInfoProto(name=name)
        info.type.tensor_type.elem_type = _ELEMENT_TYPES[self._dtypes.get(name) or "float"]
        for size in shape:
            info.type.tensor_type.shape.dim.add(dim_value=size)
        return info


_ELEMENT_TYPES: Mapping[str, int] = {
    "float": pb.TensorProto.FLOAT,
    "int8": pb.TensorProto.INT8,
    "uint8": pb.TensorProto.UINT8,
}
