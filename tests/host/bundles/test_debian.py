import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pysequoia
import pytest

from chamnet.errors import BundleError, ConfigError
from chamnet_host.bundles.debian import DEFAULT_URI, DebianMirror, mirror_uri, unpack
from chamnet_host.bundles.downloads import Downloads

Fake = Any  # the mirror in conftest.py


def opened(fake: Fake, tmp_path: Path, **options: Any) -> DebianMirror:
    options = {"uri": fake.uri, "cache": tmp_path / "cache", "keyring": fake.keyring, **options}
    return DebianMirror("bookworm", "arm64", environ={}, **options)


def names(mirror: DebianMirror, *wanted: str) -> list[str]:
    return [deb.name for deb in mirror.closure(wanted)]


def test_a_package_comes_with_all_it_needs_and_nothing_more(mirror: Fake, tmp_path: Path) -> None:
    mirror.add("python", Depends="libc6 (>= 2.36), absent | zlib:any, mail-agent", Recommends="docs")
    mirror.add("libc6", Pre_Depends="gcc-base")
    for name in ("gcc-base", "zlib", "docs"):
        mirror.add(name)
    mirror.add("exim", Provides="mail-agent (= 4), smtp")
    mirror.publish()
    assert names(opened(mirror, tmp_path), "python") == ["exim", "gcc-base", "libc6", "python", "zlib"]


def test_packages_that_need_each_other_end(mirror: Fake, tmp_path: Path) -> None:
    mirror.add("a", Depends="b")
    mirror.add("b", Depends="a")
    mirror.publish()
    assert names(opened(mirror, tmp_path), "a") == ["a", "b"]


def test_a_fetched_package_unpacks(mirror: Fake, tmp_path: Path) -> None:
    mirror.add("a", {"usr/bin/a": b"1", "usr/share/doc/a": b"2"})
    mirror.publish()
    here = opened(mirror, tmp_path)
    (deb,) = here.closure(["a"])
    unpack(here.fetch(deb), tmp_path / "root", wanted=lambda path: path.startswith("usr/bin/"))
    assert [path.name for path in (tmp_path / "root").rglob("*") if path.is_file()] == ["a"]
    assert (tmp_path / "root/usr/bin/a").stat().st_mode & 0o777 == 0o755


def test_unknown_packages_are_the_users_mistake(mirror: Fake, tmp_path: Path) -> None:
    mirror.publish()
    with pytest.raises(ConfigError, match="no package 'pyhton'"):
        opened(mirror, tmp_path).closure(["pyhton"])


def test_a_dependency_that_is_not_there_is_named(mirror: Fake, tmp_path: Path) -> None:
    mirror.add("a", Depends="b | c")
    mirror.publish()
    with pytest.raises(BundleError, match="a depends on b or c"):
        opened(mirror, tmp_path).closure(["a"])


def test_an_unknown_architecture_is_refused(mirror: Fake, tmp_path: Path) -> None:
    mirror.publish()
    here = DebianMirror(
        "bookworm", "mips", uri=mirror.uri, cache=tmp_path, keyring=mirror.keyring, environ={}
    )
    with pytest.raises(ConfigError, match="'mips'"):
        here.closure(["a"])


def test_an_index_signed_by_others_is_refused(mirror: Fake, tmp_path: Path) -> None:
    mirror.publish(key=pysequoia.Tsk.generate("Mallory <mallory@example.org>"))
    with pytest.raises(BundleError, match="no valid signatures"):
        opened(mirror, tmp_path).closure(["a"])
    assert not list(tmp_path.glob("cache/**/*InRelease"))


def test_a_changed_index_is_refused_even_where_an_older_one_is_cached(mirror: Fake, tmp_path: Path) -> None:
    mirror.add("a")
    mirror.publish()
    opened(mirror, tmp_path).closure(["a"])
    signed = mirror.release_file().read_bytes()
    mirror.release_file().write_bytes(signed.replace(b"main/", b"evil/"))
    with pytest.raises(BundleError, match="no valid signatures"):
        opened(mirror, tmp_path).closure(["a"])


def test_lines_around_the_signed_part_are_not_read(mirror: Fake, tmp_path: Path) -> None:
    mirror.add("a")
    mirror.publish()
    signed = mirror.release_file().read_bytes()
    mirror.release_file().write_bytes(b"Codename: trixie\n\n" + signed)
    assert names(opened(mirror, tmp_path), "a") == ["a"]


def test_another_suite_under_this_name_is_refused(mirror: Fake, tmp_path: Path) -> None:
    mirror.publish(codename="bullseye")
    with pytest.raises(BundleError, match="is of bullseye or oldstable, not of bookworm"):
        opened(mirror, tmp_path).closure(["a"])


