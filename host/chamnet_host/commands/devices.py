"""`chamnet-host devices`: which targets there are, and whether each answers."""

from typing import Annotated, Any

import typer

from chamnet.errors import ChamNetError
from chamnet.records import DeviceInfo
from chamnet_host.options import AsJson, Profiles
from chamnet_host.output import print_json, print_table
from chamnet_host.profiles import DeviceProfile, find_profile, shipped_profiles
from chamnet_host.reach import connect

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(devices)


def devices(
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="Only these profiles or HOST:PORT.", metavar="[TARGET]...", show_default=False),
    ] = None,
    profiles: Profiles = None,
    as_json: AsJson = False,
) -> None:
    """List device profiles, whether each is reachable now, and what works on it."""
    chosen = [find_profile(t, profiles) for t in targets] if targets else shipped_profiles(profiles)
    found = [(profile, _ask(profile)) for profile in chosen]
    if as_json:
        print_json("devices", {"devices": [_body(profile, answer) for profile, answer in found]})
        return
    rows = [
        (p.name, p.transport, *_shown(answer), p.verified_on or "not verified yet") for p, answer in found
    ]
    print_table(("target", "by", "device", "backends", "verified on"), rows)


def _ask(profile: DeviceProfile) -> DeviceInfo | ChamNetError:
    try:
        with connect(profile) as client:
            return client.describe()
    except ChamNetError as error:
        return error


def _shown(answer: DeviceInfo | ChamNetError) -> tuple[str, str]:
    if isinstance(answer, ChamNetError):
        return f"not reachable: {answer}", ""
    return f"{answer.cpu_model}, {len(answer.clusters)} cluster(s)", ", ".join(
        f"{b.name} {b.version}" if not b.why_not else f"no {b.name} ({b.why_not})" for b in answer.backends
    )


def _body(profile: DeviceProfile, answer: DeviceInfo | ChamNetError) -> dict[str, Any]:
    body: dict[str, Any] = {
        "target": profile.name,
        "description": profile.description,
        "transport": profile.transport,
        "verified_on": profile.verified_on or None,
    }
    if isinstance(answer, ChamNetError):
        return {**body, "reachable": False, "why_not": str(answer)}
    components = {
        kind: [
            {"name": c.name, "version": c.version, "provider": c.provider, "why_not": c.why_not} for c in each
        ]
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
