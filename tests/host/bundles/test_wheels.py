import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest

from chamnet.errors import BundleError
from chamnet_host.bundles.renew import lock_text
from chamnet_host.bundles.wheels import LOCK, Wheel, fetch_wheels, locked_wheels, unpack_wheel

MakeWheel = Callable[..., dict[str, Any]]
NAME = "chamnet_demo-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, make_wheel: MakeWheel, monkeypatch: pytest.MonkeyPatch) -> Wheel:
    """Make a wheel that pip finds without a network, and nothing else does."""
    facts = make_wheel(tmp_path / "index" / NAME, {"chamnet_demo.py": b"x = 1"})
    for key, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index")}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return Wheel(name="chamnet-demo", **facts)


def test_pip_brings_what_the_cache_lacks_and_no_more(index: Wheel, tmp_path: Path) -> None:
    files = fetch_wheels([index], "aarch64", tmp_path / "cache")
    assert files == {"chamnet-demo": tmp_path / "cache" / "wheels" / NAME}
    (tmp_path / "index" / NAME).unlink()
    assert fetch_wheels([index], "aarch64", tmp_path / "cache", offline=True) == files


def test_a_damaged_wheel_in_the_cache_is_fetched_again(index: Wheel, tmp_path: Path) -> None:
    kept = tmp_path / "cache" / "wheels" / NAME
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"half")
    fetch_wheels([index], "aarch64", tmp_path / "cache")
    assert kept.read_bytes() == (tmp_path / "index" / NAME).read_bytes()


def test_a_wheel_with_another_sum_is_refused(index: Wheel, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=rf"pip cannot fetch {NAME}.*\n.*"):
        fetch_wheels([replace(index, sha256="0" * 64)], "aarch64", tmp_path / "cache")


def test_an_unknown_version_quotes_pip(index: Wheel, tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"No matching distribution.*\nIndexes are those of `pip config list`"
    ):
        fetch_wheels([replace(index, version="2.0")], "aarch64", tmp_path / "cache")


def test_offline_names_what_is_lacking(index: Wheel, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=rf"lacks {NAME}.*without --offline"):
        fetch_wheels([index], "aarch64", tmp_path / "cache", offline=True)


@pytest.mark.parametrize("arch", ["aarch64", "x86_64"])
def test_both_processors_get_the_same_versions(arch: str) -> None:
    full = {wheel.name: wheel.version for wheel in locked_wheels("full", arch)}
    assert full == {wheel.name: wheel.version for wheel in locked_wheels("full", "aarch64")}
    assert {"grpcio", "protobuf", "numpy", "onnxruntime", "ai-edge-litert"} <= full.keys()
    assert all(arch in wheel.file or "none-any" in wheel.file for wheel in locked_wheels("full", arch))
    core = {wheel.name for wheel in locked_wheels("core", arch)}
    onnx = {wheel.name for wheel in locked_wheels("onnx", arch)}
    assert {"grpcio", "protobuf"} <= core < onnx < full.keys()


def test_a_bundle_with_onnx_runtime_alone_has_what_that_needs() -> None:
    needed = {
        re.split(r"[^\w-]", each)[0] for each in requires("onnxruntime") or () if "extra ==" not in each
    }
    onnx = {wheel.name for wheel in locked_wheels("onnx", "aarch64")}
    assert "numpy" in needed
    assert needed <= onnx
    assert "ai-edge-litert" not in onnx


def test_pinned_versions_are_the_tested_ones() -> None:
    lines = (Path(__file__).parents[3] / "constraints.txt").read_text().splitlines()
    tested = dict(
        line.lower().replace("_", "-").replace(".", "-").split("==") for line in lines if "==" in line
    )
    pinned = {wheel.name: wheel.version.replace(".", "-") for wheel in locked_wheels("full", "aarch64")}
    assert {name: tested[name] for name in pinned} == pinned


def test_the_pins_are_written_as_they_are_read() -> None:
    wheels = {arch: locked_wheels("full", arch) for arch in ("aarch64", "x86_64")}
    kinds = {kind: [wheel.name for wheel in locked_wheels(kind, "aarch64")] for kind in ("core", "onnx")}
    assert lock_text(kinds, wheels) == LOCK.read_text()


def test_what_no_agent_loads_stays_out(make_wheel: MakeWheel, tmp_path: Path) -> None:
    names = (
        "numpy/a.py",
        "numpy/tests/test_a.py",
        "numpy/a.pyi",
        "onnxruntime/capi/libonnxruntime.so.1.31.1",
    )
    make_wheel(tmp_path / NAME, dict.fromkeys(names, b""))
    unpack_wheel(tmp_path / NAME, tmp_path / "site")
    left = {path.name for path in (tmp_path / "site").rglob("*") if path.is_file()}
    assert left == {"a.py", "METADATA", "WHEEL"}


def test_parts_for_other_folders_are_placed_or_left_out(make_wheel: MakeWheel, tmp_path: Path) -> None:
    make_wheel(tmp_path / NAME, {"x-1.data/purelib/x.py": b"", "x-1.data/scripts/run": b""})
    unpack_wheel(tmp_path / NAME, tmp_path / "site")
    assert (tmp_path / "site" / "x.py").is_file()
    assert not list((tmp_path / "site").rglob("run"))


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "a/../../evil.py", "a\\..\\evil.py"])
def test_a_path_outside_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / NAME, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(BundleError, match="outside"):
        unpack_wheel(tmp_path / NAME, tmp_path / "site")
    assert not list(tmp_path.rglob("evil.py"))


def test_a_damaged_wheel_is_named(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"PK no zip")
    with pytest.raises(BundleError, match=NAME):
        unpack_wheel(tmp_path / NAME, tmp_path / "site")
