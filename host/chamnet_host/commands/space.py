"""`chamnet-host space`: what a search space holds, and whether a file of one's own is sound."""

from pathlib import Path
from typing import Annotated, Any

import typer

from chamnet.networks import load_all
from chamnet.quantities import format_count
from chamnet.space import SearchSpace, available_spaces, load_space, unit_grid
from chamnet.units import Granularity
from chamnet_host.options import AsJson
from chamnet_host.output import note, print_json, print_table, print_text

__all__ = ["app"]

_GRANULARITIES: tuple[Granularity, ...] = ("op", "block")
_SHOWN = 6  # values of an axis

app = typer.Typer(
    no_args_is_help=True, help="What a search space holds, and whether a file of one's own is sound."
)


@app.command()
def show(
    space: Annotated[
        str, typer.Argument(help="A name, or a .toml file.", metavar="SPACE")
    ] = "chamnet-mobile",
    as_json: AsJson = False,
) -> None:
    """Show the decisions of a space, how many networks and units it holds, and what they cost.

    Examples: `chamnet-host space show`, `chamnet-host space show chamnet-res`
    """
    _report(load_space(space), as_json, "space show")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A .toml file.", metavar="FILE")], as_json: AsJson = False
) -> None:
    """Check a space of one's own: every network that it describes can be built.

    Example: `chamnet-host space check my-space.toml`, then `chamnet-host profile --space my-space.toml`
    """
    name = str(file)
    _report(load_space(name if name.endswith(".toml") else f"{name}.toml"), as_json, "space check")


def _report(space: SearchSpace, as_json: bool, command: str) -> None:
    note(f"laying out {space.name}: every unit that a network of it may contain")
    body = _body(space)
    if as_json:
        print_json(command, body)
        return
    low, high = (format_count(body["macs"][end]) for end in ("lowest", "highest"))
    print_table(
        ("decision", "values", "from", "to", ""),
        [
            (axis["name"], str(len(axis["values"])), *_ends(axis["values"]), _listed(axis["values"]))
            for axis in body["axes"]
        ],
        f"{space.name}: {space.family.replace('_', ' ')}s, {body['networks']:.3g} networks",
    )
    print_text(
        f"{body['units']['op']:,} operator units, {body['units']['block']:,} blocks; {low} to {high} MACs; published networks"
        f" inside: {', '.join(body['published']) or 'none'}"
    )


def _ends(values: list[int]) -> tuple[str, str]:
    return str(values[0]), str(values[-1])


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values)) if len(values) <= _SHOWN else f"steps of {values[1] - values[0]}"


def _body(space: SearchSpace) -> dict[str, Any]:
    grids = {granularity: unit_grid(space, granularity) for granularity in _GRANULARITIES}
    lowest, highest = grids["block"].macs.bounds()
    published = load_all().values()
    return {
        "name": space.name,
        "family": space.family,
        "networks": space.cardinality,
        "axes": [{"name": axis.name, "values": list(axis.values)} for axis in space.decisions],
        "units": {granularity: len(grid.units) for granularity, grid in grids.items()},
        "macs": {"lowest": round(float(lowest.min())), "highest": round(float(highest.max()))},
        "published": [each.name for each in published if space.holds(each.architecture)],
        "known_spaces": available_spaces(),
    }
