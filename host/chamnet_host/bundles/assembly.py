"""The parts of a bundle put in their places.

```text
agent-python      starts it
lib/              ld.so and the C libraries that anything below needs, by name, no links
licenses/         of Debian's packages; those of wheels lie beside them
py/               CPython: bin/python3, lib/python3.11
site/             wheels
agent/            chamnet, chamnet_agent
var/              made on the device, the one place it writes to
```
"""

import shutil
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from chamnet.errors import BundleError
from chamnet_host.bundles.elf import machine_of, needed_by
from chamnet_host.bundles.launcher import LAUNCHER, launcher_text
from chamnet_host.bundles.recipe import Recipe, our_files
from chamnet_host.bundles.wheels import PYTHON, unpack_wheel

__all__ = [
    "KEPT_SOURCES",
    "PACKAGES",
    "STDLIB",
    "place_libraries",
    "place_ours",
    "place_python",
    "place_wheels",
    "wanted",
]

PACKAGES = (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6", "libgcc-s1")
STDLIB = f"py/lib/python{PYTHON}"

# an agent reads a runtime's version there, without importing it
KEPT_SOURCES = tuple(f"site/{runtime}/__init__.py" for runtime in ("ai_edge_litert", "onnxruntime"))

_PYTHON = (f"usr/bin/python{PYTHON}", f"usr/lib/python{PYTHON}/")
_DOCUMENTS = "usr/share/doc"
_ALWAYS = ("libgcc_s.so.1",)  # loaded by name when a thread ends
_LEFT_OUT = (
    "ctypes/test/*", "curses/*", "dbm/*", "distutils/*", "ensurepip/*", "idlelib/*", "lib2to3/*", "pydoc_data/*",
    "sqlite3/*", "test/*", "tkinter/*", "turtledemo/*", "venv/*", "turtle.py", "sitecustomize.py",
    "lib-dynload/_codecs_*", "lib-dynload/_multibytecodec*", "lib-dynload/*test*", "lib-dynload/xx*",
    "lib-dynload/_curses*", "lib-dynload/_dbm*", "lib-dynload/_crypt.*", "lib-dynload/_sqlite3*", "lib-dynload/nis.*",
    "lib-dynload/ossaudiodev.*", "lib-dynload/readline.*", "lib-dynload/_tkinter*",
)  # fmt: skip


def wanted(recipe: Recipe, path: str) -> bool:
    """Return whether a file of a Debian package may be needed: of CPython, a shared library, a licence."""
    folder, _, name = path.rpartition("/")
    if path.startswith(f"{_DOCUMENTS}/"):
        return name == "copyright" or folder == _DOCUMENTS  # some packages share a folder by a link
    return path.startswith(_PYTHON) or (folder in recipe.library_folders and ".so" in name)


def place_python(debian: Path, bundle: Path) -> None:
    """Copy CPython out of unpacked Debian packages.

    Raises:
        BundleError: It is not there.
    """
    python, stdlib = debian / "usr" / "bin" / f"python{PYTHON}", debian / "usr" / "lib" / f"python{PYTHON}"
    if not python.is_file() or not stdlib.is_dir():
        raise BundleError(f"Debian's packages hold no Python {PYTHON}")
    _copy(python, bundle / "py" / "bin" / "python3", debian)
    for path in sorted(stdlib.rglob("*")):
        name = path.relative_to(stdlib).as_posix()
        if path.is_file() and not any(fnmatchcase(name, each) for each in _LEFT_OUT):
            _copy(path, bundle / STDLIB / name, debian)


def place_wheels(wheels: Iterable[Path], bundle: Path) -> None:
    """Unpack wheels.

    Raises:
        BundleError: One is damaged.
    """
    for wheel in wheels:
        unpack_wheel(wheel, bundle / "site")


def place_ours(recipe: Recipe, bundle: Path) -> None:
    """Copy what an agent needs of our code, and write the launcher."""
    for name, path in our_files():
        target = bundle / "agent" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    (bundle / LAUNCHER).write_text(launcher_text(recipe), encoding="utf-8")


def place_libraries(recipe: Recipe, debian: Path, bundle: Path) -> None:
    """Copy every library that something in the bundle needs, and what these need in turn.

    Raises:
        BundleError: One is not in Debian's packages, or a file is for another processor: the bundle would not run.
    """
    folders = [debian / folder for folder in recipe.library_folders]
    place = bundle / "lib"
    todo = [path for path in sorted(bundle.rglob("*")) if path.is_file() and machine_of(path)]
    own = {path.name for path in todo}  # wheels bring some along and know where they are
    needed = dict.fromkeys((recipe.loader, *_ALWAYS), "every bundle")
    done: set[str] = set()
    while todo or needed:
        for path in todo:
            _check_machine(path, recipe)
            needed |= {name: path.name for name in needed_by(path) if name not in own | done}
        todo = [_copy(_find(name, folders, user), place / name, debian) for name, user in needed.items()]
        done |= needed.keys()
        needed = {}


def place_licences(debian: Path, bundle: Path, owners: Mapping[str, str]) -> list[str]:
    """Copy the licences of the Debian packages that the bundle has files of, and return the names of these.

    Args:
        debian: Unpacked packages.
        bundle: With everything else in place.
        owners: Name of the package that each unpacked file came with, by path.
    """
    placed = {path.name for path in (bundle / "lib").iterdir()}
    used = {
        deb
        for path, deb in owners.items()
        if path.startswith(_PYTHON) or (path.rpartition("/")[2] in placed and not path.startswith(_DOCUMENTS))
    }
    for deb in used:
        licence = debian / _DOCUMENTS / deb / "copyright"
        if licence.is_file():
            _copy(licence, bundle / "licenses" / f"{deb}.txt", debian)
    return sorted(used)


def _find(name: str, folders: Iterable[Path], user: str) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise BundleError(f"{user} needs {name}, which is not among Debian's packages")


def _check_machine(path: Path, recipe: Recipe) -> None:
    if (machine := machine_of(path)) != recipe.arch:
        raise BundleError(f"{path.name} is for {machine}, not for {recipe.arch}")


def _copy(source: Path, target: Path, root: Path) -> Path:
    """Copy a file's content, links followed, and return its place.

    Raises:
        BundleError: The file is not below the root.
    """
    if not source.resolve().is_relative_to(root.resolve()):
        raise BundleError(f"{source} leads outside of {root}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target
