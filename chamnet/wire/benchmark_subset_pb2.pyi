from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BenchmarkResult(_message.Message):
    __slots__ = ("latency_metrics", "misc_metrics")
    LATENCY_METRICS_FIELD_NUMBER: _ClassVar[int]
    MISC_METRICS_FIELD_NUMBER: _ClassVar[int]
    latency_metrics: LatencyMetrics
    misc_metrics: MiscMetrics
    def __init__(self, latency_metrics: _Optional[_Union[LatencyMetrics, _Mapping]] = ..., misc_metrics: _Optional[_Union[MiscMetrics, _Mapping]] = ...) -> None: ...

class LatencyMetrics(_message.Message):
    __slots__ = ("avg_ms",)
    AVG_MS_FIELD_NUMBER: _ClassVar[int]
    avg_ms: float
    def __init__(self, avg_ms: _Optional[float] = ...) -> None: ...

class MiscMetrics(_message.Message):
    __slots__ = ("num_runs",)
    NUM_RUNS_FIELD_NUMBER: _ClassVar[int]
    num_runs: int
    def __init__(self, num_runs: _Optional[int] = ...) -> None: ...

class ModelRuntimeDetails(_message.Message):
    __slots__ = ("subgraphs",)
    SUBGRAPHS_FIELD_NUMBER: _ClassVar[int]
    subgraphs: _containers.RepeatedCompositeFieldContainer[RuntimeSubgraph]
    def __init__(self, subgraphs: _Optional[_Iterable[_Union[RuntimeSubgraph, _Mapping]]] = ...) -> None: ...

class RuntimeSubgraph(_message.Message):
    __slots__ = ("nodes", "execution_plan")
    NODES_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_PLAN_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    execution_plan: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., execution_plan: _Optional[_Iterable[int]] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("id", "name", "delegate_node_details")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DELEGATE_NODE_DETAILS_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    delegate_node_details: DelegateNodeDetails
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., delegate_node_details: _Optional[_Union[DelegateNodeDetails, _Mapping]] = ...) -> None: ...

class DelegateNodeDetails(_message.Message):
    __slots__ = ("delegate_name",)
    DELEGATE_NAME_FIELD_NUMBER: _ClassVar[int]
    delegate_name: str
    def __init__(self, delegate_name: _Optional[str] = ...) -> None: ...
