"""What a phone or board is, found by asking its shell, and the device profile that follows."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from chamnet.errors import ConfigError
from chamnet.records import CoreCluster
from chamnet_host.transport.shell import DeviceShell

__all__ = ["Reached", "Survey", "profile_text", "survey"]

_ARCHS = ("aarch64", "x86_64")
_CPUFREQ = "/sys/devices/system/cpu/cpufreq"
_OF_ANDROID = ("manufacturer", "model")
# One line for each clock policy: its cores, its highest clock in kHz, the governors it takes.
_POLICIES = (
    f"cd {_CPUFREQ} 2>/dev/null && for p in policy*; do"
    ' echo "$(cat $p/related_cpus 2>/dev/null);$(cat $p/cpuinfo_max_freq 2>/dev/null);'
    '$(cat $p/scaling_available_governors 2>/dev/null)"; done'
)
# A board's model, where its firmware has a device tree; else its processor's name.
_BOARD = "tr -d '\\0' </proc/device-tree/model 2>/dev/null || sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1"
_USER = r"sed -n 's/^Uid:[^0-9]*\([0-9]*\).*/\1/p' /proc/self/status"  # `id` wants a name for it, too
_PATIENCE_S = 300
_COOL_TO_C = {"android": 45, "linux": 70}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How a device was reached.

    Attributes:
        transport: `adb` or `ssh`.
        name: Its serial number, or the name of the host.
        options: More options of ssh.
    """

    transport: Literal["adb", "ssh"]
    name: str
    options: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a device says of itself.

    Attributes:
        model: For people, such as `Google Pixel 8`.
        system: `android` or `linux`.
        version: Of the system; empty where it does not say.
        arch: As `uname -m` says.
        chip: Name of the system on a chip; empty where it does not say.
        clusters: Cores that share a clock, the fastest last; empty where it does not say.
        governors: What every cluster takes; empty where it does not say.
        is_root: Whether its shell may set them.
    """

    model: str
    system: Literal["android", "linux"]
    version: str
    arch: str
    chip: str
    clusters: tuple[CoreCluster, ...]
    governors: frozenset[str]
    is_root: bool

    @property
    def slug(self) -> str:
        """A name for its profile: the model in small letters and dashes, such as `pixel-8`."""
        words = re.findall(r"[a-z0-9]+", self.model.lower())
        return "-".join(words[:6]) or "device"


def survey(shell: DeviceShell) -> Survey:
    """Ask a device what it is; takes less than a second.

    Raises:
        ConfigError: There is no bundle for its processor.
        DeviceError: The device goes away meanwhile.
    """
    arch = _said(shell, "uname -m")
    if arch not in _ARCHS:
        raise ConfigError(
            f"{shell.name}: its processor is {arch or 'unknown'}, and bundles are for {' and '.join(_ARCHS)}; an agent that is"
            " installed there by hand is measured with transport = 'direct'"
        )
    manufacturer, phone = (_said(shell, f"getprop ro.product.{each} 2>/dev/null") for each in _OF_ANDROID)
    if phone:
        named = phone.lower().startswith(manufacturer.lower())
        model, version = phone if named else f"{manufacturer} {phone}", "ro.build.version.release"
        version, chip = (_said(shell, f"getprop {each} 2>/dev/null") for each in (version, "ro.soc.model"))
    else:
        model, chip = _said(shell, _BOARD), ""
        version = _said(shell, "sed -n 's/^PRETTY_NAME=//p' /etc/os-release 2>/dev/null").strip("\"'")
    clusters, governors = _clusters(_said(shell, _POLICIES).splitlines())
    return Survey(
        model=model or shell.name,
        system="android" if phone else "linux",
        version=version,
        arch=arch,
        chip=chip,
        clusters=clusters,
        governors=governors,
        is_root=_said(shell, _USER) == "0",
    )


def profile_text(found: Survey, reached: Reached) -> str:
    """Return the text of a device profile, with its reasons in comments."""
    os = f"Android {found.version}".strip() if found.system == "android" else found.version or "Linux"
    lines = [
        f"# {_plain(found.model)}{f', chip {_plain(found.chip)}' if found.chip else ''}, {_plain(os)}: written by asking the device."
    ]
    if found.clusters:
        shown = ", ".join(
            f"{_span(each.cores)} up to {(each.max_khz or 0) / 1e6:.2f} GHz" for each in found.clusters
        )
        lines.append(f"# Cores: {shown}. `auto` takes the fastest, as the device itself says.")
    else:
        lines.append(
            "# It does not say which cores are the fastest: `auto` takes any; compare with `cores = ...`."
        )
    lines += [
        f"description = {_toml(f'{found.model}, CPU')}",
        f'transport = "{reached.transport}"',
        f"{'serial' if reached.transport == 'adb' else 'host'} = {_toml(reached.name)}",
        *([f"ssh_options = {_toml(reached.options)}"] if reached.options else []),
        f'bundle = "{found.system}-{found.arch}"',
        'cores = "auto"',
    ]
    if found.is_root and "performance" in found.governors:
        lines.append('governor = "performance"  # set back when the agent has ended')
    lines += [
        f"patience_s = {_PATIENCE_S}  # a pulled cable may stay out for that long",
        f"cool_to_c = {_COOL_TO_C[found.system]}  # left to cool above this",
        'verified_on = ""  # hardware and date, once `profile` and `verify` have run on it',
    ]
    return "\n".join(lines) + "\n"


def _said(shell: DeviceShell, command: str) -> str:
    return shell.run(command).stdout.strip()


def _clusters(lines: Iterable[str]) -> tuple[tuple[CoreCluster, ...], frozenset[str]]:
    """Return the clusters that lines of `_POLICIES` tell of, the slowest first, and the governors that all take."""
    clusters, governors = [], []
    for line in lines:
        cores, _, rest = line.partition(";")
        khz, _, names = rest.partition(";")
        if cores and khz.isdecimal() and all(core.isdecimal() for core in cores.split()):
            clusters.append(CoreCluster(cores=tuple(int(core) for core in cores.split()), max_khz=int(khz)))
            governors.append(frozenset(names.split()))
    clusters.sort(key=lambda cluster: (cluster.max_khz or 0, cluster.cores))
    return tuple(clusters), frozenset.intersection(*governors) if governors else frozenset()


def _span(cores: tuple[int, ...]) -> str:
    first, last = min(cores), max(cores)
    return str(first) if first == last else f"{first}-{last}"


def _plain(text: str) -> str:
    """Return a text that fits into a comment: what a device says may hold anything."""
    return "".join(letter for letter in text if letter.isprintable())


def _toml(text: str) -> str:
    return json.dumps(_plain(text), ensure_ascii=False)
