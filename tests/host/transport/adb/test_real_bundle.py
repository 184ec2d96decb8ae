"""A bundle as a phone gets it, for the processor of this machine: nothing of this machine's own is used by its agent."""

import os
import platform
from pathlib import Path

import pytest
from adbd_device import AdbdDevice

from chamnet.errors import BundleError
from chamnet.records import Item, Policy
from chamnet_host.bundles.build import Sources, build
from chamnet_host.bundles.downloads import default_cache
from chamnet_host.bundles.recipe import Recipe
from chamnet_host.client import DeviceClient
from chamnet_host.transport.adb.transport import AdbTransport

UNIT = "conv:f32:1x8x16x16:o16:k3:relu"


@pytest.fixture(scope="module")
def bundle() -> Path:
    """Return a bundle with every runtime; it stays in the user's cache."""
    if platform.machine() != "x86_64":
        pytest.skip("adbd is fetched for x86_64")
    recipe, cache = Recipe(arch="x86_64", os="android"), default_cache(os.environ)
    try:
        return build(recipe, cache / "tests" / recipe.name, Sources(cache=cache)).folder
    except BundleError as error:
        pytest.skip(f"no bundle: {error}")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["server", "direct"])
def test_a_bundle_measures_where_nothing_is_installed(
    bundle: Path, device: AdbdDevice, environ: dict[str, str], way
) -> None:
    transport = AdbTransport(bundle, serial=device.address, way=way, environ=environ)
    connection = transport.open()
    with DeviceClient(
        connection.address, connection.token, tls=connection.tls, last_words=transport.last_words
    ) as client:
        assert {"onnxruntime", "litert"} <= {
            each.name for each in client.describe().backends if not each.why_not
        }
        for backend in ("onnxruntime", "litert"):
            policy = Policy(mode="ring", laps=3)
            (visit,) = client.measure([Item(visit_id=backend, blocks=(UNIT,))], policy, backend=backend)
            assert visit.status == "ok", visit
    transport.close()
