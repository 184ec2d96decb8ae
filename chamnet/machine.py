"""What kind of machine this is, read from `/proc` and `/sys`; nothing is run.

Shared by the agent, which describes its device, and the host, which must not take another machine's table for
its own.
"""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chamnet.records import CoreCluster, machine_identity

__all__ = ["Machine", "core_ranges", "read_clusters", "read_fields", "read_machine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine's kind.

    Attributes:
        cpu_model: The CPU's name.
        arch: Instruction set, such as `x86_64`.
        cpu_flags: Its extensions, sorted.
        clusters: Its cores by highest clock, slowest first.
    """

    cpu_model: str
    arch: str
    cpu_flags: tuple[str, ...]
    clusters: tuple[CoreCluster, ...]

    @property
    def identity(self) -> str:
        """The same as `DeviceInfo.identity` of an agent here."""
        return machine_identity(self.cpu_model, self.arch, self.cpu_flags, self.clusters)


def read_machine(root: Path = Path("/")) -> Machine:
    """Return what kind of machine this is.

    Args:
        root: Where its file system begins.
    """
    cpuinfo = read_fields(root / "proc/cpuinfo")
    return Machine(
        cpu_model=_cpu_model(cpuinfo, root),
        arch=platform.machine(),
        cpu_flags=tuple(sorted({*cpuinfo.get("flags", "").split(), *cpuinfo.get("Features", "").split()})),
        clusters=read_clusters(root),
    )


def read_clusters(root: Path = Path("/")) -> tuple[CoreCluster, ...]:
    """Return the cores grouped by their highest clock, slowest first; one group where no clock is known."""
    cpu = root / "sys/devices/system/cpu"
    by_khz: dict[int | None, list[int]] = {}
    for core in _online(cpu):
        by_khz.setdefault(_max_khz(cpu, core), []).append(core)
    return tuple(
        CoreCluster(cores=tuple(cores), max_khz=khz)
        for khz, cores in sorted(by_khz.items(), key=lambda each: each[0] or 0)
    )


def core_ranges(text: str) -> Iterator[int]:
    """Read a list of cores such as `0-3,7`; numbers only."""
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _online(cpu: Path) -> tuple[int, ...]:
    try:
        return tuple(core_ranges((cpu / "online").read_text(encoding="ascii")))
    except (OSError, ValueError):
        return tuple(range(os.cpu_count() or 1))


def _max_khz(cpu: Path, core: int) -> int | None:
    try:
        return int((cpu / f"cpu{core}/cpufreq/cpuinfo_max_freq").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def read_fields(path: Path) -> dict[str, str]:
    """Return the first value of each key of a file of `key: value` lines; nothing if it cannot be read."""
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
