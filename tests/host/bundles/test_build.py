import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machine_bundle import make_bundle, summed_up

from chamnet.errors import BundleError, ConfigError
from chamnet_host.bundles.archive import write_archive
from chamnet_host.bundles.build import Built, Sources, build
from chamnet_host.bundles.manifest import Manifest
from chamnet_host.bundles.recipe import Recipe, our_files

PHONE = Recipe(kind="core", arch="aarch64", os="android")
MAGIC = int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little")
BOOTSTRAP = f"MAGIC_NUMBER = ({MAGIC}).to_bytes(2, 'little') + b'\\r\\n'\n".encode()
LIB = "lib/aarch64-linux-gnu"


def lock_text(arch: str, wheels: Mapping[str, Mapping[str, object]]) -> str:
    parts = ['core = ["demo"]\n']
    for name, facts in wheels.items():
        body = "".join(f"{key} = {json.dumps(value)}\n" for key, value in facts.items())
        parts.append(f"[{arch}.{name}]\n{body}")
    return "\n".join(parts)


@pytest.fixture
def packages(mirror: Any, make_elf: Callable[..., bytes]) -> dict[str, dict[str, bytes]]:
    """Return what the mirror's packages hold; a test may change it before `sources` publishes it."""
    return {
        "python3.11-minimal": {
            "usr/bin/python3.11": make_elf("libc.so.6", "libz.so.1"),
            "usr/share/doc/python3.11-minimal/copyright": b"PSF",
        },
        "libpython3.11-stdlib": {
            "usr/lib/python3.11/importlib/_bootstrap_external.py": BOOTSTRAP,
            "usr/lib/python3.11/os.py": b"x = 1\n",
            "usr/lib/python3.11/test/test_os.py": b"x = 1\n",
        },
        "libstdc++6": {f"{LIB}/libunused.so": make_elf()},
        "libgcc-s1": {f"{LIB}/libgcc_s.so.1": make_elf("libc.so.6")},
        "libc6": {
            f"{LIB}/ld-linux-aarch64.so.1": make_elf(),
            f"{LIB}/libc.so.6": make_elf("ld-linux-aarch64.so.1"),
            f"{LIB}/libz.so.1": make_elf("libc.so.6"),
        },
    }


@pytest.fixture
def sources(mirror: Any, packages: dict[str, dict[str, bytes]], make_wheel: Any, tmp_path: Path) -> Sources:
    """Return a mirror with small packages, and a cache that holds the one wheel."""
    for name, files in packages.items():
        mirror.add(name, files, **({} if name == "libc6" else {"Depends": "libc6"}))
    mirror.publish()
    cache = tmp_path / "cache"
    facts = make_wheel(
        cache / "wheels" / "demo-1.0-py3-none-any.whl",
        {"demo.py": b"y = 2\n", "onnxruntime/__init__.py": b'__version__ = "1"\n'},
    )
    lock = tmp_path / "lock.toml"
    lock.write_text(lock_text("aarch64", {"demo": facts}))
    return Sources(cache=cache, mirror=mirror.uri, keyring=mirror.keyring, lock=lock)


def test_a_bundle_holds_what_is_needed_in_its_place(sources: Sources, tmp_path: Path) -> None:
    built = build(PHONE, tmp_path / "out", sources)
    built.manifest.verify(built.folder)
    files = set(built.manifest.files)
    assert {
        "agent-python", "py/bin/python3", "py/lib/python3.11/os.pyc", "site/demo.pyc", "agent/chamnet_agent/cli.pyc",
        "lib/ld-linux-aarch64.so.1", "lib/libc.so.6", "lib/libz.so.1", "lib/libgcc_s.so.1",
        "licenses/python3.11-minimal.txt",
    } <= files  # fmt: skip
    assert "lib/libunused.so" not in files
    assert "py/lib/python3.11/test/test_os.pyc" not in files
    assert set(built.manifest.debian) == {"python3.11-minimal", "libpython3.11-stdlib", "libgcc-s1", "libc6"}
    assert not [path for path in built.folder.rglob("*") if path.is_symlink()]


def test_programs_can_be_started_and_nothing_else(sources: Sources, tmp_path: Path) -> None:
    manifest = build(PHONE, tmp_path / "out", sources).manifest
    programs = {name for name, facts in manifest.files.items() if facts.mode == "0755"}
    assert programs == {"agent-python", "py/bin/python3", "lib/ld-linux-aarch64.so.1"}


def test_a_runtimes_version_stays_readable_as_text(sources: Sources, tmp_path: Path) -> None:
    folder = build(PHONE, tmp_path / "out", sources).folder
    assert "__version__" in (folder / "site/onnxruntime/__init__.py").read_text()


def test_the_same_parts_give_the_same_bundle(sources: Sources, tmp_path: Path) -> None:
    first, second = (build(PHONE, tmp_path / name, sources).manifest for name in ("a", "b"))
    assert first == second
    assert first.digest == second.digest


def test_building_again_does_nothing_and_asks_nobody(sources: Sources, mirror: Any, tmp_path: Path) -> None:
    first = build(PHONE, tmp_path / "out", sources)
    mirror.folder.rename(tmp_path / "unplugged")
    said: list[str] = []
    again = build(PHONE, tmp_path / "out", sources, progress=lambda _done, _all, remark: said.append(remark))
    assert (first.fresh, again.fresh, said) == (True, False, [])
    assert again.manifest == first.manifest


