"""Pins the wheels of bundles anew, in the versions of constraints.txt: `make wheels`."""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from chamnet.errors import BundleError
from chamnet_host.bundles.downloads import sha256_of
from chamnet_host.bundles.wheels import LOCK, Wheel, target_options

__all__ = ["lock_text", "main"]

_ARCHS = ("aarch64", "x86_64")
_CORE = ("grpcio", "protobuf")
_ONNX = (*_CORE, "numpy", "onnxruntime")
_FULL = (*_ONNX, "ai-edge-litert")
_HEAD = """\
# The wheels of a bundle: what `pip` resolves for CPython 3.11 on manylinux 2.28, in the versions of constraints.txt.
# `make wheels` renews them. Nothing but these files, by their sums, gets into a bundle.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Download the wheels that bundles need for each processor, and write what they are into `wheels.toml`.

    Args:
        arguments: The file of constraints; those of the command line by default.

    Raises:
        BundleError: pip cannot resolve or fetch them.
    """
    parser = argparse.ArgumentParser(prog="python -m chamnet_host.bundles.renew", description=__doc__)
    parser.add_argument("constraints", type=Path, help="file of tested versions")
    constraints = parser.parse_args(arguments).constraints
    wheels = {}
    for arch in _ARCHS:
        with TemporaryDirectory() as folder:
            _pip("download", _FULL, arch, constraints, "--dest", folder)
            wheels[arch] = [_wheel(path) for path in sorted(Path(folder).glob("*.whl"))]
    kinds = {kind: _resolved(needed, constraints) for kind, needed in (("core", _CORE), ("onnx", _ONNX))}
    LOCK.write_text(lock_text(kinds, wheels), encoding="utf-8")


def lock_text(kinds: Mapping[str, Sequence[str]], wheels: Mapping[str, Sequence[Wheel]]) -> str:
    """Return the text of `wheels.toml`.

    Args:
        kinds: Names of the packages of each kind of bundle but `full`.
        wheels: By processor; those of a `full` bundle.
    """
    lines = [f"{kind} = {json.dumps(sorted(names))}\n" for kind, names in kinds.items()]
    for arch in wheels:
        for wheel in sorted(wheels[arch], key=lambda wheel: wheel.name):
            lines += [
                f"\n[{arch}.{wheel.name}]\n",
                f'version = "{wheel.version}"\nfile = "{wheel.file}"\n',
                f'sha256 = "{wheel.sha256}"\nsize_bytes = {wheel.size_bytes:_}\n',
            ]
    return _HEAD + "".join(lines)


def _wheel(path: Path) -> Wheel:
    name, version = path.name.split("-")[:2]
    return Wheel(
        name=_normal(name),
        version=version,
        file=path.name,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
    )


def _resolved(needed: Sequence[str], constraints: Path) -> list[str]:
    """Return the names of some packages and of all that they need, which is the same for each processor."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        _pip(
            *("install", needed, _ARCHS[0], constraints, "--dry-run", "--ignore-installed"),
            *("--target", folder, "--report", str(report)),
        )
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [_normal(each["metadata"]["name"]) for each in found]


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _pip(command: str, needed: Sequence[str], arch: str, constraints: Path, *options: str) -> None:
    words = [*target_options(arch), "--constraint", str(constraints), *options, *needed]
    done = subprocess.run([sys.executable, "-m", "pip", command, "--quiet", *words], check=False)
    if done.returncode:
        raise BundleError(f"pip {command} {' '.join(needed)} for {arch} failed; it says why above")


if __name__ == "__main__":
    main()
