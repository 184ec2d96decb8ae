"""The files of a device that runs adbd: fetched from Debian once, kept in the user's cache folder."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chamnet.errors import BundleError, ConfigError
from chamnet_host.bundles.debian import DebianMirror, unpack

__all__ = ["ADBD", "CannotFetchError", "adbd_root"]

ADBD = Path("usr/lib/android-sdk/platform-tools/adbd")
_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
_SUITE = "trixie"  # the first with adbd
_PACKAGES = (
    "adbd",
    "mksh",
    "toybox",
    "busybox-static",
)  # Android's shell and tools, and busybox for what these lack
_LAYOUT = 3  # raise when what is made below changes

# Debian lets every host in on Linux: `auth_required = false`. The last byte of this instruction is that `false`.
_NO_AUTH = re.compile(rb"\xc6\x00(\x00)\x48\x8d\x3d....\xe8", re.DOTALL)

# Answers as a test has set them (`AdbdDevice.answer`), and writes down what was asked.
_STUB = """\
#!/bin/sh
name=${0##*/}
echo "$name $*" >>/stubs/calls
for answer in "/stubs/$name $*" "/stubs/$name"; do
    [ -f "$answer" ] && exec cat "$answer"
done
echo "$name: no answer set for: $*" >&2
exit 1
"""
_STUBS = ("getprop", "dumpsys", "settings", "svc", "pm")


class CannotFetchError(Exception):
    """The files cannot be had here; says why."""


def adbd_root(cache: Path) -> Path:
    """Return a root to copy a device from; its `adbd-auth` beside `adbd` wants hosts to have a key.

    Raises:
        CannotFetchError: No network and nothing in the cache.
    """
    root = cache / f"adbd-{_SUITE}-{_LAYOUT}"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not root.is_dir():
            part = cache / f"{root.name}.{os.getpid()}"
            shutil.rmtree(part, ignore_errors=True)
            _fetch(part / "fetched")
            _furnish(part / "root", part / "fetched")
            (part / "root").rename(root)
            shutil.rmtree(part)
    return root


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _furnish(root: Path, unpacked: Path) -> None:
    """Lay out what a device has, out of what the packages hold."""
    for folder in ("data/local/tmp", "data/misc/adb", "etc", "stubs", "sys", "system/bin", "tmp", "usr/bin"):
        (root / folder).mkdir(parents=True)
    (root / ADBD).parent.mkdir(parents=True)
    shutil.copytree(
        unpacked / _LIBRARIES, root / _LIBRARIES, symlinks=True, ignore=shutil.ignore_patterns("gconv")
    )
    (root / "lib64").symlink_to(_LIBRARIES)
    shutil.copy2(unpacked / ADBD, root / ADBD)
    _demand_keys(root / ADBD)
    for name in ("busybox", "mksh", "toybox"):
        shutil.copy2(unpacked / "usr/bin" / name, root / "usr/bin" / name)
    for program, arguments in (("busybox", ["--list"]), ("toybox", [])):
        for applet in _said(root, program, arguments).split():
            link = root / "system/bin" / applet
            link.unlink(missing_ok=True)
            link.symlink_to(f"/usr/bin/{program}")
    (root / "system/bin/sh").unlink()
    (root / "system/bin/sh").symlink_to("/usr/bin/mksh")
    (root / "bin").symlink_to("system/bin")
    for name in _STUBS:
        stub = root / "system/bin" / name
        stub.unlink(missing_ok=True)  # an applet's link leads out of the root: to this machine's own file
        stub.write_text(_STUB)
        stub.chmod(0o755)


def _said(root: Path, program: str, arguments: list[str]) -> str:
    """Return what a program of the root says, run with the root's own libraries."""
    libraries = root / _LIBRARIES
    loader = [libraries / "ld-linux-x86-64.so.2", "--library-path", libraries]
    command = [*loader, root / "usr/bin" / program, *arguments]
    if program == "busybox":
        command = command[len(loader) :]  # static
    return subprocess.check_output(command, text=True)


def _demand_keys(adbd: Path) -> None:
    code = bytearray(adbd.read_bytes())
    found = list(_NO_AUTH.finditer(code))
    if len(found) != 1:
        raise CannotFetchError(f"this adbd is not the one known: {len(found)} places would turn keys on")
    code[found[0].start(1)] = 1
    twin = adbd.with_name("adbd-auth")
    twin.write_bytes(code)
    twin.chmod(0o755)


def _fetch(root: Path) -> None:
    """Unpack the packages and all they need."""
    try:
        mirror = DebianMirror(_SUITE, "amd64")
        for package in mirror.closure(_PACKAGES):
            unpack(mirror.fetch(package), root)
    except (BundleError, ConfigError) as error:
        raise CannotFetchError(str(error)) from error