def test_of_two_that_build_at_once_one_builds(sources: Sources, tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def build_one(_number: int) -> Built:
        return build(PHONE, tmp_path / "out", sources, progress=lambda done, _all, _remark: began(done))

    def began(done: int) -> None:
        if not done and not both.broken:
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(1)  # nobody else comes, unless both build

    with ThreadPoolExecutor(2) as pool:
        built = list(pool.map(build_one, range(2)))
    assert sorted(each.fresh for each in built) == [False, True]
    assert built[0].manifest == built[1].manifest


def test_a_damaged_bundle_is_built_again(sources: Sources, tmp_path: Path) -> None:
    folder = build(PHONE, tmp_path / "out", sources).folder
    (folder / "lib" / "libc.so.6").write_text("x")
    built = build(PHONE, tmp_path / "out", sources)
    assert built.fresh
    built.manifest.verify(folder)


def test_another_recipe_in_its_place_is_built(sources: Sources, tmp_path: Path) -> None:
    build(PHONE, tmp_path / "out", sources)
    assert build(replace(PHONE, os="linux"), tmp_path / "out", sources).fresh
    assert Manifest.load(tmp_path / "out").os == "linux"


def test_refresh_builds_in_any_case(sources: Sources, tmp_path: Path) -> None:
    build(PHONE, tmp_path / "out", sources)
    assert build(PHONE, tmp_path / "out", sources, refresh=True).fresh


def test_offline_builds_from_what_was_fetched(sources: Sources, mirror: Any, tmp_path: Path) -> None:
    first = build(PHONE, tmp_path / "a", sources)
    keyring = tmp_path / "keys"
    keyring.write_bytes(mirror.keyring.read_bytes())
    mirror.folder.rename(tmp_path / "unplugged")
    offline = replace(sources, offline=True, keyring=keyring)
    assert build(PHONE, tmp_path / "b", offline).manifest.digest == first.manifest.digest


def test_a_python_with_another_bytecode_leaves_compiling_to_the_device(
    sources: Sources, tmp_path: Path
) -> None:
    manifest = build(PHONE, tmp_path / "out", sources, builder_magic=b"none").manifest
    assert not manifest.bytecode
    assert {"site/demo.py", "agent/chamnet_agent/cli.py"} <= manifest.files.keys()
    assert not [name for name in manifest.files if name.endswith(".pyc")]


def test_a_folder_that_is_no_bundle_is_left_alone(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="mine: exists and is not a bundle"):
        build(PHONE, tmp_path / "mine", sources)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_used(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert build(PHONE, tmp_path / "out", sources).fresh


def test_a_failed_build_leaves_the_old_bundle(sources: Sources, mirror: Any, tmp_path: Path) -> None:
    first = build(PHONE, tmp_path / "out", sources)
    mirror.index_file().write_bytes(b"damaged")
    (sources.cache / "debian" / "bookworm-arm64-Packages.xz").unlink()
    with pytest.raises(BundleError):
        build(PHONE, tmp_path / "out", sources, refresh=True)
    first.manifest.verify(tmp_path / "out")
    assert not list(tmp_path.glob(".bundle-*"))


class TestPartsThatDoNotFit:
    @pytest.fixture(
        params=[("libabsent.so.1", 183, r"python3 needs libabsent.so.1"), ("libc.so.6", 62, "is for x86_64")]
    )
    def why(
        self, request: pytest.FixtureRequest, packages: dict[str, Any], make_elf: Callable[..., bytes]
    ) -> str:
        needed, machine, words = request.param
        packages["python3.11-minimal"]["usr/bin/python3.11"] = make_elf(needed, machine=machine)
        return str(words)

    def test_are_found_before_a_device_does(self, why: str, sources: Sources, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match=why):
            build(PHONE, tmp_path / "out", sources)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".tar.xz", ".tar.gz"])
def test_an_archive_unpacks_to_the_same_bundle(sources: Sources, tmp_path: Path, suffix: str) -> None:
    built = build(PHONE, tmp_path / "out", sources)
    packed = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in packed:
        write_archive(built.folder, built.manifest, path)
    assert packed[0].read_bytes() == packed[1].read_bytes()
    with tarfile.open(packed[0]) as archive:
        archive.extractall(tmp_path / "unpacked", filter="tar")
    Manifest.load(tmp_path / "unpacked" / "chamnet").verify(tmp_path / "unpacked" / "chamnet")


def test_a_file_in_an_archive_is_dated_by_what_it_holds(tmp_path: Path) -> None:
    """Python tells by size and date whether what it compiled before is still right."""
    folder = make_bundle(tmp_path / "bundle")
    dates = []
    for number in range(2):
        (folder / "plugin/version.py").write_text(f"V = {number}\n")
        path = tmp_path / "packed.tar.gz"
        write_archive(summed_up(folder), Manifest.load(folder), path)
        with tarfile.open(path) as archive:
            dates.append({member.name: member.mtime for member in archive})
    changed = {name for name in dates[0] if dates[0][name] != dates[1][name]}
    assert changed == {"chamnet/plugin/version.py", "chamnet/manifest.json"}


@pytest.mark.parametrize("values", [{"kind": "tiny"}, {"arch": "mips"}, {"os": "windows"}])
def test_unknown_recipes_say_what_is_known(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="known: "):
        Recipe(**values)


def test_profiles_name_bundles_by_system_and_processor() -> None:
    assert Recipe.read("linux-x86_64") == Recipe(os="linux", arch="x86_64")
    with pytest.raises(ConfigError, match="such as android-aarch64"):
        Recipe.read("android")


def test_our_part_is_enough_for_every_module_of_the_agent(tmp_path: Path) -> None:
    for name, path in our_files():
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert not (tmp_path / "chamnet" / "search").exists()
    modules = [
        ".".join(path.relative_to(tmp_path).with_suffix("").parts)
        for path in sorted((tmp_path / "chamnet_agent").rglob("*.py"))
        if path.stem not in ("__init__", "__main__", "torch", "torch_cuda")
    ]
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)\nimport chamnet; print(chamnet.__file__)"
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
