"""The clock governor of the cores that measure: set where that is permitted, and always set back.

A shell beside the agent waits for the end of a pipe that only the agent holds, then writes the old governors back. So
they come back however the agent ends, by SIGKILL, too.
"""

import logging
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chamnet.errors import ConfigError

__all__ = ["governed"]

log = logging.getLogger(__name__)

_RESTORED_S = 5.0


@contextmanager
def governed(name: str, cores: Sequence[int], root: Path = Path("/")) -> Iterator[None]:
    """Run the cores under a governor inside the block; where that is not permitted, say so and go on.

    Args:
        name: Such as `performance`; empty to leave it as it is.
        cores: Whose.
        root: Where the file system of the device begins.

    Raises:
        ConfigError: The cores have no such governor; names those they have.
    """
    before = _governors(cores, root) if name else {}
    for path in before:
        known = _read(path.with_name("scaling_available_governors")).split()
        if known and name not in known:
            raise ConfigError(f"--governor {name}: {path.parent} has {', '.join(known)}")
    changed = {path: old for path, old in before.items() if old != name}
    if name and not before:
        log.warning("governor %s not set: this device shows no clock governors", name)
    if not changed:
        yield
        return
    restore = "; ".join(
        f"echo {shlex.quote(old)} > {shlex.quote(str(path))}" for path, old in changed.items()
    )
    watchdog = subprocess.Popen(
        ["sh", "-c", f"cat > /dev/null; {restore}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is for the agent alone
    )
    try:
        _set(name, changed)
        yield
    finally:
        if watchdog.stdin:
            watchdog.stdin.close()
        try:
            watchdog.wait(_RESTORED_S)
        except subprocess.TimeoutExpired:
            log.warning("the clock governors are not set back yet; the shell that does so goes on")


def _set(name: str, paths: dict[Path, str]) -> None:
    for path in paths:
        try:
            path.write_text(name, encoding="ascii")
        except OSError as error:
            log.warning(
                "governor %s not set: %s (%s); as root: echo %s > %s", name, path, error.strerror, name, path
            )
            return


def _governors(cores: Sequence[int], root: Path) -> dict[Path, str]:
    paths = [root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor" for core in cores]
    return {path: found for path in paths if (found := _read(path))}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
