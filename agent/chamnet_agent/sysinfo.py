"""What this device is, read from `/proc` and `/sys`; nothing is run."""

import os
import platform
import re
from collections.abc import Collection
from pathlib import Path

import chamnet
from chamnet.errors import ConfigError
from chamnet.machine import core_ranges, read_fields, read_machine
from chamnet.records import PROTOCOL_VERSION, CoreCluster, DeviceInfo
from chamnet_agent import registry
from chamnet_agent.config import AgentConfig

__all__ = ["auto_cores", "describe", "memory_bytes", "parse_cores", "usable_cores"]

_KIB = 1024


def describe(config: AgentConfig, root: Path = Path("/")) -> DeviceInfo:
    """Return what this device is and what runs on it.

    Args:
        config: Names the default backend, the cores and the threads.
        root: Where the file system of the device begins.
    """
    machine = read_machine(root)
    return DeviceInfo(
        agent_version=chamnet.__version__,
        protocol_version=PROTOCOL_VERSION,
        cpu_model=machine.cpu_model,
        arch=machine.arch,
        cpu_flags=machine.cpu_flags,
        clusters=machine.clusters,
        memory_bytes=memory_bytes(root),
        os=_os(root),
        python=platform.python_version(),
        backends=registry.backends(config.settings),
        meters=registry.meters(config.meters),
        default_backend=config.backend,
        cores=config.cores,
        threads=config.threads,
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
    cores = sorted(set(core_ranges(text)))
    if not cores or not set(cores) <= set(usable):
        raise ConfigError(f"cores {text!r}: {may}")
    return tuple(cores)


def usable_cores() -> tuple[int, ...]:
    """Return the cores that this process may run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def _listed(cores: Collection[int]) -> str:
    return ",".join(map(str, sorted(cores)))


def memory_bytes(root: Path = Path("/")) -> int:
    """Return the memory of the device; 0 where it does not say."""
    kib = read_fields(root / "proc/meminfo").get("MemTotal", "0 kB").split()[0]
    return int(kib) * _KIB if kib.isdecimal() else 0


def _os(root: Path) -> str:
    try:
        release = (root / "etc/os-release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        release = ""
    name = re.search(r'^PRETTY_NAME="?([^"\n]+)', release, re.MULTILINE)
    return f"{name[1] if name else platform.system()}, kernel {platform.release()}"
