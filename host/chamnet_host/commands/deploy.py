"""`chamnet-host deploy`, `undeploy` and `logs`: an agent on a phone or board, put there and taken away."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from chamnet.clock import SystemClock
from chamnet.errors import DeviceBusyError
from chamnet.quantities import ns_to_ms
from chamnet_host.devices.serials import with_serial
from chamnet_host.options import AsJson, Deployed, Profiles, Serial
from chamnet_host.output import note, print_json, print_text, progress_bar
from chamnet_host.profiles import DeviceProfile, find_profile

if TYPE_CHECKING:
    from chamnet_host.transport.remote_agent import RemoteAgent
    from chamnet_host.transport.shell import DeviceShell

__all__ = ["build_missing", "register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command()(deploy)
    app.command()(undeploy)
    app.command()(logs)


def deploy(
    target: Deployed, serial: Serial = None, profiles: Profiles = None, as_json: AsJson = False
) -> None:
    """Put an agent on a phone or board, as far as it is not there, and try it.

    Builds the bundle where it is missing or old, sends the files that differ, checks their sums on the device, starts the
    agent, asks what works, and ends it again. `profile --target` does the same by itself. Nothing outlives the agent's lease.

    Example: `chamnet-host deploy --target pixel`
    """
    from chamnet_host.client import DeviceClient
    from chamnet_host.transport.choice import deployed_transport, reached

    device = with_serial(find_profile(target, profiles), serial)
    with reached(device):  # the mistakes that cost nothing come first
        pass
    build_missing(device)
    clock, sent = SystemClock(), [0]
    start_ns = clock.now_ns()
    with progress_bar("deploy", unit="MB") as show:

        def tell(done: int, total: int, path: str) -> None:
            sent[0] = done
            show(round(done / 1e6), round(total / 1e6), path.rpartition("/")[2])

        transport = deployed_transport(device, tell)
        try:
            connection = transport.open()
            with DeviceClient(
                connection.address, connection.token, tls=connection.tls, last_words=transport.last_words
            ) as client:
                info = client.describe()
        finally:
            transport.close()
    seconds = ns_to_ms(clock.now_ns() - start_ns) / 1e3
    if as_json:
        body: dict[str, Any] = {
            "target": device.name,
            "device": info.cpu_model,
            "bytes_sent": sent[0],
            "seconds": seconds,
            "backends": {each.name: each.why_not for each in info.backends},
        }
        print_json("deploy", body)
        return
    usable = ", ".join(f"{each.name} {each.version}" for each in info.backends if not each.why_not)
    print_text(
        f"{device.name}: {info.cpu_model}, {info.os}; {sent[0] / 1e6:.1f} MB sent, the agent answered, {seconds:.1f} s in all"
    )
    print_text(f"backends: {usable or 'none'}")
    print_text(
        f"next: `chamnet-host profile --target {device.name}{f' --serial {serial}' if serial else ''}`"
    )


def undeploy(
    target: Deployed, serial: Serial = None, profiles: Profiles = None, as_json: AsJson = False
) -> None:
    """End the agent on a phone or board and remove all that was put there.

    Example: `chamnet-host undeploy --target pixel`
    """
    from chamnet_host.transport.deployment import Deployment

    device = with_serial(find_profile(target, profiles), serial)
    with _agent_of(device) as (shell, folder, agent):
        if (process := agent.running()) is not None:
            if agent.in_use(process):
                raise DeviceBusyError(
                    f"{device.name}: its agent works for a host; wait for that one, or end it in a shell of the device: kill"
                    f" {process.pid}"
                )
            agent.stop(process)
        if device.transport == "adb":
            from chamnet_host.transport.adb.awake import let_sleep

            let_sleep(shell, folder)
        Deployment(shell, folder).remove()
    if as_json:
        print_json("undeploy", {"target": device.name, "folder": folder})
        return
    print_text(f"{device.name}: {folder} is gone")


def logs(target: Deployed, serial: Serial = None, profiles: Profiles = None, as_json: AsJson = False) -> None:
    """Print the last lines of the log of the agent on a phone or board.

    Example: `chamnet-host logs --target pixel`
    """
    device = with_serial(find_profile(target, profiles), serial)
    with _agent_of(device) as (_, _, agent):
        words = agent.last_words()
    if as_json:
        print_json("logs", {"target": device.name, "log": words})
        return
    print_text(words or f"{device.name}: no agent has run there, or it had nothing to say")


@contextmanager
def _agent_of(device: DeviceProfile) -> Iterator[tuple["DeviceShell", str, "RemoteAgent"]]:
    """Reach a device; give its shell, the folder there, and its agent."""
    from chamnet_host.transport.choice import reached
    from chamnet_host.transport.remote_agent import RemoteAgent

    with reached(device) as (shell, folder):
        yield shell, folder, RemoteAgent(shell, folder, (), SystemClock())


def build_missing(device: DeviceProfile) -> None:
    """Build the bundle of a device that takes one, where it is missing or made of other files than ours are now.

    Raises:
        BundleError: Its parts cannot be had.
    """
    if not device.is_deployed:
        return
    from chamnet_host.bundles.build import Sources, build
    from chamnet_host.bundles.downloads import default_cache
    from chamnet_host.bundles.recipe import Recipe
    from chamnet_host.transport.choice import bundle_folder

    folder = bundle_folder(device)
    with progress_bar("bundle", unit="steps") as show:
        built = build(
            Recipe.read(device.bundle), folder, Sources(cache=default_cache(os.environ)), progress=show
        )
    if built.fresh:
        note(
            f"built the bundle {built.folder.name}, {built.manifest.size_bytes / 1e6:.0f} MB, for {device.name}"
        )
