"""A bundle on a device: put there, checked there, removed."""

import logging
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chamnet.errors import BundleError, ConfigError, DeviceError
from chamnet_host.bundles.manifest import COMPILED, WRITABLE, Manifest
from chamnet_host.transport.shell import DeviceShell, Finished, Upload

__all__ = ["Deployment", "Difference", "Progress", "why_no_sums"]

Progress = Callable[[int, int, str], None]  # bytes sent, bytes in all, the file that is sent next

log = logging.getLogger(__name__)

_SUMS_S = 300.0
_REMOVE_S = 60.0
_PATHS_A_COMMAND = 200
_SHOWN = 3  # files that an error names
# Where files are, and what they hold; links never belong to a bundle. `var` is the device's own.
_LIST = f"find . -path ./{WRITABLE} -prune -o -type f -exec sha256sum {{}} + -o ! -type d -exec echo strange {{}} ';'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What a device has to be given and rid of to hold a bundle.

    Attributes:
        changed: Paths of files that are missing there or hold something else.
        surplus: Paths of what does not belong to the bundle.
        size_bytes: Of the changed files together.
    """

    changed: tuple[str, ...]
    surplus: tuple[str, ...]
    size_bytes: int

    def __bool__(self) -> bool:
        return bool(self.changed or self.surplus)


class Deployment:
    """A bundle's place on a device. Nothing is remembered: what is there is told by its sums, each time.

    Args:
        shell: Of the device; left open.
        folder: There; ours alone, but for `var`, which belongs to the agent.
    """

    def __init__(self, shell: DeviceShell, folder: str) -> None:
        self._shell = shell
        self._folder = folder

    def difference(self, manifest: Manifest) -> Difference:
        """Return how what is there differs from a bundle; every file there is read.

        Raises:
            ConfigError: The bundle is for another processor.
            DeviceError: The device cannot tell.
        """
        self._check_processor(manifest)
        if reason := why_no_sums(self._shell):
            raise DeviceError(f"{self._shell.name}: {reason}")
        there = self._sums()
        changed = [path for path, facts in manifest.files.items() if there.get(path) != facts.sha256]
        return Difference(
            changed=tuple(changed),
            surplus=tuple(path for path in there if path not in manifest.files),
            size_bytes=sum(manifest.files[path].size_bytes for path in changed),
        )

    def apply(
        self,
        difference: Difference,
        bundle: Path,
        manifest: Manifest,
        progress: Progress = lambda _done, _total, _path: None,
    ) -> None:
        """Give the device what differs, and check that it arrived. An agent that runs from there has to end before.

        Raises:
            BundleError: What arrived is not what the manifest says: the bundle was changed, or the device is broken.
            DeviceError: The device takes no more; says which file and why.
        """
        self._must(f"mkdir -p {self._quoted} && chmod 700 {self._quoted}")  # its parent is open to every app
        for start in range(0, len(difference.surplus), _PATHS_A_COMMAND):
            paths = shlex.join(difference.surplus[start : start + _PATHS_A_COMMAND])
            self._must(f"cd {self._quoted} && rm -f -- {paths}", timeout_s=_REMOVE_S)
        # Python tells by size and date alone whether what it compiled is of the file that is there.
        if difference:
            self._must(f"rm -rf {self._quoted}/{COMPILED}", timeout_s=_REMOVE_S)
        self._shell.push(_counted(self._uploads(difference.changed, bundle, manifest), progress))
        log.info(
            "%s: %d files sent, %d removed",
            self._shell.name,
            len(difference.changed),
            len(difference.surplus),
        )
        self.verify(manifest)

    def verify(self, manifest: Manifest) -> None:
        """Check that the device holds a bundle, and nothing else in its place.

        Raises:
            BundleError: It does not; names files.
        """
        if left := self.difference(manifest):
            names = [*left.changed, *left.surplus]
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise BundleError(
                f"{self._shell.name}:{self._folder}: {', '.join(names[:_SHOWN])}{more} not as in the bundle; if that was"
                " changed, build it anew, and else check the device's memory"
            )

    def remove(self) -> None:
        """Remove everything, `var` too; harmless where nothing is. An agent that runs from there has to end before.

        Raises:
            DeviceError: Something cannot be removed.
        """
        self._must(f"rm -rf {self._quoted}", timeout_s=_REMOVE_S)

    def _sums(self) -> dict[str, str]:
        """Return the SHA-256 of each file there, by path; of what is no file, something that is none."""
        listed = self._must(f"cd {self._quoted} 2>/dev/null || exit 0; {_LIST}", timeout_s=_SUMS_S)
        pairs = (line.split(maxsplit=1) for line in listed.stdout.splitlines())
        return {path.removeprefix("./"): total for total, path in pairs}

    def _check_processor(self, manifest: Manifest) -> None:
        machine = self._must("uname -m").stdout.strip()
        if machine != manifest.arch:
            raise ConfigError(
                f"{self._shell.name}: its processor is {machine}, and the bundle is for {manifest.arch}; build one with:"
                f" chamnet-host bundle --arch {machine}"
            )

    def _uploads(self, paths: Sequence[str], bundle: Path, manifest: Manifest) -> list[tuple[Upload, int]]:
        files = ((path, manifest.files[path]) for path in paths)
        return [
            (
                Upload(source=bundle / path, target=f"{self._folder}/{path}", mode=int(facts.mode, 8)),
                facts.size_bytes,
            )
            for path, facts in files
        ]

    def _must(self, command: str, *, timeout_s: float = 30.0) -> Finished:
        done = self._shell.run(command, timeout_s=timeout_s)
        if done.code:
            raise DeviceError(
                f"{self._shell.name}: `{command[:80]}` ended with {done.code}: {done.stderr.strip()[-300:]}"
            )
        return done

    @property
    def _quoted(self) -> str:
        return shlex.quote(self._folder)


def why_no_sums(shell: DeviceShell) -> str:
    """Return why a device cannot tell what its files hold; empty if it can."""
    if not shell.run("command -v sha256sum").code:
        return ""
    return "it has no sha256sum, so nothing put there can be checked; Android 8 or newer is needed, or a board's coreutils"


def _counted(uploads: Iterable[tuple[Upload, int]], progress: Progress) -> Iterator[Upload]:
    """Yield files, and say how far they have come."""
    uploads = list(uploads)
    done, total = 0, sum(size for _, size in uploads)
    for upload, size in uploads:
        progress(done, total, upload.target)
        yield upload
        done += size
    progress(done, total, "")
