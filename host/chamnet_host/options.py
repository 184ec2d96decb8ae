"""Options that several commands share, with the one help text of each."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "Backend", "Db", "Granular", "Networks", "Profiles", "Seed", "SpaceName", "Target"]

Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        "-t",
        help="Device profile or HOST:PORT of a running agent. Default: the last one profiled, else local.",
        show_default=False,
    ),
]
Db = Annotated[Path, typer.Option("--db", help="The store; one file per workspace.")]
SpaceName = Annotated[
    str, typer.Option("--space", help="Search space: chamnet-mobile, chamnet-res or a .toml file.")
]
Profiles = Annotated[
    Path | None,
    typer.Option("--profiles", help="Folder of device profiles to look through first.", show_default=False),
]
Backend = Annotated[
    str | None,
    typer.Option("--backend", help="Backend to measure with. Default: the device's own.", show_default=False),
]
Granular = Annotated[
    str,
    typer.Option(
        "--granularity",
        help="What a table row times: block (a whole residual block) or op (one operator).",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Same seed and same data give the same answer.", min=0)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, for scripts.")]

Networks = Annotated[
    list[str],
    typer.Argument(
        help="Published name, genome, JSON file of a search or an architecture, or best.",
        metavar="NETWORK...",
    ),
]

DB = Path("chamnet.db")
SPACE = "chamnet-mobile"
