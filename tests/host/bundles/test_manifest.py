import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chamnet.errors import BundleError
from chamnet_host.bundles.manifest import Manifest, facts_of


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a folder of three files, with its manifest."""
    for name in ("agent-python", "lib/libc.so.6", "site/a.py"):
        path = tmp_path / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    folder = tmp_path / "bundle"
    files = {
        path.relative_to(folder).as_posix(): facts_of(path) for path in folder.rglob("*") if path.is_file()
    }
    Manifest(
        kind="core",
        arch="aarch64",
        os="android",
        chamnet="1",
        python="3.11.2",
        bytecode=True,
        debian={"libc6": "2.36"},
        wheels={},
        files=files,
        inputs="0" * 64,
    ).save(folder)
    return folder


def test_what_was_saved_is_loaded_and_holds(bundle: Path) -> None:
    manifest = Manifest.load(bundle)
    manifest.verify(bundle)
    assert manifest.size_bytes == sum(len(name) for name in manifest.files)


def test_what_the_device_writes_is_its_own(bundle: Path) -> None:
    (bundle / "var" / "tmp").mkdir(parents=True)
    (bundle / "var" / "tmp" / "x").write_text("x")
    Manifest.load(bundle).verify(bundle)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "site/a.py").unlink(), "site/a.py is missing"),
        (lambda folder: (folder / "site/a.py").write_text("site/b.py"), "site/a.py was changed"),
        (lambda folder: (folder / "agent-python").chmod(0o600), "agent-python was changed"),
        (lambda folder: (folder / "site/evil.py").write_text(""), "site/evil.py is not part of it"),
        (lambda folder: (folder / "site/link.py").symlink_to("a.py"), "site/link.py is not part of it"),
        (lambda folder: (folder / "variant").write_text(""), "variant is not part of it"),
    ],
)
def test_differences_are_named(bundle: Path, damage: Any, words: str) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match=rf"bundle: {words}; build the bundle anew"):
        Manifest.load(bundle).verify(bundle)


def test_a_link_to_the_same_content_is_a_change(bundle: Path, tmp_path: Path) -> None:
    (bundle / "site/a.py").rename(tmp_path / "a.py")
    (bundle / "site/a.py").symlink_to(tmp_path / "a.py")
    with pytest.raises(BundleError, match="was changed"):
        Manifest.load(bundle).verify(bundle)


def test_many_differences_are_counted(bundle: Path) -> None:
    for i in range(9):
        (bundle / f"x{i}").write_text("")
    with pytest.raises(BundleError, match=r"x2 is not part of it, and 6 more;"):
        Manifest.load(bundle).verify(bundle)


def change(bundle: Path, **values: Any) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"python": "3.12"}, "was changed"),
        ({"format": 2}, "format 2, expected 1"),
        ({"files": {"../x": {"sha256": "", "size_bytes": 0, "mode": ""}}}, "cannot be read"),
        ({"files": {"x": {"sha256": ""}}}, "cannot be read"),
        ({"files": 7}, "cannot be read"),
    ],
)
def test_changed_manifests_are_refused(bundle: Path, values: dict[str, Any], words: str) -> None:
    change(bundle, **values)
    with pytest.raises(BundleError, match=rf"manifest\.json: {words}"):
        Manifest.load(bundle)


@pytest.mark.parametrize("text", ["", "[]", "{}", "7", '{"format": 1}'])
def test_other_files_are_no_manifest(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match="cannot be read"):
        Manifest.load(bundle)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a bundle"):
        Manifest.load(tmp_path)


def test_the_digest_is_of_what_the_device_gets(bundle: Path) -> None:
    manifest = Manifest.load(bundle)
    assert replace(manifest, inputs="1" * 64).digest == manifest.digest
    assert replace(manifest, files={}).digest != manifest.digest