def test_an_index_with_another_sum_is_refused(mirror: Fake, tmp_path: Path) -> None:
    mirror.publish()
    content = mirror.index_file().read_bytes()
    mirror.index_file().write_bytes(content[:-1] + b"!")
    with pytest.raises(BundleError, match="expected"):
        opened(mirror, tmp_path).closure(["a"])


@pytest.mark.parametrize(("content", "why"), [(b"short", "ended after 5 of"), (b"x" * 10_000, "expected")])
def test_a_package_that_is_not_the_announced_one_is_refused(
    mirror: Fake, tmp_path: Path, content: bytes, why: str
) -> None:
    path = mirror.add("a")
    mirror.publish()
    here = opened(mirror, tmp_path)
    (deb,) = here.closure(["a"])
    path.write_bytes(content)
    with pytest.raises(BundleError, match=why):
        here.fetch(deb)
    assert not list(tmp_path.glob("cache/**/*.deb"))
    assert not list(tmp_path.glob("cache/**/*.part"))


def test_a_damaged_file_in_the_cache_is_fetched_again(mirror: Fake, tmp_path: Path) -> None:
    mirror.add("a")
    mirror.publish()
    here = opened(mirror, tmp_path)
    (deb,) = here.closure(["a"])
    good = here.fetch(deb).read_bytes()
    here.fetch(deb).write_bytes(b"x" * len(good))
    assert here.fetch(deb).read_bytes() == good


@pytest.mark.parametrize("offline", [True, False])
def test_what_was_fetched_once_needs_no_mirror(
    mirror: Fake, tmp_path: Path, offline: bool, caplog: pytest.LogCaptureFixture
) -> None:
    mirror.add("a")
    mirror.publish()
    here = opened(mirror, tmp_path)
    here.fetch(here.closure(["a"])[0])
    mirror.folder.rename(tmp_path / "unplugged")
    again = opened(mirror, tmp_path, offline=offline, keyring=tmp_path / "unplugged" / "keys.asc")
    with caplog.at_level(logging.WARNING):
        assert again.fetch(again.closure(["a"])[0]).is_file()
    assert ("fetched before" in caplog.text) is not offline


@pytest.mark.parametrize(("offline", "why"), [(True, "without --offline"), (False, "cannot be fetched")])
def test_without_cache_and_mirror_the_address_is_named(
    mirror: Fake, tmp_path: Path, offline: bool, why: str
) -> None:
    with pytest.raises(BundleError, match=rf"InRelease.*{why}"):
        opened(mirror, tmp_path, offline=offline).closure(["a"])


def test_a_keyring_that_is_none_is_the_users_mistake(mirror: Fake, tmp_path: Path) -> None:
    mirror.publish()
    with pytest.raises(ConfigError, match="keyring"):
        opened(mirror, tmp_path, keyring=tmp_path / "absent").closure(["a"])
    (tmp_path / "text").write_text("no keys")
    with pytest.raises(ConfigError, match="no OpenPGP certificates"):
        opened(mirror, tmp_path, keyring=tmp_path / "text").closure(["a"])


@pytest.fixture
def breaking_server() -> Iterator[str]:
    """Serve files that end before they are whole."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404 if "absent" in self.path else 200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"only this")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("path", "why"), [("a", "IncompleteRead|ended after 9 of 100"), ("absent", "404")])
def test_a_broken_download_leaves_nothing(breaking_server: str, tmp_path: Path, path: str, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        Downloads(tmp_path).file(f"{breaking_server}/{path}", "a", sha256="0" * 64, size_bytes=100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text", "uri"),
    [
        ("sources.list", "# deb http://no/debian bookworm main\ndeb [arch=amd64] http://a/debian/ bookworm main\n",
         "http://a/debian"),
        ("sources.list.d/x.sources", "Types: deb\nURIs: http://b/debian\n# why\nSuites: bookworm x\nComponents: main\n",
         "http://b/debian"),
        ("sources.list.d/x.sources", "Types: deb\nURIs: http://b/debian\nSuites: sid\nComponents: main\n",
         "http://b/debian"),
        ("sources.list", "deb http://archive/ubuntu noble main\n", DEFAULT_URI),
        ("sources.list.d/x.sources", "Types: deb\nEnabled: no\nURIs: http://b/debian\nSuites: bookworm\nComponents: main\n",
         DEFAULT_URI),
    ],
)  # fmt: skip
def test_the_machines_own_mirror_is_used(tmp_path: Path, name: str, text: str, uri: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert mirror_uri("bookworm", {}, tmp_path) == uri
    assert mirror_uri("bookworm", {"CHAMNET_DEBIAN_MIRROR": "http://mine"}, tmp_path) == "http://mine"
