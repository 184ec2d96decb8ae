import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from chamnet.errors import BundleError
from chamnet_host.bundles.deb import unpack

MakeDeb = Callable[..., Path]


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".bz2"])
def test_packages_unpack_in_every_usual_compression(make_deb: MakeDeb, tmp_path: Path, suffix: str) -> None:
    unpack(make_deb("./usr/x", b"content", suffix=suffix, mode=0o4755), tmp_path / "root")
    assert (tmp_path / "root/usr/x").read_bytes() == b"content"
    assert (tmp_path / "root/usr/x").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("name", ["../evil", "/evil", "./usr/../../evil"])
def test_a_path_outside_is_refused(make_deb: MakeDeb, tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match=r"made\.deb.*outside"):
        unpack(make_deb(name, b"x"), tmp_path / "root")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("target", ["../../evil", "/../evil", "a/../../../evil"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_that_leads_outside_is_refused(
    make_deb: MakeDeb, tmp_path: Path, target: str, kind: bytes
) -> None:
    (tmp_path / "evil").write_text("secret")
    with pytest.raises(BundleError, match=r"made\.deb"):
        unpack(make_deb("./usr/link", type=kind, linkname=target), tmp_path / "root")
    assert not (tmp_path / "root/usr/link").exists()


def test_nothing_is_written_through_a_link_to_the_outside(make_deb: MakeDeb, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "usr").symlink_to(outside)
    with pytest.raises(BundleError, match="outside"):
        unpack(make_deb("./usr/x", b"x"), root)
    assert not list(outside.iterdir())


def test_a_link_in_place_of_a_file_is_replaced_not_followed(make_deb: MakeDeb, tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    root.mkdir()
    victim.write_text("mine")
    (root / "x").symlink_to(victim)
    unpack(make_deb("./x", b"x"), root)
    assert victim.read_text() == "mine"
    assert not (root / "x").is_symlink()


def test_absolute_links_stay_below_the_root(make_deb: MakeDeb, tmp_path: Path) -> None:
    unpack(make_deb("./usr/lib/ld.so", type=tarfile.SYMTYPE, linkname="/lib/real.so"), tmp_path / "root")
    assert (tmp_path / "root/usr/lib/ld.so").readlink() == Path("../../lib/real.so")


def test_device_files_are_refused(make_deb: MakeDeb, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="neither a file nor a link"):
        unpack(make_deb("./dev/null", type=tarfile.CHRTYPE), tmp_path / "root")


@pytest.mark.parametrize("length", [0, 4, 30, 100, 200, 300])
def test_a_package_that_ends_early_is_refused(make_deb: MakeDeb, tmp_path: Path, length: int) -> None:
    deb = make_deb("./x", os.urandom(500))
    deb.write_bytes(deb.read_bytes()[:length])
    with pytest.raises(BundleError, match=r"made\.deb"):
        unpack(deb, tmp_path / "root")


def test_an_unknown_compression_is_named(make_deb: MakeDeb, tmp_path: Path) -> None:
    deb = make_deb("./x", b"x")
    deb.write_bytes(deb.read_bytes().replace(b"data.tar.xz ", b"data.tar.lz4"))
    with pytest.raises(BundleError, match=r"lz4; known: \.gz"):
        unpack(deb, tmp_path / "root")


def test_zstd_is_read_where_zstandard_is_installed_else_it_is_named(
    make_deb: MakeDeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deb = make_deb("./x", b"x")
    deb.write_bytes(deb.read_bytes().replace(b"data.tar.xz ", b"data.tar.zst"))
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(BundleError, match="pip install zstandard"):
        unpack(deb, tmp_path / "root")
