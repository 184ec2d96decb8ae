"""A Debian mirror read in Python: signed index, packages with all they depend on, downloads. No apt, no root.

The chain of trust: the archive's keys sign `InRelease`, which holds the SHA-256 of the package index, which holds that of
every package. One suite is read; its security updates come with the point releases.
"""

import lzma
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from chamnet.errors import BundleError, ConfigError
from chamnet_host.bundles.deb import unpack
from chamnet_host.bundles.downloads import Downloads, default_cache
from chamnet_host.bundles.signatures import read_keys, signed_content

__all__ = ["DEFAULT_URI", "Deb", "DebianMirror", "mirror_uri", "unpack"]

DEFAULT_URI = "https://deb.debian.org/debian"
_COMPONENT = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deb:
    """A package in the index of a mirror.

    Attributes:
        name: Such as `libc6`.
        version: As Debian writes it.
        filename: Path below the mirror's URI.
        size_bytes: Of the file.
        sha256: Of the file, in hexadecimal.
        depends: Names that it needs; of each inner tuple, one.
    """

    name: str
    version: str
    filename: str
    size_bytes: int
    sha256: str
    depends: tuple[tuple[str, ...], ...]


class DebianMirror:
    """A suite of a Debian mirror, for one architecture. Nothing is fetched before it is asked for.

    Args:
        suite: Such as `bookworm`; its code name, for that is compared with the signed one.
        arch: Debian's word: `arm64`, `amd64`.
        uri: None for the one `mirror_uri` finds.
        cache: Folder for downloads; None for `default_cache`.
        keyring: File with the archive's keys; None as `read_keys` says.
        offline: Whether to use the cache alone.
        environ: Says which mirror, and where the cache is.
    """

    def __init__(
        self,
        suite: str = "bookworm",
        arch: str = "arm64",
        *,
        uri: str | None = None,
        cache: Path | None = None,
        keyring: Path | None = None,
        offline: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self.suite, self.arch = suite, arch
        self.uri = (uri or mirror_uri(suite, environ)).rstrip("/")
        self._keyring = keyring
        self._downloads = Downloads((cache or default_cache(environ)) / "debian", offline=offline)

    def closure(self, names: Sequence[str]) -> list[Deb]:
        """Return packages with all they need (Depends and Pre-Depends), by name; nothing that is only recommended.

        Of alternatives, the first that exists is taken. Versions are not compared: a suite fits together.

        Raises:
            ConfigError: The mirror has no such package.
            BundleError: It cannot be reached or trusted, or lacks what a package depends on.
        """
        found: dict[str, Deb] = {}
        todo = list(names)
        while todo:
            name = todo.pop()
            if name in found:
                continue
            if name not in self._index:
                raise ConfigError(f"{self.uri} has no package {name!r} for {self.suite} on {self.arch}")
            found[name] = deb = _parse(self._index[name])
            todo += [self._choose(group, deb, found) for group in deb.depends]
        return sorted(found.values(), key=lambda deb: deb.name)

    def fetch(self, deb: Deb) -> Path:
        """Return a package's file, checked; downloaded if the cache has none.

        Raises:
            BundleError: It cannot be had, or is not the one that was announced.
        """
        url = f"{self.uri}/{quote(deb.filename, safe='/+~')}"
        name = deb.filename.rpartition("/")[2]
        return self._downloads.file(url, name, sha256=deb.sha256, size_bytes=deb.size_bytes)

    def _choose(self, group: Sequence[str], deb: Deb, found: Mapping[str, Deb]) -> str:
        """Return the package that meets one dependency."""
        for name in group:
            if name in self._index:
                return name
            if providers := self._providers.get(name):
                return next((each for each in providers if each in found), providers[0])
        raise BundleError(f"{deb.name} depends on {' or '.join(group)}, which {self.uri} does not have")

    @cached_property
    def _index(self) -> dict[str, str]:
        """Each package's stanza by its name."""
        stanzas = (stanza for stanza in self._packages().split("\n\n") if stanza)
        return {_field(stanza, "Package"): stanza for stanza in stanzas}

    @cached_property
    def _providers(self) -> dict[str, list[str]]:
        """Names of the packages that provide a virtual one, by its name."""
        providers: dict[str, list[str]] = {}
        for name, stanza in self._index.items():
            if "\nProvides: " in stanza:
                for (virtual,) in _groups(_field(stanza, "Provides")):
                    providers.setdefault(virtual, []).append(name)
        return providers

    def _packages(self) -> str:
        """Return the text of the package index."""
        path = f"{_COMPONENT}/binary-{self.arch}/Packages.xz"
        sums = self._sums()
        if path not in sums:
            raise ConfigError(f"{self.uri} has no packages for {self.arch!r} in {self.suite}")
        sha256, size_bytes = sums[path]
        kept = self._downloads.file(
            f"{self.uri}/dists/{self.suite}/{path}",
            f"{self.suite}-{self.arch}-Packages.xz",
            sha256=sha256,
            size_bytes=size_bytes,
        )
        try:
            return lzma.decompress(kept.read_bytes()).decode("utf-8")
        except (lzma.LZMAError, UnicodeDecodeError) as error:
            raise BundleError(f"{kept}: not a package index ({error})") from error

    def _sums(self) -> dict[str, tuple[str, int]]:
        """Return SHA-256 and size in bytes of the suite's index files by path."""
        return self._downloads.latest(
            f"{self.uri}/dists/{self.suite}/InRelease",
            f"{self.suite}-InRelease",
            self._checked,
        )

    def _checked(self, message: bytes) -> dict[str, tuple[str, int]]:
        name = f"{self.uri}/dists/{self.suite}/InRelease"
        text = signed_content(message, read_keys(self._keyring), name=name)
        said = {_field(text, "Codename"), _field(text, "Suite")}
        if self.suite not in said:
            raise BundleError(f"{name}: is of {' or '.join(sorted(said))}, not of {self.suite}")
        listed = re.search(r"^SHA256:\n((?: .*\n?)+)", text, re.MULTILINE)
        lines = (line.split() for line in listed[1].splitlines()) if listed else ()
        return {path: (sha256, int(size)) for sha256, size, path in lines}


def mirror_uri(suite: str, environ: Mapping[str, str], apt: Path = Path("/etc/apt")) -> str:
    """Return the mirror to use: `$CHAMNET_DEBIAN_MIRROR`, that of this machine's apt, else Debian's own.

    Args:
        suite: That it has to have; another suite of the same mirror counts if the path ends in `/debian`.
        environ: Of the process.
        apt: Folder of apt's settings.
    """
    if uri := environ.get("CHAMNET_DEBIAN_MIRROR"):
        return uri
    entries = list(_apt_entries(apt))
    fitting = [uri for uri, suites in entries if suite in suites]
    return next(iter(fitting or [uri for uri, _ in entries if uri.endswith("/debian")]), DEFAULT_URI)


def _apt_entries(apt: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield URI and suites of each source of packages in apt's settings (sources.list(5))."""
    folder = apt / "sources.list.d"
    for path in (apt / "sources.list", *sorted(folder.glob("*.list"))):
        for line in _lines(path):
            if match := re.match(r"deb\s+(?:\[[^]]*\]\s+)?(https?:\S+)\s+(\S+)\s+.*\bmain\b", line):
                yield match[1].rstrip("/"), [match[2]]
    for path in sorted(folder.glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", "\n".join(_lines(path))):
            types, components = _field(stanza, "Types").split(), _field(stanza, "Components").split()
            if "deb" in types and _COMPONENT in components and _field(stanza, "Enabled") != "no":
                suites = _field(stanza, "Suites").split()
                yield from (
                    (u.rstrip("/"), suites) for u in _field(stanza, "URIs").split() if u[:4] == "http"
                )


def _lines(path: Path) -> list[str]:
    """Return the lines of a file without comments; none where there is no such file."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return [line for line in text.splitlines() if not line.startswith("#")]


def _field(stanza: str, name: str) -> str:
    """Return the first line of a field's value; empty if the stanza has none."""
    found = re.search(rf"^{name}:[ \t]*(.*)$", stanza, re.MULTILINE)
    return found[1].strip() if found else ""


def _groups(relations: str) -> list[tuple[str, ...]]:
    """Return the names in a list of relations, versions and architectures left out.

    >>> _groups("libc6 (>= 2.36), debconf | debconf-2.0, python3:any")
    [('libc6',), ('debconf', 'debconf-2.0'), ('python3',)]
    """
    groups = (group.split("|") for group in relations.split(",") if group.strip())
    return [tuple(re.split(r"[\s(\[:]", name.strip(), maxsplit=1)[0] for name in group) for group in groups]


def _parse(stanza: str) -> Deb:
    """Read a package's stanza.

    Raises:
        BundleError: It lacks a field.
    """
    name, sha256, filename = (_field(stanza, field) for field in ("Package", "SHA256", "Filename"))
    if not re.fullmatch("[0-9a-f]{64}", sha256) or not filename:
        raise BundleError(f"package {name}: the mirror's index tells no SHA-256 or file")
    return Deb(
        name=name,
        version=_field(stanza, "Version"),
        filename=filename,
        size_bytes=int(_field(stanza, "Size")),
        sha256=sha256,
        depends=tuple(_groups(f"{_field(stanza, 'Pre-Depends')},{_field(stanza, 'Depends')}")),
    )
