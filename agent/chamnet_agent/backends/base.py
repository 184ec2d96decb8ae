"""The seam between measuring and the runtimes that are measured."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from chamnet.records import Component, Item
from chamnet.units import Unit

__all__ = ["Backend", "DeviceTimed", "Prepared", "RunsApart", "Warmed", "Workload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a backend builds: a chain of units, a model file or, with neither, the empty model.

    Attributes:
        blocks: The chain, in order; weights are random, from the seed given beside it.
        model: A file in the backend's own format, from outside: not to be trusted.
        isolated: Whether a lone unit is built as a network of its own, with whatever the runtime puts around it.
            Otherwise a backend builds what the runtime executes for it inside a network.
    """

    blocks: tuple[Unit, ...] = ()
    model: bytes | None = None
    isolated: bool = False

    @classmethod
    def of(cls, item: Item, *, isolated: bool = False) -> "Workload":
        """Return what an item asks for.

        Raises:
            ValueError: One of its unit keys is malformed.
        """
        return cls(blocks=tuple(map(Unit.parse, item.blocks)), model=item.model, isolated=isolated)


class Prepared(Protocol):
    """A workload that is built and loaded, with its inputs filled."""

    def run(self) -> object:
        """Run it once, to the end. Only this is timed: nothing is allocated, copied or checked in here."""
        ...


@runtime_checkable
class Warmed(Prepared, Protocol):
    """A workload whose memory is its own: its input is in no cache when its turn comes; optional.

    In a network the layer before has just written it. Where workloads share buffers, as in a network, none is needed.
    """

    def warm(self) -> None:
        """Touch input and output as the layer before would; not timed."""
        ...


@runtime_checkable
class DeviceTimed(Prepared, Protocol):
    """A workload whose device keeps its own time, such as a GPU; optional.

    Its `run` still returns at the end of the work. What it takes by the host's clock includes handing the work over.
    """

    def device_ns(self) -> int:
        """Return the device's own time of the last `run`; not timed itself."""
        ...


@runtime_checkable
class RunsApart(DeviceTimed, Protocol):
    """A workload that a process of its own runs, warms up and times; optional.

    Whether this thread is descheduled meanwhile says nothing about it, and laps to warm up would be wasted: a call that
    begins anew finds nothing of the call before.
    """

    @property
    def runs_apart(self) -> bool:
        """Return True."""
        ...


class Backend(Protocol):
    """Builds and runs workloads on this device.

    Made once per worker process with the number of threads it computes with, and used from one thread. It keeps
    no workload alive by itself: what is dropped is freed. It may leave its thread with other floating-point
    settings, such as no subnormal numbers. A crash in it ends the worker, which is reported and
    replaced, so it need not guard against its runtime. Every error of the runtime that means "cannot run this"
    is raised as `UnsupportedOpError`; any other exception ends the worker.

    A class whose attribute `settings` is a `BackendSettings` is given the agent's in it.
    """

    def __init__(self, *, threads: int) -> None:
        """Load the runtime."""
        ...

    @staticmethod
    def describe() -> Component:
        """Return name, version, provider, element types and, if it is not usable here, why.

        The server process calls this too: it must not import the runtime, and takes milliseconds.
        """
        ...

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> Prepared:
        """Build and load a workload.

        Args:
            workload: What to build.
            seed: Of its weights and inputs.
            slot: Its place in the ring. Workloads of even and odd slots swap two activation buffers, where the
                runtime can share them: one finds its input in the caches as a network's next layer does.

        Raises:
            UnsupportedOpError: The runtime cannot run it; says what it said.
        """
        ...

    def resolve(self, workload: Workload, *, seed: int) -> tuple[str, ...]:
        """Return the keys of what the runtime executes for a workload, in order.

        Raises:
            UnsupportedOpError: The runtime cannot run it.
        """
        ...
