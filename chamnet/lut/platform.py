"""What a look-up table belongs to: rows measured under one platform never mix with another's."""

import hashlib
from dataclasses import astuple, dataclass

from chamnet.errors import ConfigError
from chamnet.records import DeviceInfo

__all__ = ["Platform"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """Device kind, cores, runtime and protocol; the element type is part of each unit's key.

    Attributes:
        device: `DeviceInfo.identity`, a digest of CPU model, flags and clusters.
        device_name: The CPU model, for people.
        cluster: Index of the core cluster the worker is pinned to.
        threads: Threads that work.
        backend, version, provider: The runtime.
        protocol: Version of the way a measurement is made.
    """

    device: str
    device_name: str
    cluster: int
    threads: int
    backend: str
    version: str
    provider: str
    protocol: int

    @classmethod
    def of(cls, info: DeviceInfo, backend: str | None = None) -> "Platform":
        """Return the platform of a device as its agent runs now.

        Raises:
            ConfigError: The device has no such backend, or it does not work there.
        """
        component = info.backend(backend)
        if component is None or component.why_not:
            usable = ", ".join(b.name for b in info.backends if not b.why_not) or "none"
            why = component.why_not if component else "no such backend"
            name = backend or info.default_backend
            raise ConfigError(f"backend {name!r} does not work on {info.cpu_model}: {why}; usable: {usable}")
        cores = set(info.cores)
        cluster = next((i for i, c in enumerate(info.clusters) if cores & set(c.cores)), 0)
        return cls(
            device=info.identity,
            device_name=info.cpu_model,
            cluster=cluster,
            threads=info.threads,
            backend=component.name,
            version=component.version,
            provider=component.provider,
            protocol=info.protocol_version,
        )

    @property
    def digest(self) -> str:
        """Short digest of everything but the name for people; starts every visit's id."""
        facts = astuple(self)
        return hashlib.sha256(repr((facts[0], *facts[2:])).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        """Return it for people."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.device_name}, {self.backend} {self.version} ({self.provider}), {threads}"
