"""A bundle for this machine, from the real mirror and index, started."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

import chamnet
from chamnet.wire.endpoint import Endpoint, read_token
from chamnet_host.app import run
from chamnet_host.bundles.manifest import Manifest
from chamnet_host.client import DeviceClient

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (sys.platform == "linux" and platform.machine() in ("aarch64", "x86_64")),
        reason="bundles run on Linux",
    ),
]

CORE_BYTES = 55_000_000
BACKEND = """
from chamnet.records import Component

class Backend:
    @staticmethod
    def describe():
        return Component(name="idle", version="1")
"""


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the core bundle; skip where neither Debian nor an index can be reached."""
    folder = tmp_path_factory.mktemp("core")
    options = [
        "--kind",
        "core",
        "--target",
        "local",
        "--cache",
        str(folder / "cache"),
        "-o",
        str(folder / "bundle"),
    ]
    if run(["bundle", *options]):
        pytest.skip("the Debian mirror or the package index cannot be reached")
    return folder / "bundle"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return an environment that would mislead a Python which listens to it."""
    (tmp_path / "trap").mkdir()
    for module in ("chamnet", "grpc", "json", "sitecustomize"):
        (tmp_path / "trap" / f"{module}.py").write_text("raise SystemExit('not ours')")
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "trap"), "HOME": str(tmp_path)}


def test_it_is_small_and_what_it_says(core: Path) -> None:
    manifest = Manifest.load(core)
    manifest.verify(core)
    assert manifest.size_bytes < CORE_BYTES


def test_the_agent_starts_from_it(core: Path, environ: dict[str, str]) -> None:
    command = [core / "agent-python", "-m", "chamnet_agent", "--version"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"chamnet-agent {chamnet.__version__}\n"), done.stderr


def test_its_python_starts_itself_again(core: Path, environ: dict[str, str]) -> None:
    code = "import sys, subprocess; subprocess.run([sys.executable, '-c', 'import sys, grpc; print(sys.prefix)'])"
    done = subprocess.run(
        [core / "agent-python", "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(core / "py"), done.stderr


def test_it_serves_a_host(core: Path, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text(BACKEND)  # a core bundle has no backend of its own
    info = tmp_path / "idle-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: idle\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[chamnet.backends]\nidle = idle:Backend\n")
    environ["PYTHONPATH"] = f"{core}/site:{core}/agent:{tmp_path}"
    state = tmp_path / "state"
    command = [core / "agent-python", "-m", "chamnet_agent", "serve", "--until-stdin-closes", "--json"]
    with subprocess.Popen(
        [*command, "--state-dir", state],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as agent:
        assert agent.stdout is not None
        endpoint = Endpoint(**json.loads(agent.stdout.readline()))
        with DeviceClient(endpoint.address, read_token(state / "token"), tls=None) as client:
            described = client.describe()
        agent.communicate("")
    assert "idle" in [backend.name for backend in described.backends]
    assert agent.returncode == 0
    Manifest.load(core).verify(core)
