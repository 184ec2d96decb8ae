"""What the agent was asked to do, parsed once."""

from dataclasses import dataclass
from pathlib import Path

from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings
from chamnet_agent.settings import DEFAULTS, BackendSettings

__all__ = ["AgentConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """How to serve.

    Attributes:
        state_dir: Holds the lock, the token and `agent.json`.
        host: Address to listen on; loopback only, unless there is `tls`.
        tls: Folder of certificates; None for none (`chamnet.wire.tls`).
        port: TCP port; 0 lets the system choose.
        backend: Runs what a request names no backend for; in the registry.
        cores: What the worker is pinned to.
        threads: The backend computes with.
        governor: Clock governor of these cores while the agent runs; empty to leave it.
        memory_limit_bytes: What the worker may take; 0 for any.
        meters: What meters cannot find out by themselves.
        lease_s: Seconds without a request after which the agent ends; 0 for never.
        settings: Of single backends.
    """

    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    tls: Path | None = None
    backend: str
    cores: tuple[int, ...]
    threads: int = 1
    governor: str = ""
    memory_limit_bytes: int = 0
    meters: MeterSettings = DEFAULT_SETTINGS
    lease_s: float = 600.0
    settings: BackendSettings = DEFAULTS
