"""`chamnet-host doctor`: what stands in the way of measuring on a phone or board."""

from dataclasses import asdict
from typing import Annotated

import typer

from chamnet_host.options import AsJson, Profiles
from chamnet_host.output import print_json, print_table
from chamnet_host.profiles import find_profile

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(doctor)


def doctor(
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            help="Device profile with transport adb or ssh.",
            metavar="TARGET",
            show_default=False,
        ),
    ],
    profiles: Profiles = None,
    as_json: AsJson = False,
) -> int:
    """Look a phone or board over: can it be reached, does the bundle fit, is it charged, cool and awake.

    Ends with 1 where something has to be put right first. What works on the device once an agent is there, `deploy` tells.

    Example: `chamnet-host doctor --target pixel`
    """
    from chamnet_host.bundles.recipe import Recipe
    from chamnet_host.checkup import check_up
    from chamnet_host.transport.choice import open_shell
    from chamnet_host.transport.deployed import at_home

    device = find_profile(target, profiles)
    shell, folder = open_shell(device)
    try:
        findings = check_up(shell, folder=at_home(shell, folder), arch=Recipe.read(device.bundle).arch)
    finally:
        shell.close()
    if as_json:
        print_json("doctor", {"target": device.name, "findings": [asdict(each) for each in findings]})
    else:
        print_table(("what", "state", "found"), [(each.what, each.state, each.said) for each in findings])
    return int(any(each.state == "bad" for each in findings))
