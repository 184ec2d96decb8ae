"""`chamnet-host doctor`: what stands in the way of measuring on a phone or board."""

from dataclasses import asdict

import typer

from chamnet_host.devices.serials import with_serial
from chamnet_host.options import AsJson, Deployed, Profiles, Serial
from chamnet_host.output import print_json, print_table
from chamnet_host.profiles import find_profile

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(doctor)


def doctor(
    target: Deployed, serial: Serial = None, profiles: Profiles = None, as_json: AsJson = False
) -> int:
    """Look a phone or board over: can it be reached, does the bundle fit, is it charged, cool and awake.

    Ends with 1 where something has to be put right first. What works on the device once an agent is there, `deploy` tells.

    Example: `chamnet-host doctor --target pixel`
    """
    from chamnet_host.bundles.recipe import Recipe
    from chamnet_host.devices.checkup import check_up
    from chamnet_host.transport.choice import reached

    device = with_serial(find_profile(target, profiles), serial)
    with reached(device) as (shell, folder):
        findings = check_up(shell, folder=folder, arch=Recipe.read(device.bundle).arch)
    if as_json:
        print_json("doctor", {"target": device.name, "findings": [asdict(each) for each in findings]})
    else:
        print_table(("what", "state", "found"), [(each.what, each.state, each.said) for each in findings])
    return int(any(each.state == "bad" for each in findings))
