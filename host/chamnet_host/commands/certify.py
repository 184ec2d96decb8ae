"""`chamnet-host certify`: certificates for an agent that is reached over a network."""

from pathlib import Path
from typing import Annotated

import typer

from chamnet_host.options import AsJson
from chamnet_host.output import print_json, print_text

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(certify)


def certify(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.", metavar="FOLDER")] = Path(
        "certificates"
    ),
    days: Annotated[int, typer.Option("--days", min=1, help="How long they are valid.")] = 365,
    as_json: AsJson = False,
) -> None:
    r"""Make certificates that an agent and this host know each other by, for calls that leave a machine.

    An agent listens on loopback: adb and ssh bring a port there, and nothing else is needed. Where neither is at hand, copy
    the folder `agent` to the device, start `chamnet-agent serve --host ADDRESS --port 8799 --tls agent` there, and write
    `tls = "certificates/host"` and the token file into a device profile. Needs chamnet\\[tls].
    """
    from chamnet_host.transport.certificates import make_certificates

    end = make_certificates(output, days=days)
    if as_json:
        print_json("certify", {"folder": str(output), "valid_until": end.isoformat(timespec="seconds")})
        return
    print_text(f"{output}/agent: for the device; {output}/host: for this machine; valid until {end:%Y-%m-%d}")
    print_text(
        f"next: copy {output}/agent to the device and start there: chamnet-agent serve --host ADDRESS --port 8799 --tls agent;"
        f' in its device profile: transport = "direct", address = "ADDRESS:8799", tls = "{output}/host", token_file ='
        " its token's copy"
    )
