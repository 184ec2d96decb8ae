"""A phone with a phone's processor: aarch64 adbd, shell, Python and ONNX Runtime, all under qemu; its times mean nothing."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from adbd_device import AdbdDevice
from adbd_fixtures import DeviceStarter

from chamnet.errors import BundleError
from chamnet.records import Item, Policy, Resolved
from chamnet_host.bundles.build import Sources, build
from chamnet_host.bundles.downloads import default_cache
from chamnet_host.bundles.recipe import Recipe
from chamnet_host.client import DeviceClient
from chamnet_host.transport.adb.transport import AdbTransport
from chamnet_host.transport.base import Transport
from chamnet_host.transport.local import LocalTransport

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

SLOW_S = 300.0  # for what takes seconds on a desk
UNITS = (
    "conv:f32:1x3x32x32:o32:k3:s2:relu",
    "conv:f32:1x32x16x16:o96:relu6+conv:f32:1x96x16x16:o96:k3:g96:relu6+conv:f32:1x96x16x16:o32:add+skip",
    "conv:f32:1x32x16x16:o64:relu+gap:f32:1x64x16x16:o64+linear:f32:1x64x1x1:o10",
)
ON_ARM = (
    "com.microsoft:FusedConv[1x3x32x32->32,3x3s2,relu]",
    "com.microsoft:FusedConv[1x32x16x16->96,1x1,clip(0,6)]",
    "com.microsoft:FusedConv[1x96x16x16->96,3x3,g96,clip(0,6)]",
    "com.microsoft:FusedConv[1x96x16x16->32,1x1,add]",
    "com.microsoft:FusedConv[1x32x16x16->64,1x1,relu]",
    "ai.onnx:GlobalAveragePool[1x64x16x16]",
    "ai.onnx:Flatten[1x64x1x1]",
    "ai.onnx:Gemm[1x64->10]",
)
ON_X86 = (  # in blocks of channels, and reordered behind the last
    "com.microsoft.nchwc:Conv[1x3x32x32->32,3x3s2,relu]",
    "com.microsoft.nchwc:Conv[1x32x16x16->96,1x1,clip(0,6)]",
    "com.microsoft.nchwc:Conv[1x96x16x16->96,3x3,g96,clip(0,6)]",
    "com.microsoft.nchwc:Conv[1x96x16x16->32,1x1,add]",
    "com.microsoft.nchwc:Conv[1x32x16x16->64,1x1,relu]",
    "com.microsoft.nchwc:GlobalAveragePool[1x64x16x16]",
    "com.microsoft.nchwc:ReorderOutput[1x64x1x1->64]",
    "ai.onnx:Flatten[1x64x1x1]",
    "ai.onnx:Gemm[1x64->10]",
)


@pytest.fixture
def phone(start_device: DeviceStarter) -> AdbdDevice:
    return start_device("aarch64")


@pytest.fixture
def bundle() -> Path:
    """Return the smallest bundle that computes; it stays in the user's cache."""
    recipe, cache = Recipe(kind="onnx", arch="aarch64", os="android"), default_cache(os.environ)
    try:
        return build(recipe, cache / "tests" / recipe.name, Sources(cache=cache)).folder
    except BundleError as error:
        pytest.skip(f"no bundle: {error}")


@pytest.fixture
def agent(phone: AdbdDevice, bundle: Path, tmp_path: Path) -> Iterator[DeviceClient]:
    """Return a client of the phone's agent."""
    transport = AdbTransport(
        bundle, serial=phone.address, way="direct", environ={"HOME": str(tmp_path)}, start_s=SLOW_S
    )
    with closing(transport), client_of(transport) as client:
        yield client


@pytest.fixture
def our_agent() -> Iterator[DeviceClient]:
    """Return a client of an agent on this machine."""
    transport = LocalTransport(own=True, start_s=SLOW_S)
    with closing(transport), client_of(transport) as client:
        yield client


def client_of(transport: Transport) -> DeviceClient:
    connection = transport.open()
    return DeviceClient(
        connection.address,
        connection.token,
        tls=connection.tls,
        timeout_s=SLOW_S,
        last_words=transport.last_words,
    )


def executed(agent: DeviceClient, *chains: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return what ONNX Runtime makes of chains of units, in their order."""
    items = [Item(visit_id=str(i), blocks=chain) for i, chain in enumerate(chains)]
    answers: list[Resolved] = list(agent.resolve(items, backend="onnxruntime", deadline_s=SLOW_S))
    assert [(each.visit_id, each.status) for each in answers] == [(item.visit_id, "ok") for item in items]
    return [each.executed for each in answers]


def test_a_phones_processor_is_measured_on_the_operators_that_it_executes(
    agent: DeviceClient, our_agent: DeviceClient
) -> None:
    described = agent.describe()
    assert described.arch == "aarch64"
    assert "asimd" in described.cpu_flags

    whole, *parts = executed(agent, UNITS, *((unit,) for unit in UNITS))
    assert whole == ON_ARM
    assert tuple(key for part in parts for key in part) == ON_ARM  # what the look-up table rests on
    assert executed(our_agent, UNITS) == [ON_X86]

    unit = Item(visit_id="unit", blocks=UNITS[1:2])
    (visit,) = agent.measure([unit], Policy(mode="ring", laps=5), deadline_s=SLOW_S)
    assert visit.status == "ok", visit
