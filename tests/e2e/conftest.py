"""The real command line against a real agent on this machine, with a state directory of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adbd_device import AdbdDevice

from chamnet.errors import BundleError
from chamnet_host.bundles.build import Sources, build
from chamnet_host.bundles.downloads import default_cache
from chamnet_host.bundles.recipe import Recipe

TINY = Path(__file__).parents[1] / "data" / "tiny-mobile.toml"
Run = Callable[..., subprocess.CompletedProcess[str]]
PhoneEnv = Callable[[AdbdDevice, str], dict[str, str]]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def env(home: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "COLUMNS": "200"}


@pytest.fixture(scope="session")
def cli(env: dict[str, str]) -> Run:
    def run(*arguments: object, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "chamnet_host", *map(str, arguments)]
        # For one that hangs: to profile takes minutes on a busy machine.
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, timeout=900, check=False
        )
        assert not check or done.returncode == 0, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def profiled(cli: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose store holds a profiled tiny space."""
    folder = tmp_path_factory.mktemp("profiled")
    cli("profile", "--space", TINY, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def ask(cli: Run) -> Callable[..., Any]:
    """Run a command with --json and return what it printed."""

    def run(*arguments: object, cwd: Path) -> Any:
        return json.loads(cli(*arguments, "--json", cwd=cwd).stdout)

    return run


@pytest.fixture
def env_with(tmp_path: Path, env: dict[str, str]) -> PhoneEnv:
    """Return a function that gives a user a phone of a processor, with its profile and its bundle."""

    def env_with(phone: AdbdDevice, arch: str) -> dict[str, str]:
        cache, recipe = default_cache(os.environ), Recipe(arch=arch, os="android")
        try:
            build(recipe, recipe.folder(cache), Sources(cache=cache))
        except BundleError as error:
            pytest.skip(f"no bundle: {error}")
        folder = tmp_path / "device_profiles"
        folder.mkdir()
        (folder / "phone.toml").write_text(
            f'transport = "adb"\nserial = "{phone.address}"\nbundle = "android-{arch}"\npatience_s = 120\n'
        )
        (tmp_path / "home").mkdir()
        return env | {"XDG_CACHE_HOME": str(cache.parent), "HOME": str(tmp_path / "home")}

    return env_with
