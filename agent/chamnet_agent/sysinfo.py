"""What this device is, read from `/proc` and `/sys`; nothing is run."""

import os
import platform
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import chamnet
from chamnet.errors import ConfigError
from chamnet.records import PROTOCOL_VERSION, CoreCluster, DeviceInfo
from chamnet_agent import registry
from chamnet_agent.config import AgentConfig

__all__ = ["auto_cores", "clusters", "describe", "parse_cores", "usable_cores"]

_KIB = 1024


def describe(config: AgentConfig, root: Path = Path("/")) -> DeviceInfo:
    """Return what this device is and what runs on it.

    Args:
        config: Names the default backend, the cores and the threads.
        root: Where the file system of the device begins.
    """
    cpuinfo = _fields(root / "proc/cpuinfo")
    return DeviceInfo(
        agent_version=chamnet.__version__,
        protocol_version=PROTOCOL_VERSION,
        cpu_model=_cpu_model(cpuinfo, root),
        arch=platform.machine(),
        cpu_flags=tuple(sorted({*cpuinfo.get("flags", "").split(), *cpuinfo.get("Features", "").split()})),
        clusters=clusters(root),
        memory_bytes=_memory_bytes(root),
        os=_os(root),
        python=platform.python_version(),
        backends=registry.backends(),
        meters=registry.meters(),
        default_backend=config.backend,
        cores=config.cores,
        threads=config.threads,
    )


def clusters(root: Path = Path("/")) -> tuple[CoreCluster, ...]:
    """Return the cores grouped by their highest clock, slowest first; one group where no clock is known."""
    cpu = root / "sys/devices/system/cpu"
    by_khz: dict[int | None, list[int]] = {}
    for core in _online(cpu):
        by_khz.setdefault(_max_khz(cpu, core), []).append(core)
    return tuple(
        CoreCluster(cores=tuple(cores), max_khz=khz)
        for khz, cores in sorted(by_khz.items(), key=lambda each: each[0] or 0)
    )


def auto_cores(threads: int, groups: Collection[CoreCluster], usable: Collection[int]) -> tuple[int, ...]:
    """Return the cores to measure on: of the fastest cluster that has enough, the last ones.

    Low cores serve interrupts, so the last ones are the quietest.

    >>> auto_cores(1, [CoreCluster(cores=(0, 1), max_khz=1), CoreCluster(cores=(2, 3), max_khz=2)], range(4))
    (3,)
    """
    fastest = sorted(groups, key=lambda group: group.max_khz or 0, reverse=True)
    for group in fastest:
        cores = [core for core in group.cores if core in usable]
        if len(cores) >= threads:
            return tuple(cores[-threads:])
    return tuple(sorted(usable)[-threads:])


def parse_cores(text: str, usable: Collection[int]) -> tuple[int, ...]:
    """Read a list of cores such as `4-6,7`.

    Raises:
        ConfigError: Not a list of cores, or one that this process may not use; says which it may.
    """
    may = f"this process may use {_listed(usable)}"
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise ConfigError(f"cores {text!r}: expected numbers such as 0,1 or 4-7, or auto; {may}")
    cores = sorted(set(_ranges(text)))
    if not cores or not set(cores) <= set(usable):
        raise ConfigError(f"cores {text!r}: {may}")
    return tuple(cores)


def usable_cores() -> tuple[int, ...]:
    """Return the cores that this process may run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def _listed(cores: Collection[int]) -> str:
    return ",".join(map(str, sorted(cores)))


def _ranges(text: str) -> Iterator[int]:
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _online(cpu: Path) -> tuple[int, ...]:
    try:
        return tuple(_ranges((cpu / "online").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return tuple(range(os.cpu_count() or 1))


def _max_khz(cpu: Path, core: int) -> int | None:
    try:
        return int((cpu / f"cpu{core}/cpufreq/cpuinfo_max_freq").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _fields(path: Path) -> dict[str, str]:
    """Return the first `key: value` of each key."""
    found: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return found
    for line in lines:
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def _cpu_model(cpuinfo: dict[str, str], root: Path) -> str:
    """Return the CPU's name: x86 says it, ARM boards have a board name, else the part number."""
    if name := cpuinfo.get("model name") or cpuinfo.get("Hardware"):
        return name
    for source in ("sys/devices/soc0/machine", "proc/device-tree/model"):
        try:
            return (root / source).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            continue
    part = "-".join(cpuinfo[key] for key in ("CPU implementer", "CPU part", "CPU revision") if key in cpuinfo)
    return part or platform.processor() or "unknown"


def _memory_bytes(root: Path) -> int:
    kib = _fields(root / "proc/meminfo").get("MemTotal", "0 kB").split()[0]
    return int(kib) * _KIB if kib.isdecimal() else 0


def _os(root: Path) -> str:
    try:
        release = (root / "etc/os-release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        release = ""
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', release, re.MULTILINE)
    return f"{name[1] if name else platform.system()}, kernel {platform.release()}"
