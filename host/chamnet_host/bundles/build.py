"""Bundles built: packages and wheels fetched, put together, compiled, summed up."""

import fcntl
import importlib.util
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import chamnet
from chamnet.errors import BundleError, ConfigError
from chamnet_host.bundles import assembly
from chamnet_host.bundles.bytecode import compile_all, magic_of
from chamnet_host.bundles.debian import Deb, DebianMirror, unpack
from chamnet_host.bundles.launcher import LAUNCHER
from chamnet_host.bundles.manifest import NAME, Manifest, facts_of
from chamnet_host.bundles.recipe import Recipe
from chamnet_host.bundles.wheels import LOCK, Wheel, fetch_wheels, locked_wheels

__all__ = ["SUITE", "Built", "Sources", "build"]

log = logging.getLogger(__name__)

SUITE = "bookworm"
_STEPS = ("wheels", "putting together", "compiling", "sums")

Progress = Callable[[int, int, str], None]  # steps done, steps in all, what is done now


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the parts come from.

    Attributes:
        cache: Folder of downloads.
        mirror: URI of a Debian mirror; None for this machine's own, else Debian's.
        keyring: The archive's keys; None for this machine's own, else those that come with ChamNet.
        offline: Whether to use the cache alone.
        lock: File that pins the wheels.
    """

    cache: Path
    mirror: str | None = None
    keyring: Path | None = None
    offline: bool = False
    lock: Path = LOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A bundle that is there.

    Attributes:
        folder: Where it is.
        manifest: What it holds.
        fresh: Whether it was built now; if not, it was there already.
    """

    folder: Path
    manifest: Manifest
    fresh: bool


def build(
    recipe: Recipe,
    folder: Path,
    sources: Sources,
    *,
    refresh: bool = False,
    progress: Progress = lambda _done, _total, _remark: None,
    builder_magic: bytes = importlib.util.MAGIC_NUMBER,
) -> Built:
    """Build a bundle, unless it is there, whole and made of the same; one after the other in a place.

    Args:
        recipe: Which one.
        folder: To make or to replace; only a bundle is replaced.
        sources: Where the parts come from.
        refresh: Whether to build in any case, with the mirror's newest packages.
        progress: Told what is done.
        builder_magic: Magic number of the building Python's bytecode; modules are compiled where it is the bundle's.

    Raises:
        ConfigError: The folder holds something else, or a tool is missing.
        BundleError: Parts cannot be had, or do not fit together.
    """
    inputs = recipe.inputs(builder_magic, sources.lock)
    if not refresh and (there := _there(folder, inputs)):
        return Built(folder=folder, manifest=there, fresh=False)
    _check_replaceable(folder)
    try:
        with (
            _alone(folder),
            TemporaryDirectory(prefix=".bundle-", dir=folder.parent, ignore_cleanup_errors=True) as scratch,
        ):
            if not refresh and (there := _there(folder, inputs)):  # somebody else has built it meanwhile
                return Built(folder=folder, manifest=there, fresh=False)
            made = Path(scratch) / "bundle"
            manifest = _make(recipe, made, sources, inputs, builder_magic, progress)
            if folder.exists():
                folder.rename(Path(scratch) / "old")
            made.rename(folder)
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return Built(folder=folder, manifest=manifest, fresh=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until nobody else builds there or beside it, and keep others waiting meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = os.open(folder.parent, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        os.close(place)


def _there(folder: Path, inputs: str) -> Manifest | None:
    """Return the manifest of a bundle that is whole and made of the same."""
    if not (folder / NAME).is_file():
        return None
    try:
        manifest = Manifest.load(folder)
        if manifest.inputs != inputs:
            return None
        manifest.verify(folder)
    except BundleError as error:
        log.warning("%s", error)
        return None
    return manifest


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace what is no bundle.

    Raises:
        ConfigError: The folder holds something, and no manifest.
    """
    if folder.exists() and not (folder / NAME).is_file():
        if folder.is_dir() and not any(folder.iterdir()):
            return
        raise ConfigError(f"{folder}: exists and is not a bundle; choose another folder")


def _make(
    recipe: Recipe, made: Path, sources: Sources, inputs: str, builder_magic: bytes, progress: Progress
) -> Manifest:
    """Make a bundle in a folder that is not there yet."""
    debian = made.with_name("debian")
    debs, owners = _unpack_debian(recipe, debian, sources, progress)
    total = len(debs) + len(_STEPS)
    steps = iter(enumerate(_STEPS, start=len(debs)))

    def next_step() -> None:
        done, name = next(steps)
        progress(done, total, name)

    next_step()
    wheels = locked_wheels(recipe.kind, recipe.arch, sources.lock)
    files = fetch_wheels(wheels, recipe.arch, sources.cache, offline=sources.offline)
    next_step()
    assembly.place_python(debian, made)
    assembly.place_wheels(files.values(), made)
    assembly.place_ours(recipe, made)
    assembly.place_libraries(recipe, debian, made)
    used = set(assembly.place_licences(debian, made, owners))
    next_step()
    if compiled := magic_of(made / assembly.STDLIB) == builder_magic:
        compile_all(made, kept=assembly.KEPT_SOURCES)
    next_step()
    used_debs = [deb for deb in debs if deb.name in used]
    manifest = _summed_up(recipe, made, debs=used_debs, wheels=wheels, bytecode=compiled, inputs=inputs)
    progress(total, total, "")
    return manifest


def _unpack_debian(
    recipe: Recipe, debian: Path, sources: Sources, progress: Progress
) -> tuple[list[Deb], dict[str, str]]:
    """Unpack CPython and its libraries; return the packages, and of each file by path the package's name."""
    mirror = DebianMirror(
        SUITE,
        recipe.debian_arch,
        uri=sources.mirror,
        cache=sources.cache,
        keyring=sources.keyring,
        offline=sources.offline,
    )
    progress(0, len(_STEPS) + 1, f"index of {mirror.uri}")
    debs, owners = mirror.closure(assembly.PACKAGES), dict[str, str]()
    for done, deb in enumerate(debs):
        progress(done, len(debs) + len(_STEPS), deb.name)
        unpack(mirror.fetch(deb), debian, wanted=partial(_owned, recipe, deb.name, owners))
    return debs, owners


def _owned(recipe: Recipe, name: str, owners: dict[str, str], path: str) -> bool:
    """Return whether a file is wanted, and note whose it is."""
    if is_wanted := assembly.wanted(recipe, path):
        owners[path] = name
    return is_wanted


def _summed_up(
    recipe: Recipe, made: Path, *, debs: Iterable[Deb], wheels: Iterable[Wheel], bytecode: bool, inputs: str
) -> Manifest:
    """Set permissions, write the manifest and return it."""
    programs = {LAUNCHER, f"lib/{recipe.loader}", "py/bin/python3"}
    paths = {path.relative_to(made).as_posix(): path for path in sorted(made.rglob("*")) if path.is_file()}
    for name, path in paths.items():
        path.chmod(0o755 if name in programs else 0o644)
    by_name = {deb.name: deb.version for deb in debs}
    python = by_name[assembly.PACKAGES[0]]
    manifest = Manifest(
        kind=recipe.kind,
        arch=recipe.arch,
        os=recipe.os,
        chamnet=chamnet.__version__,
        python=python.partition("-")[0],
        bytecode=bytecode,
        debian=by_name,
        wheels={wheel.name: wheel.version for wheel in wheels},
        files={name: facts_of(path) for name, path in paths.items()},
        inputs=inputs,
    )
    manifest.save(made)
    return manifest
