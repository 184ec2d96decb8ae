"""Files of the kernel that hold one number or one name, and what to do where they cannot be read."""

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from chamnet.errors import MeterError

__all__ = [
    "NamedFile",
    "check_readable",
    "is_there",
    "listed",
    "number",
    "optional_number",
    "optional_text",
    "text",
    "unreadable",
    "why_not",
]


_MOST_BYTES = 65_536  # a file of the kernel has a page at most


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file with a number, and the file beside it that says what the number is of.

    Attributes:
        value: The number.
        label: The name; None if there is none to check.
        name: What the label said when the meter was opened.
    """

    value: Path
    label: Path | None = None
    name: str = ""

    def read(self) -> float:
        """Return the number.

        Raises:
            MeterError: It cannot be read, or is of something else by now.
        """
        if self.label is not None and (now := text(self.label)) != self.name:
            raise MeterError(f"{self.label} says {now!r} now, it said {self.name!r}: open the meter again")
        return number(self.value)


def text(path: Path) -> str:
    """Return what a file says, without the space around it.

    Raises:
        MeterError: It cannot be read; says what would help.
    """
    try:
        descriptor = os.open(
            path, os.O_RDONLY
        )  # a third of the time of Path.read_text, hundred times a second
        try:
            said = os.read(descriptor, _MOST_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise MeterError(unreadable(path, error)) from error
    return said.decode("utf-8", errors="replace").strip()


def number(path: Path) -> float:
    """Return the number in a file.

    Raises:
        MeterError: It cannot be read, or holds no number.
    """
    said = text(path)
    try:
        return float(said)
    except ValueError as error:
        raise MeterError(f"{path} holds {said[:40]!r}, which is no number") from error


def optional_text(path: Path) -> str:
    """Return what a file says; nothing where it cannot be read."""
    try:
        return text(path)
    except MeterError:
        return ""


def optional_number(path: Path) -> float | None:
    """Return the number in a file; None where there is none to read."""
    try:
        return number(path)
    except MeterError:
        return None


def listed(folder: Path, pattern: str) -> list[Path]:
    """Return what matches in a folder, in order of names; nothing where it may not be looked into."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def is_there(path: Path) -> bool:
    """Return whether there is such a file; False where that may not be asked."""
    try:
        return path.exists()
    except OSError:
        return False


def check_names(names: Iterable[str]) -> None:
    """Refuse rails that cannot be told apart.

    Raises:
        MeterError: Two have the same name.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise MeterError(f"{count} rails are called {name!r}: they cannot be told apart by name")


def check_readable(paths: Iterable[Path], advice: str) -> None:
    """Read each file once.

    Raises:
        MeterError: One cannot be read; gives the advice where it is for lack of permission.
    """
    for path in paths:
        try:
            text(path)
        except MeterError as error:
            if isinstance(error.__cause__, PermissionError):
                raise MeterError(f"{path} may not be read by this user: {advice}") from error
            raise


def unreadable(path: Path, error: OSError) -> str:
    """Say why a file cannot be read, and what would help."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path} may not be read by this user: run the agent as root, or: sudo chmod a+r {path}"
    if error.errno in (errno.ENOENT, errno.ENODEV):
        return f"{path} is gone: its driver was unloaded, or the device unplugged"
    return f"{path} cannot be read: {os.strerror(error.errno) if error.errno else error}"


def why_not(find: Callable[[], object]) -> str | None:
    """Return why a meter's source is not usable; None if `find` finds it."""
    try:
        find()
    except MeterError as error:
        return str(error)
    return None
