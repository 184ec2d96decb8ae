"""The whole bundle for aarch64 under qemu: what both runtimes compute, and a profile. Minutes: `make test-arm64`."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from adbd_device import AdbdDevice
from adbd_fixtures import DeviceStarter

from chamnet_host.transport.adb.ways import open_adb
from chamnet_host.transport.deployed import FOLDER
from chamnet_host.transport.shell import DeviceShell, Upload
from tests.e2e.conftest import PhoneEnv
from tests.e2e.test_phone import host

pytestmark = [pytest.mark.arm64, pytest.mark.timeout(1_800)]

SCRIPT = Path(__file__).with_name("unit_outputs.py")
NANO = Path(__file__).parents[1] / "data/nano-mobile.toml"
SLOW_S = 600.0
UNITS = {
    "3x3": "conv:f32:1x3x64x64:o32:k3:s2:relu",
    "depthwise": "conv:f32:1x96x28x28:o96:k3:g96:relu6",
    "depthwise 5x5, stride 2": "conv:f32:1x48x28x28:o48:k5:s2:g48:relu6",
    "pointwise": "conv:f32:1x64x28x28:o128:relu",
    "inverted residual": (
        "conv:f32:1x32x16x16:o96:relu6+conv:f32:1x96x16x16:o96:k3:g96:relu6+conv:f32:1x96x16x16:o32:add+skip"
    ),
    "squeeze-excite": "se:f32:1x64x14x14:o64:r16",
    "fully connected": "linear:f32:1x1280x1x1:o1000",
}


@pytest.fixture
def phone(start_device: DeviceStarter) -> AdbdDevice:
    return start_device("aarch64")


@pytest.fixture
def phone_env(phone: AdbdDevice, env_with: PhoneEnv) -> dict[str, str]:
    return env_with(phone, "aarch64")


@pytest.fixture
def shell(phone: AdbdDevice, phone_env: dict[str, str]) -> Iterator[DeviceShell]:
    with closing(open_adb(phone.address, way="direct", environ=phone_env)) as shell:
        yield shell


@pytest.mark.parametrize("backend", ["onnxruntime", "litert"])
def test_it_computes_what_this_machine_computes(
    backend: str, shell: DeviceShell, phone_env: dict[str, str], tmp_path: Path
) -> None:
    host(["deploy", "--target", "phone"], tmp_path, phone_env)
    script, made = f"{FOLDER}/var/{SCRIPT.name}", f"{FOLDER}/var/outputs.npz"
    shell.push([Upload(source=SCRIPT, target=script)])
    keys = " ".join(f"'{key}'" for key in UNITS.values())
    done = shell.run(f"{FOLDER}/agent-python {script} {backend} {made} {keys}", timeout_s=SLOW_S)
    assert done.code == 0, done.stderr
    there, here = tmp_path / "there.npz", tmp_path / "here.npz"
    there.write_bytes(shell.read(made) or b"")
    subprocess.run([sys.executable, SCRIPT, backend, here, *UNITS.values()], env=phone_env, check=True)

    with np.load(there) as theirs, np.load(here) as ours:
        assert set(theirs) == set(ours)
        for i, name in enumerate(UNITS):
            np.testing.assert_array_equal(theirs[f"model_{i}"], ours[f"model_{i}"], name)
            np.testing.assert_array_equal(theirs[f"input_{i}"], ours[f"input_{i}"], name)
            assert np.ptp(ours[f"output_{i}"]) > 0.1, name
            np.testing.assert_allclose(
                theirs[f"output_{i}"], ours[f"output_{i}"], rtol=1e-4, atol=1e-4, err_msg=name
            )


def test_a_profile_is_complete(phone_env: dict[str, str], tmp_path: Path) -> None:
    profile = ["profile", "--target", "phone", "--space", str(NANO)]
    body = host(profile, tmp_path, phone_env)
    assert body["failed"] == 0
    assert body["platform"].startswith("ARMv8")
    assert body["visits"]["stored"] == body["visits"]["planned"] > 0
    assert host(profile, tmp_path, phone_env)["visits"]["stored"] == 0
