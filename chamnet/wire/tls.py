"""Certificates that an agent and its host know each other by, where calls leave a machine.

```text
certificates/            made by `chamnet-host certify`
    agent/               goes to the device: `chamnet-agent serve --host ADDRESS --tls agent`
        agent.crt  agent.key  host.crt
    host/                stays: `tls = "certificates/host"` in the device profile
        host.crt  host.key  agent.crt
```

Each side trusts the one certificate of the other and no authority; addresses may change. The token is asked for as well.
"""

import stat
from pathlib import Path
from typing import Literal

import grpc

from chamnet.errors import ConfigError

__all__ = ["AGENT_NAME", "Side", "channel_credentials", "read_side", "server_credentials"]

AGENT_NAME = "chamnet-agent"  # in the agent's certificate, whatever its address is

Side = Literal["agent", "host"]


def server_credentials(folder: Path) -> grpc.ServerCredentials:
    """Return the credentials of an agent that only the host of the same certificates may call.

    Raises:
        ConfigError: A file is missing, or others can read the key.
    """
    key, certificate, host = read_side(folder, "agent")
    return grpc.ssl_server_credentials([(key, certificate)], root_certificates=host, require_client_auth=True)


def channel_credentials(folder: Path) -> grpc.ChannelCredentials:
    """Return the credentials of a host that only the agent of the same certificates may answer.

    Raises:
        ConfigError: A file is missing, or others can read the key.
    """
    key, certificate, agent = read_side(folder, "host")
    return grpc.ssl_channel_credentials(agent, key, certificate)


def read_side(folder: Path, side: Side) -> tuple[bytes, bytes, bytes]:
    """Return one side's key and certificate, and the certificate of the other side; all PEM.

    Raises:
        ConfigError: A file is missing, or others can read the key.
    """
    other = "host" if side == "agent" else "agent"
    key_file = folder / f"{side}.key"
    try:
        key, certificate, trusted = (
            path.read_bytes() for path in (key_file, folder / f"{side}.crt", folder / f"{other}.crt")
        )
        mode = key_file.stat().st_mode
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: cannot be read ({error.strerror}); `chamnet-host certify` makes a folder `{side}` with"
            " everything this side needs"
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{key_file}: others can read the key; make it yours alone: chmod 600 {key_file}")
    return key, certificate, trusted
