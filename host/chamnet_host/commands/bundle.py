"""`chamnet-host bundle`: a folder that runs an agent where nothing is installed."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from chamnet.errors import ConfigError
from chamnet_host.bundles.archive import check_archive_name, write_archive
from chamnet_host.bundles.build import Built, Sources, build
from chamnet_host.bundles.downloads import default_cache
from chamnet_host.bundles.recipe import Recipe
from chamnet_host.options import AsJson, Profiles
from chamnet_host.output import print_json, print_text, progress_bar
from chamnet_host.profiles import find_profile

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(bundle)


def bundle(
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="Device profile that says which bundle it takes. Default: a phone, android on aarch64.",
            show_default=False,
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(help="Processor: aarch64, x86_64. Default: the target's.", show_default=False),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option("--os", help="System: android, linux. Default: the target's.", show_default=False),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            help="full: with numpy, ONNX Runtime and LiteRT; onnx: without LiteRT; core: a third the size, answers and"
            " cannot measure."
        ),
    ] = "full",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder to make, or a bundle to replace. Default: one in the cache.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            help="Pack it into this file, too: .tar.xz (a minute or two) or .tar.gz.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Build it anew, with what the Debian mirror has today.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no mirror and no index: the cache has it all.")
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option(
            help="Debian mirror. Default: $CHAMNET_DEBIAN_MIRROR, that of this machine's apt, else deb.debian.org.",
            metavar="URI",
            show_default=False,
        ),
    ] = None,
    keyring: Annotated[
        Path | None,
        typer.Option(
            help="Keys that sign the mirror. Default: this machine's Debian keyring, else the keys of Debian 12 and 13.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder of downloads. Default: chamnet in $XDG_CACHE_HOME, else in ~/.cache.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    profiles: Profiles = None,
    as_json: AsJson = False,
) -> None:
    r"""Build a folder that runs an agent on a phone or board where nothing is installed.

    It holds CPython, its C library and program loader, wheels, our code, the launcher `agent-python`, and `manifest.json`
    with the SHA-256 of every file. CPython comes from Debian, whose signature is checked; wheels come from the indexes
    that pip is set to, in pinned versions. Built on Linux or macOS, for any of the targets, without root; 80 to
    95 MB are downloaded once. A bundle that is there, whole and made of the same, is left as it is.

    Example: `chamnet-host bundle --target pixel`, or `chamnet-host bundle --os linux --arch x86_64 -o here` and then
    `here/agent-python -m chamnet_agent doctor`
    """
    recipe = _recipe(target, profiles, kind)
    recipe = replace(recipe, arch=arch or recipe.arch, os=system or recipe.os)
    if archive is not None:
        check_archive_name(archive)
    downloads = cache or default_cache(os.environ)
    sources = Sources(cache=downloads, mirror=mirror, keyring=keyring, offline=offline)
    folder = output or recipe.folder(downloads)
    with progress_bar("bundle", unit="steps") as show:
        built = build(recipe, folder.absolute(), sources, refresh=refresh, progress=show)
    if archive is not None:
        with progress_bar("archive", unit="files") as show:
            write_archive(built.folder, built.manifest, archive, progress=show)
    if as_json:
        print_json("bundle", _body(built, archive))
        return
    _report(built, archive)


def _recipe(target: str | None, profiles: Path | None, kind: str) -> Recipe:
    """Return the recipe of a target's bundle.

    Raises:
        ConfigError: Its profile names none.
    """
    if target is None:
        return Recipe(kind=kind)
    device = find_profile(target, profiles)
    if device.bundle:
        return Recipe.read(device.bundle, kind=kind)
    if device.transport == "local":
        return Recipe.of_this_machine(kind=kind)
    raise ConfigError(
        f"target {target!r} does not say which bundle it takes: add a line such as bundle = 'linux-aarch64' to its profile"
        " (device_profiles/README.md), or leave --target out and give --os and --arch"
    )


def _body(built: Built, archive: Path | None) -> dict[str, Any]:
    manifest = built.manifest
    return {
        "folder": str(built.folder),
        "fresh": built.fresh,
        "kind": manifest.kind,
        "arch": manifest.arch,
        "os": manifest.os,
        "python": manifest.python,
        "bytecode": manifest.bytecode,
        "wheels": dict(manifest.wheels),
        "debian": dict(manifest.debian),
        "digest": manifest.digest,
        "files": len(manifest.files),
        "bytes": manifest.size_bytes,
        "archive": {"file": str(archive), "bytes": archive.stat().st_size} if archive else None,
    }


def _report(built: Built, archive: Path | None) -> None:
    manifest = built.manifest
    state = "" if built.fresh else "; nothing has changed since it was built"
    print_text(
        f"{built.folder}: {manifest.kind} bundle for {manifest.os} on {manifest.arch}, {manifest.size_bytes / 1e6:.1f} MB"
        f" in {len(manifest.files):,} files{state}"
    )
    shown = ("grpcio", "numpy", "onnxruntime", "ai-edge-litert")
    wheels = (f", {name} {manifest.wheels[name]}" for name in shown if name in manifest.wheels)
    print_text(f"  Python {manifest.python}{''.join(wheels)}; digest {manifest.digest[:12]}")
    if not manifest.bytecode:
        print_text(
            "  modules are compiled on the device when they are first imported, for this Python's bytecode is another"
        )
    if archive:
        print_text(f"  {archive}: {archive.stat().st_size / 1e6:.1f} MB")
