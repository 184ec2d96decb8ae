"""What the wheel holds: three packages, their data, and nothing at the top level that others own."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {  # name in the wheel -> folder in the tree
    "chamnet": ROOT / "chamnet",
    "chamnet_agent": ROOT / "agent" / "chamnet_agent",
    "chamnet_host": ROOT / "host" / "chamnet_host",
}
DATA_SUFFIXES = {".asc", ".html", ".json", ".npz", ".toml", ".typed"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build the wheel of this tree and return the paths inside it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_top_level_is_ours_alone(wheel_names: set[str]) -> None:
    top = {name.partition("/")[0] for name in wheel_names}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_and_data_ship(wheel_names: set[str], package: str) -> None:
    folder = PACKAGES[package]
    wanted = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*")
        if path.suffix in DATA_SUFFIXES | {".py"}
    }
    assert f"{package}/py.typed" in wanted
    assert wanted - wheel_names == set()


def test_device_profiles_ship_with_the_host(wheel_names: set[str]) -> None:
    profiles = {path.name for path in (ROOT / "device_profiles").glob("*.toml")}
    assert "local.toml" in profiles
    assert {f"chamnet_host/device_profiles/{name}" for name in profiles} <= wheel_names


def test_license_ships(wheel_names: set[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel_names)
