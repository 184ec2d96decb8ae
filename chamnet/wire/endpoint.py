"""Where an agent can be reached: the files it keeps in its state directory while it runs.

```text
<state dir>/          0700
    lock              held with flock while an agent runs; holds its process id
    token             0600, fresh with every start
    agent.json        process id, address, start, token file; removed at a clean end
```
"""

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from chamnet.errors import ConfigError, TokenError

__all__ = ["Endpoint", "default_state_dir", "is_loopback", "read_token"]

_FILE = "agent.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A running agent.

    Attributes:
        pid: Of the server process.
        host: Address it listens on.
        port: TCP port.
        started_unix_ms: When it started, for people.
        token_file: Where its token is; only its owner can read it.
        version: Of the agent.
    """

    pid: int
    host: str
    port: int
    started_unix_ms: int
    token_file: str
    version: str

    @property
    def address(self) -> str:
        """`HOST:PORT`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def save(self, state_dir: Path) -> None:
        """Write `agent.json`; a reader sees the whole file or none."""
        part = state_dir / f"{_FILE}.{os.getpid()}"
        part.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        part.replace(state_dir / _FILE)

    @classmethod
    def load(cls, state_dir: Path) -> "Endpoint | None":
        """Read `agent.json`; None where no agent has written one.

        Raises:
            ConfigError: The file cannot be read or is not an agent's.
        """
        path = state_dir / _FILE
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{path}: not an agent's file ({error}); end the agent and remove it"
            ) from error

    @staticmethod
    def forget(state_dir: Path) -> None:
        """Remove `agent.json`."""
        (state_dir / _FILE).unlink(missing_ok=True)


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """Return where an agent keeps its files unless told: `$XDG_STATE_HOME/chamnet-agent`.

    >>> default_state_dir({"HOME": "/home/ada"}).as_posix()
    '/home/ada/.local/state/chamnet-agent'
    """
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    base = environ.get("XDG_STATE_HOME") or home / ".local" / "state"
    return Path(base) / "chamnet-agent"


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        TokenError: There is none to read.
    """
    try:
        others = path.stat().st_mode & 0o077
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise TokenError(
            f"{path}: cannot read the agent's token ({error}); copy it from the device's state directory, "
            "where the running agent keeps it"
        ) from error
    if others:
        raise TokenError(f"{path}: others can read the token; make it yours alone: chmod 600 {path}")
    if not token:
        raise TokenError(f"{path}: holds no token; copy it again from the running agent")
    return token


def is_loopback(host: str) -> bool:
    """Return whether an address never leaves this machine.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False
