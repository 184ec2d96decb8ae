"""A phone or board over adb."""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from chamnet_host.transport.adb.awake import keep_awake
from chamnet_host.transport.adb.ways import Way, open_adb
from chamnet_host.transport.deployed import DeployedTransport
from chamnet_host.transport.shell import DeviceShell

__all__ = ["AdbTransport"]


class AdbTransport(DeployedTransport):
    """Puts an agent on a device that adb reaches, starts it, and forwards its port.

    Args:
        bundle: Folder with `manifest.json`.
        serial: As `adb devices` shows it, or `HOST:PORT`; None for the only one.
        way: See `open_adb`.
        environ: Says where the adb server is, and the key.
        more: What `DeployedTransport` takes.
    """

    def __init__(
        self,
        bundle: Path,
        *,
        serial: str | None = None,
        way: Way = "auto",
        environ: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        environ = dict(os.environ if environ is None else environ)
        super().__init__(partial(open_adb, serial, way=way, environ=environ), bundle, **more)

    def _keep_awake(self, shell: DeviceShell, folder: str) -> None:
        """Keep the screen on while the agent runs and the phone is plugged in."""
        keep_awake(shell, folder)
