"""`chamnet-host devices`: which targets there are, whether each answers, and profiles for new ones."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from chamnet.errors import ChamNetError, ConfigError
from chamnet.records import Component, DeviceInfo
from chamnet_host.devices.reach import connect
from chamnet_host.external.base import all_told
from chamnet_host.options import AsJson, Profiles
from chamnet_host.output import note, print_json, print_table, print_text
from chamnet_host.profiles import DeviceProfile, find_profile, shipped_profiles

__all__ = ["app"]

_OWN = Path("device_profiles")  # the user's, found without `--profiles`
_RESTART_S = 20.0

app = typer.Typer(invoke_without_command=True, rich_markup_mode="rich")

Serial = Annotated[
    str | None,
    typer.Option(
        "--serial",
        "-s",
        help="Which of several devices, as `adb devices` shows it, or HOST:PORT.",
        show_default=False,
    ),
]


@app.callback()
def devices(context: typer.Context, profiles: Profiles = None, as_json: AsJson = False) -> None:
    """List device profiles and what works on those of this machine; ask devices, and write profiles for new ones.

    Phones, boards and other machines are asked by `devices show`, which puts an agent on them first.

    Examples: `chamnet-host devices`, `chamnet-host devices show pixel`, `chamnet-host devices init`
    """
    if context.invoked_subcommand is None:
        _report(
            [(each, _ask(each) if _is_here(each) else None) for each in shipped_profiles(profiles)], as_json
        )


@app.command()
def show(
    targets: Annotated[
        list[str],
        typer.Argument(help="Device profiles, or HOST:PORT of running agents.", metavar="TARGET..."),
    ],
    profiles: Profiles = None,
    as_json: AsJson = False,
) -> None:
    """Ask devices what they are and which backends and meters work there, putting an agent on them first.

    Meters that this machine reads for them are asked too.

    Example: `chamnet-host devices show pixel`
    """
    asked = [(each, _ask(each)) for each in [find_profile(target, profiles) for target in targets]]
    host_meters = [all_told(profile.meter) for profile, _ in asked]
    _report([*asked], as_json, host_meters)
    for (profile, answer), read_here in zip(asked, host_meters, strict=True):
        if not as_json and isinstance(answer, DeviceInfo):
            print_text(f"\n{profile.name}")
            print_table(("kind", "name", "by", "state"), list(_components(answer, read_here)))
    if any(isinstance(answer, ChamNetError) for _, answer in asked):
        raise typer.Exit(1)


@app.command()
def init(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of the target; default: the device's model.", metavar="[NAME]", show_default=False
        ),
    ] = None,
    serial: Serial = None,
    ssh: Annotated[
        str | None,
        typer.Option(
            "--ssh", help="A board instead of a phone, as after `ssh`: HOST or USER@HOST.", show_default=False
        ),
    ] = None,
    ssh_options: Annotated[
        str, typer.Option("--ssh-options", help="More options of ssh, such as '-p 2222'.", show_default=False)
    ] = "",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the profile.", metavar="FOLDER")
    ] = _OWN,
    force: Annotated[bool, typer.Option("--force", help="Replace a profile of that name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a profile for a connected device by asking it: system, processor, clusters of cores, what may be set.

    Nothing is put on the device. The profile is yours to change; device_profiles/README.md lists every key.

    Examples: `chamnet-host devices init`, `chamnet-host devices init --serial 192.168.0.7:5555`,
    `chamnet-host devices init --ssh pi@raspberrypi.local`
    """
    from chamnet_host.devices.survey import Reached, profile_text, survey
    from chamnet_host.transport.choice import reached

    if ssh and serial:
        raise ConfigError("--ssh and --serial are two ways to reach a device; give one")
    asked = DeviceProfile(
        name="device",
        transport="ssh" if ssh else "adb",
        host=ssh or "",
        ssh_options=ssh_options,
        serial=serial or "",
    )
    with reached(asked) as (shell, _):
        found, way = (
            survey(shell),
            Reached(transport="ssh" if ssh else "adb", name=shell.name, options=ssh_options),
        )
    name = name or found.slug
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ConfigError(f"{name!r}: name a target with letters, digits, dashes and dots")
    path = output / f"{name}.toml"
    if path.exists() and not force:
        raise ConfigError(
            f"{path} exists; --force replaces it, or give another name: chamnet-host devices init NAME"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(profile_text(found, way), encoding="utf-8")
    if as_json:
        print_json(
            "devices init", {"target": name, "file": str(path), "model": found.model, "system": found.system}
        )
        return
    print_text(path.read_text(encoding="utf-8").rstrip())
    print_text(f"written to {path}")
    print_text(
        f"next: chamnet-host doctor --target {shlex.quote(name)}, then chamnet-host profile --target {shlex.quote(name)}"
    )


@app.command("connect")
def connect_device(
    address: Annotated[
        str | None,
        typer.Argument(
            help="HOST:PORT where the device listens; none: tell the one on the cable to listen.",
            metavar="[HOST:PORT]",
            show_default=False,
        ),
    ] = None,
    wifi: Annotated[
        bool, typer.Option("--wifi", help="Over the network, which is all that has to be connected to.")
    ] = False,
    pair: Annotated[
        str | None,
        typer.Option(
            "--pair",
            help="HOST:PORT that the device shows beside its pairing code (Android 11 and later).",
            show_default=False,
        ),
    ] = None,
    code: Annotated[
        str | None,
        typer.Option("--code", help="The pairing code; asked for if left out.", show_default=False),
    ] = None,
    serial: Serial = None,
    as_json: AsJson = False,
) -> None:
    """Connect a phone over Wi-Fi, so that no cable charges and warms it.

    Android 11 and later: Developer options, Wireless debugging, Pair device with pairing code; it shows an address and a
    code for --pair, and on the page before it the address to connect to. Older: connect the cable, give no address, and pull
    the cable afterwards; that lasts until the phone restarts, and lets anyone in its network try their keys.

    Examples: `chamnet-host devices connect --wifi 192.168.0.7:41235 --pair 192.168.0.7:37001`,
    `chamnet-host devices connect --wifi`
    """
    from chamnet_host.transport.adb.ways import open_adb

    if not wifi:
        raise ConfigError(
            "a device on a cable is connected already (`adb devices` lists it); for its network: --wifi"
        )
    if pair and not address:
        raise ConfigError("--pair makes a device know this machine; give the address to connect to as well")
    from chamnet_host.transport.adb.wifi import connect_network, listen_on_network
    from chamnet_host.transport.adb.wifi import pair as pair_with

    patience_s = 0.0
    if pair:
        pair_with(pair, code or typer.prompt("pairing code", err=True))
    if address is None:
        with closing(open_adb(serial, way="server")) as shell:
            address, patience_s = listen_on_network(shell), _RESTART_S
    connect_network(address, patience_s=patience_s)
    if as_json:
        print_json("devices connect", {"serial": address})
        return
    print_text(f"connected to {address}")
    print_text(f"next: chamnet-host devices init --serial {address}")


def _is_here(profile: DeviceProfile) -> bool:
    return profile.transport == "local"


def _ask(profile: DeviceProfile) -> DeviceInfo | ChamNetError:
    note(f"asking {profile.name}")
    try:
        with connect(profile) as client:
            return client.describe()
    except ChamNetError as error:
        return error


def _report(
    found: list[tuple[DeviceProfile, DeviceInfo | ChamNetError | None]],
    as_json: bool,
    host_meters: Sequence[Sequence[Component]] | None = None,
) -> None:
    if as_json:
        bodies = [_body(profile, answer) for profile, answer in found]
        for body, read_here in zip(bodies, host_meters or (), strict=host_meters is not None):
            body["host_meters"] = _component_bodies(read_here)
        print_json("devices", {"devices": bodies})
        return
    rows = [(p.name, p.transport, *_shown(p, answer), p.verified_on or "never") for p, answer in found]
    print_table(("target", "by", "device", "works there", "tried on"), rows)


def _shown(profile: DeviceProfile, answer: DeviceInfo | ChamNetError | None) -> tuple[str, str]:
    if answer is None:
        return profile.description, "not asked"
    if isinstance(answer, ChamNetError):
        return f"not reachable: {answer}", "nothing"
    works = [each.name for each in (*answer.backends, *answer.meters) if not each.why_not]
    return f"{answer.cpu_model}, {len(answer.clusters)} cluster(s)", ", ".join(works)


def _components(answer: DeviceInfo, host_meters: Sequence[Component]) -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each backend and meter."""
    for kind, each in (
        ("backend", answer.backends),
        ("meter", answer.meters),
        ("meter of this machine", host_meters),
    ):
        for component in each:
            state = (
                component.why_not or f"works{f', version {component.version}' if component.version else ''}"
            )
            yield kind, component.name, component.provider, state


def _body(profile: DeviceProfile, answer: DeviceInfo | ChamNetError | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "target": profile.name,
        "description": profile.description,
        "transport": profile.transport,
        "verified_on": profile.verified_on or None,
    }
    if answer is None:
        return {**body, "reachable": None}
    if isinstance(answer, ChamNetError):
        return {**body, "reachable": False, "why_not": str(answer)}
    components = {
        kind: _component_bodies(each)
        for kind, each in (("backends", answer.backends), ("meters", answer.meters))
    }
    clusters = [{"cores": list(c.cores), "max_khz": c.max_khz} for c in answer.clusters]
    facts = {
        "cpu": answer.cpu_model,
        "arch": answer.arch,
        "os": answer.os,
        "memory_bytes": answer.memory_bytes,
    }
    return {**body, "reachable": True, "device": answer.identity, **facts, "clusters": clusters, **components}


def _component_bodies(components: Sequence[Component]) -> list[dict[str, str | None]]:
    return [
        {"name": c.name, "version": c.version, "provider": c.provider, "why_not": c.why_not}
        for c in components
    ]
