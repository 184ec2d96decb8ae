"""The files of a device that runs adbd: fetched from Debian once, kept in the user's cache folder."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from chamnet.errors import BundleError, ConfigError
from chamnet_host.bundles.debian import DebianMirror, unpack

__all__ = ["ADBD", "EMULATOR", "CannotFetchError", "adbd_root"]

ADBD = Path("usr/lib/android-sdk/platform-tools/adbd")
EMULATOR = Path("emulator")
_SUITE = "trixie"  # the first with adbd, and with a qemu on which the runtimes do not crash
_PACKAGES = (
    "adbd",
    "mksh",
    "toybox",
    "busybox-static",
)  # Android's shell and tools, and busybox for what these lack
_LAYOUT = 3  # raise when what is made below changes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Processor:
    """What differs between devices of two processors.

    Attributes:
        debian: Debian's word for it.
        libraries: Where Debian has libraries.
        loader: Where programs look for the one that loads them.
        no_auth: Debian lets every host in on Linux: `auth_required = false`. The group is that `false` in the instruction;
            None where nobody has looked for it.
        emulator: Which program of `qemu-user` runs it on this machine; None for this machine's own.
    """

    debian: str
    libraries: Path
    loader: Path
    no_auth: re.Pattern[bytes] | None = None
    emulator: str | None = None


_PROCESSORS = {
    "x86_64": _Processor(
        debian="amd64",
        libraries=Path("usr/lib/x86_64-linux-gnu"),
        loader=Path("lib64/ld-linux-x86-64.so.2"),
        no_auth=re.compile(rb"\xc6\x00(\x00)\x48\x8d\x3d....\xe8", re.DOTALL),
    ),
    "aarch64": _Processor(
        debian="arm64",
        libraries=Path("usr/lib/aarch64-linux-gnu"),
        loader=Path("lib/ld-linux-aarch64.so.1"),
        emulator="qemu-aarch64",
    ),
}

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


def adbd_root(cache: Path, arch: str = "x86_64") -> Path:
    """Return a root to copy a device from.

    Of `x86_64`, `adbd-auth` beside `adbd` wants hosts to have a key. Of `aarch64`, `EMULATOR` is what runs it here.

    Raises:
        CannotFetchError: No network and nothing in the cache.
    """
    processor = _PROCESSORS[arch]
    root = cache / f"adbd-{_SUITE}-{processor.debian}-{_LAYOUT}"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        if not root.is_dir():
            part = cache / f"{root.name}.{os.getpid()}"
            shutil.rmtree(part, ignore_errors=True)
            _fetch(part / "fetched", processor)
            _furnish(part / "root", part / "fetched", processor)
            (part / "root").rename(root)
            shutil.rmtree(part)
    return root


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _furnish(root: Path, unpacked: Path, processor: _Processor) -> None:
    """Lay out what a device has, out of what the packages hold."""
    for folder in ("data/local/tmp", "data/misc/adb", "etc", "stubs", "sys", "system/bin", "tmp", "usr/bin"):
        (root / folder).mkdir(parents=True)
    (root / ADBD).parent.mkdir(parents=True)
    libraries = processor.libraries
    shutil.copytree(
        unpacked / libraries, root / libraries, symlinks=True, ignore=shutil.ignore_patterns("gconv")
    )
    (root / processor.loader.parent).symlink_to(libraries)
    shutil.copy2(unpacked / ADBD, root / ADBD)
    if processor.no_auth:
        _demand_keys(root / ADBD, processor.no_auth)
    if processor.emulator:
        shutil.copy2(unpacked / "usr/bin" / processor.emulator, root / EMULATOR)
    for name in ("busybox", "mksh", "toybox"):
        shutil.copy2(unpacked / "usr/bin" / name, root / "usr/bin" / name)
    for program, arguments in (("busybox", ["--list"]), ("toybox", [])):
        for applet in _said(root, [program, *arguments], processor).split():
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


def _said(root: Path, command: Sequence[str], processor: _Processor) -> str:
    """Return what a program of the root says, run with the root's own libraries."""
    program, *arguments = command
    emulator = [root / EMULATOR] if processor.emulator else []
    loader = [root / processor.loader, "--library-path", root / processor.libraries]
    if program == "busybox":
        loader = []  # static
    return subprocess.check_output([*emulator, *loader, root / "usr/bin" / program, *arguments], text=True)


def _demand_keys(adbd: Path, no_auth: re.Pattern[bytes]) -> None:
    code = bytearray(adbd.read_bytes())
    found = list(no_auth.finditer(code))
    if len(found) != 1:
        raise CannotFetchError(f"this adbd is not the one known: {len(found)} places would turn keys on")
    code[found[0].start(1)] = 1
    twin = adbd.with_name("adbd-auth")
    twin.write_bytes(code)
    twin.chmod(0o755)


def _fetch(root: Path, processor: _Processor) -> None:
    """Unpack the packages and all they need, and the emulator alone of its own."""
    try:
        mirror = DebianMirror(_SUITE, processor.debian)
        for package in mirror.closure(_PACKAGES):
            unpack(mirror.fetch(package), root)
        if name := processor.emulator:
            ours = DebianMirror(_SUITE, "amd64")
            (package,) = (each for each in ours.closure(["qemu-user"]) if each.name == "qemu-user")
            unpack(ours.fetch(package), root, wanted=lambda path: path == f"usr/bin/{name}")
    except (BundleError, ConfigError) as error:
        raise CannotFetchError(str(error)) from error
