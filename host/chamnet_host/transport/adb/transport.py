"""A phone or board over adb."""

import logging
import os
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from chamnet_host.transport.adb.ways import Way, open_adb
from chamnet_host.transport.deployed import DeployedTransport
from chamnet_host.transport.remote_agent import Process
from chamnet_host.transport.shell import DeviceShell

__all__ = ["AdbTransport"]

log = logging.getLogger(__name__)

_STAY_ON = "stay_on_while_plugged_in"
_ALWAYS = 7  # by a charger, USB or a pad: bits of Android's BatteryManager


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

    def _keep_awake(self, shell: DeviceShell, agent: Process) -> None:
        """Keep the screen on while the phone is plugged in; a shell on the phone sets it back when the agent has ended.

        So it is set back, too, if this host is shot or the cable stays out.
        """
        before = shell.run(f"settings get global {_STAY_ON}")
        value = before.stdout.strip()
        if before.code or not value.isdecimal():
            log.info(
                "%s: whether it stays awake cannot be read: %s", shell.name, before.stderr.strip() or value
            )
            return
        watch = (
            f"while kill -0 {agent.pid} 2>/dev/null; do sleep 1; done; settings put global {_STAY_ON} {value}"
        )
        shell.run(
            f"settings put global {_STAY_ON} {_ALWAYS} && {{ setsid sh -c {shlex.quote(watch)} </dev/null >/dev/null 2>&1 & }}"
        )
