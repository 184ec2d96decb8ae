from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Trace(_message.Message):
    __slots__ = ("packet",)
    PACKET_FIELD_NUMBER: _ClassVar[int]
    packet: _containers.RepeatedCompositeFieldContainer[TracePacket]
    def __init__(self, packet: _Optional[_Iterable[_Union[TracePacket, _Mapping]]] = ...) -> None: ...

class TracePacket(_message.Message):
    __slots__ = ("timestamp", "power_rails")
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    POWER_RAILS_FIELD_NUMBER: _ClassVar[int]
    timestamp: int
    power_rails: PowerRails
    def __init__(self, timestamp: _Optional[int] = ..., power_rails: _Optional[_Union[PowerRails, _Mapping]] = ...) -> None: ...

class PowerRails(_message.Message):
    __slots__ = ("rail_descriptor", "energy_data")
    class RailDescriptor(_message.Message):
        __slots__ = ("index", "rail_name", "subsys_name", "sampling_rate")
        INDEX_FIELD_NUMBER: _ClassVar[int]
        RAIL_NAME_FIELD_NUMBER: _ClassVar[int]
        SUBSYS_NAME_FIELD_NUMBER: _ClassVar[int]
        SAMPLING_RATE_FIELD_NUMBER: _ClassVar[int]
        index: int
        rail_name: str
        subsys_name: str
        sampling_rate: int
        def __init__(self, index: _Optional[int] = ..., rail_name: _Optional[str] = ..., subsys_name: _Optional[str] = ..., sampling_rate: _Optional[int] = ...) -> None: ...
    class EnergyData(_message.Message):
        __slots__ = ("index", "timestamp_ms", "energy")
        INDEX_FIELD_NUMBER: _ClassVar[int]
        TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
        ENERGY_FIELD_NUMBER: _ClassVar[int]
        index: int
        timestamp_ms: int
        energy: int
        def __init__(self, index: _Optional[int] = ..., timestamp_ms: _Optional[int] = ..., energy: _Optional[int] = ...) -> None: ...
    RAIL_DESCRIPTOR_FIELD_NUMBER: _ClassVar[int]
    ENERGY_DATA_FIELD_NUMBER: _ClassVar[int]
    rail_descriptor: _containers.RepeatedCompositeFieldContainer[PowerRails.RailDescriptor]
    energy_data: _containers.RepeatedCompositeFieldContainer[PowerRails.EnergyData]
    def __init__(self, rail_descriptor: _Optional[_Iterable[_Union[PowerRails.RailDescriptor, _Mapping]]] = ..., energy_data: _Optional[_Iterable[_Union[PowerRails.EnergyData, _Mapping]]] = ...) -> None: ...
