"""What stands in the way of measuring on a phone or board, found by asking it."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from chamnet_host.devices.preflight import LOW_PERCENT
from chamnet_host.transport.deployment import why_no_sums
from chamnet_host.transport.shell import DeviceShell

__all__ = ["Finding", "check_up"]

_NEEDED_MB = 400  # a bundle, its successor beside it, and room to work
_HOT_C = 40
_AWAKE = re.compile(r"mWakefulness=(\w+)")
_LOCKED = re.compile(
    r"(?:mDreamingLockscreen|mShowingLockscreen|isStatusBarKeyguard|deviceLocked)=true|\bdeviceLocked=1\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that was looked at.

    Attributes:
        what: Such as `battery`.
        state: `ok`, `warning` (it measures all the same), `bad` (it does not), or `unknown` (the device does not say).
        said: What was found, and what helps.
    """

    what: str
    state: Literal["ok", "warning", "bad", "unknown"]
    said: str


def check_up(shell: DeviceShell, *, folder: str, arch: str) -> list[Finding]:
    """Look a device over; takes about a second.

    Args:
        shell: Of the device.
        folder: Where a bundle goes; it need not be there yet.
        arch: Processor that the bundle is for.

    Raises:
        DeviceError: The device goes away meanwhile.
    """
    return [*_always(shell, folder, arch), *_android(shell)]


def _always(shell: DeviceShell, folder: str, arch: str) -> Iterator[Finding]:
    machine = shell.run("uname -m").stdout.strip()
    fits = machine == arch
    yield Finding(
        what="processor",
        state="ok" if fits else "bad",
        said=machine
        if fits
        else f"{machine}, and its profile asks for a bundle for {arch}: change `bundle` there",
    )
    lacking = why_no_sums(shell)
    yield Finding(what="tools", state="bad" if lacking else "ok", said=lacking or "those that check a bundle")
    parent = shlex.quote(folder.rsplit("/", 1)[0])
    blocks = shell.run(f"stat -f -c '%a %S' {parent} 2>/dev/null || stat -f -c '%a %S' /").stdout.split()
    if len(blocks) != 2 or not all(each.isdecimal() for each in blocks):
        yield Finding(what="room", state="unknown", said=f"cannot be told for {parent}")
    else:
        free_mb = int(blocks[0]) * int(blocks[1]) / 1e6
        enough = free_mb >= _NEEDED_MB
        yield Finding(
            what="room",
            state="ok" if enough else "bad",
            said=f"{free_mb:,.0f} MB in {parent}"
            + ("" if enough else f"; {_NEEDED_MB} MB are needed: remove something"),
        )


def _android(shell: DeviceShell) -> Iterator[Finding]:
    model = shell.run("getprop ro.product.model").stdout.strip()
    if not model:
        return
    version = shell.run("getprop ro.build.version.release").stdout.strip()
    yield Finding(what="phone", state="ok", said=f"{model}, Android {version or 'unknown'}")
    yield from _battery(shell.run("dumpsys battery").stdout)
    yield _screen(shell.run("dumpsys power").stdout, shell.run("dumpsys trust").stdout)


def _battery(dump: str) -> Iterator[Finding]:
    found = dict(re.findall(r"^\s*([\w ]+): (\S+)\s*$", dump, re.MULTILINE))
    if not found.get("level", "").isdecimal():
        yield Finding(what="battery", state="unknown", said="the shell may not ask")
        return
    percent = int(found["level"])
    powered = any(found.get(f"{source} powered") == "true" for source in ("AC", "USB", "Wireless", "Dock"))
    low = percent < LOW_PERCENT and not powered
    how = "charging, which warms it" if powered else "not charging"
    yield Finding(
        what="battery",
        state="warning" if low else "ok",
        said=f"{percent} %, {how}" + ("; it saves power: charge it first" if low else ""),
    )
    if found.get("temperature", "").isdecimal():
        temperature_c = int(found["temperature"]) / 10
        hot = temperature_c >= _HOT_C
        yield Finding(
            what="temperature",
            state="warning" if hot else "ok",
            said=f"battery at {temperature_c:.0f} °C"
            + ("; let it cool, and set `cool_to_c` in its profile" if hot else ""),
        )


def _screen(power: str, trust: str) -> Finding:
    awake = _AWAKE.search(power)
    if not awake:
        return Finding(what="screen", state="unknown", said="the shell may not ask")
    if awake[1] != "Awake":
        return Finding(
            what="screen",
            state="warning",
            said="asleep, and slow; wake it: it is kept awake while an agent runs",
        )
    locked = bool(_LOCKED.search(trust))
    return Finding(
        what="screen", state="ok", said="awake, and locked, which does no harm" if locked else "awake"
    )
