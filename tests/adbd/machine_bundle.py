"""A bundle without a Python of its own: it runs this machine's, which a device has bound in."""

import os
import platform
import sys
from pathlib import Path

import grpc
import pytest

import chamnet
import chamnet_agent
from chamnet_agent.testing import Script, install_fake_backend
from chamnet_host.bundles.manifest import FileFacts, Manifest, facts_of

__all__ = ["binds", "make_bundle", "summed_up"]

_LOADER = "ld-linux-x86-64.so.2"
_LAUNCHER = f"""\
#!/system/bin/sh
here=$(cd "${{0%/*}}" && pwd)
export PYTHONHOME=/host/python PYTHONPATH=/host/site:/host/core:/host/agent:$here/plugin
export PYTHONDONTWRITEBYTECODE=1 HOME=$here/var TMPDIR=$here/var
exec /host/lib/{_LOADER} --library-path /host/lib:/host/python/lib --argv0 "$here/agent-python" \\
    /host/python/bin/python{sys.version_info.major}.{sys.version_info.minor} "$@"
"""
_LAUNCHER_HERE = f"""\
#!/bin/sh
here=$(cd "${{0%/*}}" && pwd)
export PYTHONPATH={Path(chamnet.__file__).parents[1]}:{Path(chamnet_agent.__file__).parents[1]}:$here/plugin
export PYTHONDONTWRITEBYTECODE=1 HOME=$here/var TMPDIR=$here/var
exec {sys.executable} "$@"
"""


def binds() -> dict[Path, str]:
    """Return what a device needs of this machine."""
    loader = Path("/lib64", _LOADER)
    if not loader.exists():
        pytest.skip(f"no {loader} here")
    return {
        Path(sys.base_prefix): "/host/python",
        loader.resolve().parent: "/host/lib",
        Path(grpc.__file__).parents[1]: "/host/site",
        Path(chamnet.__file__).parents[1]: "/host/core",
        Path(chamnet_agent.__file__).parents[1]: "/host/agent",
    }


def make_bundle(folder: Path, script: Script | None = None, *, here: bool = False) -> Path:
    """Write a bundle whose agent has a backend `fake` that follows a script.

    Args:
        folder: Where.
        script: Of the backend.
        here: Whether it runs on this machine, instead of on a device that has `binds`.
    """
    plugin = folder / "plugin"
    plugin.mkdir(parents=True)
    install_fake_backend(plugin, script or Script())
    (folder / "data/deeper").mkdir(parents=True)
    for number in range(20):
        (folder / f"data/deeper/file {number}").write_bytes(os.urandom(1_000 * number))
    launcher = folder / "agent-python"
    launcher.write_text(_LAUNCHER_HERE if here else _LAUNCHER)
    launcher.chmod(0o755)
    return summed_up(folder)


def summed_up(folder: Path) -> Path:
    """Write the manifest of what a bundle holds now."""
    (folder / "manifest.json").unlink(missing_ok=True)
    files: dict[str, FileFacts] = {
        path.relative_to(folder).as_posix(): facts_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    Manifest(
        kind="core",
        arch=platform.machine(),
        os="android",
        chamnet=chamnet.__version__,
        python=platform.python_version(),
        bytecode=False,
        debian={},
        wheels={},
        files=files,
        inputs="",
    ).save(folder)
    return folder
