"""A phone's screen, kept on while an agent runs and it is plugged in, and left as it was."""

import logging
import shlex

from chamnet_host.bundles.manifest import WRITABLE
from chamnet_host.transport.remote_agent import PID
from chamnet_host.transport.shell import DeviceShell

__all__ = ["keep_awake", "let_sleep"]

log = logging.getLogger(__name__)

_SETTING = "stay_on_while_plugged_in"
_ALWAYS = 7  # by a charger, USB or a pad: bits of Android's BatteryManager
# What the setting was before. The setting outlives a reboot, which ends the shell that would set it back.
_BEFORE = f"{WRITABLE}/stay_on"
_SET_BACK = f'read -r before <{_BEFORE} && settings put global {_SETTING} "$before"'
_RUNS = f"kill -0 $(cat {PID}) 2>/dev/null"
# An agent that comes while the screen is set back has found it kept on, or not, and has a shell of its own: after either,
# the last to end sets it back.
_WATCH = (
    f"read -r before <{_BEFORE} || exit; while :; do while {_RUNS}; do sleep 1; done;"
    f' settings put global {_SETTING} "$before"; {_RUNS} || break; settings put global {_SETTING} {_ALWAYS}; done;'
    f" rm -f {_BEFORE}"
)


def keep_awake(shell: DeviceShell, folder: str) -> None:
    """Keep the screen on while the agent of a folder runs; a shell on the phone sets it back when that has ended.

    So it is set back, too, if this host is shot or the cable stays out; after a reboot, by the next run.
    """
    asked = shell.run(f"settings get global {_SETTING}")
    now = asked.stdout.strip()
    if asked.code or not now.isdecimal():
        log.info("%s: whether it stays awake cannot be read: %s", shell.name, asked.stderr.strip() or now)
        return
    # ours still, where a run before this one was not let end; else the user's
    keep = f"[ {now} = {_ALWAYS} ] && [ -s {_BEFORE} ]"
    note = f"{{ echo {now} >{_BEFORE}.new && mv -f {_BEFORE}.new {_BEFORE}; }}"
    shell.run(
        f"cd {shlex.quote(folder)} && {{ {keep} || {note}; }} && settings put global {_SETTING} {_ALWAYS}"
        f" && {{ setsid sh -c {shlex.quote(_WATCH)} </dev/null >/dev/null 2>&1 & }}"
    )


def let_sleep(shell: DeviceShell, folder: str) -> None:
    """Set back what a run that was not let end has left; harmless where none has."""
    shell.run(
        f'cd {shlex.quote(folder)} && [ -s {_BEFORE} ] && [ "$(settings get global {_SETTING})" = {_ALWAYS} ] && {_SET_BACK}'
    )
