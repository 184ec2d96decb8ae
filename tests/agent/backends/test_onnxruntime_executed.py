"""What the runtime executes for the units of a network is what it executes for the network: the table's foundation."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from chamnet.networks import find
from chamnet.ops import DType
from chamnet.units import Granularity, Unit
from chamnet_agent.backends.base import Workload
from chamnet_agent.backends.onnxruntime import OnnxRuntimeBackend

Resolve = Callable[[tuple[Unit, ...]], tuple[str, ...]]

NETWORKS: list[tuple[str, DType]] = [
    *((f"chamnet-{letter}", "f32") for letter in "abcdef"),
    ("mnasnet-a1-224", "f32"),
    ("mobilenet-v2-1.0-224", "f32"),
    ("resnet-50", "f32"),
    ("chamnet-a", "int8"),
    ("chamnet-f", "int8"),
]


@pytest.fixture(scope="module")
def resolve() -> Iterator[Resolve]:
    """Resolves a chain in a thread of its own, for the runtime leaves that without subnormal numbers."""
    with ThreadPoolExecutor(1) as thread:
        backend = thread.submit(OnnxRuntimeBackend, threads=1).result()
        yield lambda blocks: thread.submit(backend.resolve, Workload(blocks=blocks), seed=0).result()


@pytest.mark.parametrize(("name", "dtype"), NETWORKS, ids=[f"{name}-{dtype}" for name, dtype in NETWORKS])
def test_units_one_by_one_are_executed_as_in_their_network(resolve: Resolve, name: str, dtype: DType) -> None:
    network = find(name).build().cast(dtype)
    whole = Counter(resolve(network.blocks))
    granularities: tuple[Granularity, ...] = ("op", "block")
    for granularity in granularities:
        parts = Counter(key for unit in network.units(granularity) for key in resolve((unit,)))
        assert parts == whole, f"one by one as {granularity}"
