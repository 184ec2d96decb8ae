from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from adbd_device import AdbdDevice
from machine_bundle import make_bundle, summed_up

from chamnet.errors import BundleError, ConfigError, DeviceError
from chamnet_host.bundles.manifest import Manifest
from chamnet_host.transport.adb.device import AdbShell
from chamnet_host.transport.adb.ways import open_adb
from chamnet_host.transport.deployment import Deployment, Difference

FOLDER = "/data/local/tmp/with space"


@pytest.fixture
def shell(device: AdbdDevice, tmp_path: Path) -> Iterator[AdbShell]:
    shell = open_adb(device.address, way="direct", environ={"HOME": str(tmp_path)})
    yield shell
    shell.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


@pytest.fixture
def deployment(shell: AdbShell) -> Deployment:
    return Deployment(shell, FOLDER)


def deploy(deployment: Deployment, bundle: Path) -> Difference:
    """Bring a device up to date, and return what was to do."""
    manifest = Manifest.load(bundle)
    difference = deployment.difference(manifest)
    deployment.apply(difference, bundle, manifest)
    return difference


def test_a_bundle_arrives_whole(deployment: Deployment, bundle: Path, device: AdbdDevice) -> None:
    manifest = Manifest.load(bundle)
    difference = deploy(deployment, bundle)
    assert set(difference.changed) == set(manifest.files)
    assert difference.size_bytes == manifest.size_bytes
    manifest.verify(bundle)
    deployment.verify(manifest)
    assert device.path(f"{FOLDER}/agent-python").stat().st_mode & 0o100
    assert device.path(FOLDER).stat().st_mode & 0o077 == 0


def test_the_same_again_sends_nothing(deployment: Deployment, bundle: Path) -> None:
    deploy(deployment, bundle)
    assert not deployment.difference(Manifest.load(bundle))


def test_only_what_differs_is_sent(deployment: Deployment, bundle: Path, device: AdbdDevice) -> None:
    deploy(deployment, bundle)
    (bundle / "data/deeper/file 3").write_text("new\n")
    (bundle / "data/deeper/file 4").unlink()
    (bundle / "data/added").write_text("added\n")
    difference = deploy(deployment, summed_up(bundle))
    assert difference == Difference(
        changed=("data/added", "data/deeper/file 3"), surplus=("data/deeper/file 4",), size_bytes=10
    )
    assert device.path(f"{FOLDER}/data/deeper/file 3").read_text() == "new\n"
    assert not device.path(f"{FOLDER}/data/deeper/file 4").exists()


def test_what_was_changed_on_the_device_is_put_right(
    deployment: Deployment, bundle: Path, device: AdbdDevice
) -> None:
    deploy(deployment, bundle)
    device.path(f"{FOLDER}/data/deeper/file 5").write_text("broken")
    device.path(f"{FOLDER}/plugin/stranger.py").write_text("raise SystemExit")
    device.path(f"{FOLDER}/plugin/link.py").symlink_to("/etc/passwd")
    with pytest.raises(BundleError, match=r"file 5, plugin/.*, plugin/.* not as in the bundle"):
        deployment.verify(Manifest.load(bundle))
    deploy(deployment, bundle)
    deployment.verify(Manifest.load(bundle))


def test_what_the_agent_writes_is_left_alone(
    deployment: Deployment, bundle: Path, device: AdbdDevice
) -> None:
    deploy(deployment, bundle)
    device.path(f"{FOLDER}/var").mkdir()
    device.path(f"{FOLDER}/var/log").write_text("words")
    assert not deploy(deployment, bundle)
    assert device.path(f"{FOLDER}/var/log").exists()


def test_what_python_compiled_of_another_bundle_is_gone(
    deployment: Deployment, bundle: Path, device: AdbdDevice
) -> None:
    deploy(deployment, bundle)
    compiled = device.path(f"{FOLDER}/var/pycache/module.pyc")
    compiled.parent.mkdir(parents=True)
    compiled.touch()
    deploy(deployment, bundle)
    (bundle / "data/added").write_text("added\n")
    deploy(deployment, summed_up(bundle))
    assert not compiled.exists()


def test_progress_is_told(deployment: Deployment, bundle: Path) -> None:
    manifest, told = Manifest.load(bundle), []
    deployment.apply(deployment.difference(manifest), bundle, manifest, lambda *what: told.append(what))
    assert len(told) == len(manifest.files) + 1
    assert told[-1] == (manifest.size_bytes, manifest.size_bytes, "")


def test_a_bundle_that_was_changed_does_not_pass(deployment: Deployment, bundle: Path) -> None:
    (bundle / "data/deeper/file 7").write_text("changed after the sums were taken")
    with pytest.raises(BundleError, match="data/deeper/file 7 not as in the bundle"):
        deploy(deployment, bundle)


def test_another_processor_is_refused_before_anything_is_sent(
    deployment: Deployment, bundle: Path, device: AdbdDevice
) -> None:
    foreign = replace(Manifest.load(bundle), arch="riscv64")
    with pytest.raises(
        ConfigError, match=r"its processor is .*, and the bundle is for riscv64; build one with: "
    ):
        deployment.difference(foreign)
    assert not device.path(FOLDER).exists()


def test_a_device_that_takes_nothing_says_why(shell: AdbShell, bundle: Path) -> None:
    with pytest.raises(DeviceError, match=r"`mkdir -p /proc/nowhere.*ended with 1: .*/proc/nowhere"):
        deploy(Deployment(shell, "/proc/nowhere"), bundle)


def test_removing_leaves_nothing(deployment: Deployment, bundle: Path, device: AdbdDevice) -> None:
    deployment.remove()
    deploy(deployment, bundle)
    deployment.remove()
    assert not device.path(FOLDER).exists()


def test_a_device_without_sha256sum_is_told_before_anything_is_sent(
    deployment: Deployment, bundle: Path, device: AdbdDevice
) -> None:
    device.path("/system/bin/sha256sum").unlink()
    with pytest.raises(DeviceError, match="no sha256sum, so nothing put there can be checked; Android 8"):
        deploy(deployment, bundle)
    assert not device.path(FOLDER).exists()
