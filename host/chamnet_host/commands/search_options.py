"""What `chamnet-host search` may be asked, and which of it makes sense together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from chamnet.errors import ConfigError
from chamnet.search import SOLVERS, SolverChoice

__all__ = [
    "SWEPT",
    "Against",
    "Alpha",
    "Budgets",
    "Confidence",
    "Exponent",
    "Fix",
    "Generations",
    "Html",
    "Multiple",
    "Output",
    "Pareto",
    "Points",
    "Population",
    "Recipe",
    "Solver",
    "Targets",
    "Top",
    "Verify",
    "check_together",
    "read_fixed",
    "read_solver",
    "read_swept",
]

SWEPT = {
    "latency": "latency_ms",
    "energy": "energy_mj",
    "macs": "macs",
    "params": "params",
    "weights": "weight_bytes",
}

Budgets = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        "-b",
        help="20ms, 35mJ (energy of one run), 300MMACs, 4Mparams, 5MB (weights), like:NETWORK (as fast as that network"
        " here), 40% (of the slowest network's latency); like:NETWORK:mJ and 40%mJ are the same of energy. Commas hold"
        " together (20ms,35mJ); repeat the option for separate answers."
        " With --pareto: what holds all along, if anything.",
        show_default=False,
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        help="Device profile. Repeat it for an answer on each. Default: the last one profiled, else local.",
        show_default=False,
    ),
]
Solver = Annotated[
    str,
    typer.Option(
        "--solver",
        help=f"{', '.join(SOLVERS)}. exact proves that no network is better; evolution is the paper's search, for any"
        " predictor; auto is exact where the predictor adds up stage by stage, as the shipped one does.",
    ),
]
Fix = Annotated[
    list[str] | None,
    typer.Option(
        "--fix",
        help="Settle a decision, such as resolution=192 or irf4.blocks=2. Repeatable.",
        show_default=False,
    ),
]
Multiple = Annotated[
    int,
    typer.Option(
        "--channel-multiple", help="All filters are multiples of it: 32 is what a Hexagon DSP likes.", min=1
    ),
]
Confidence = Annotated[
    float | None,
    typer.Option(
        help="Keep latency and energy budgets with this probability, such as 0.9, instead of on average: what is bounded is the"
        " upper end of the interval; 0.95 is that of the 90 % interval printed.",
        show_default=False,
    ),
]
Top = Annotated[
    int, typer.Option("--top", help="Show so many good networks that differ from each other.", min=1)
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Measure the best candidates on the device, correct the table by them, and search again until the answer"
        " keeps the budget as measured.",
    ),
]
Pareto = Annotated[
    bool, typer.Option("--pareto", help="The best network for every budget at once, instead of for one.")
]
Against = Annotated[str, typer.Option(help=f"What --pareto trades top-1 against: {', '.join(SWEPT)}.")]
Points = Annotated[int, typer.Option(help="Budgets that --pareto tries, evenly spaced in log.", min=2)]
Html = Annotated[
    Path | None,
    typer.Option("--html", help="Write a page with the front as a plot (--pareto).", show_default=False),
]
Alpha = Annotated[
    float | None,
    typer.Option(help="Weight of an overrun in 1/unit. Default: 10 / budget.", show_default=False),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        help="Training recipe that accuracies are predicted for; see `accuracy show`.", show_default=False
    ),
]
Population = Annotated[int, typer.Option(help="Evolution: networks in a generation.", min=2)]
Generations = Annotated[int, typer.Option(help="Evolution: generations.", min=0)]
Exponent = Annotated[float, typer.Option(help="Evolution: power of the weighted overrun.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the JSON to a file as well.", show_default=False)
]

_EVOLUTION = ("population", "generations", "alpha", "exponent")
_FOR_FRONTS = ("against", "points", "html")
_FOR_ONE_BUDGET = ("confidence", "verify", "top", *_EVOLUTION)


def check_together(context: typer.Context, *, pareto: bool, budget: bool, solver: SolverChoice) -> None:
    """Refuse options that would have no effect beside others.

    Raises:
        ConfigError: They are named, with what to do.
    """
    typed = [name for name in context.params if _typed(context, name)]
    if not budget and not pareto:
        raise ConfigError("give a --budget, such as --budget 8ms, or --pareto for all of them at once")
    if pareto and solver == "evolution":
        raise ConfigError(
            "--pareto proves every point of the front, which evolution cannot: leave out --solver evolution, or give"
            " --budget instead"
        )
    if pareto and (refused := _shown(typed, _FOR_ONE_BUDGET)):
        raise ConfigError(f"--pareto answers every budget; for one only: {refused}; give --budget instead")
    if not pareto and (refused := _shown(typed, _FOR_FRONTS)):
        raise ConfigError(f"without --pareto there is no front; leave out {refused}, or give --pareto")
    if solver == "exact" and (refused := _shown(typed, _EVOLUTION)):
        raise ConfigError(
            f"the exact search does not evolve: leave out {refused}, or give --solver evolution"
        )


def _typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _shown(typed: Sequence[str], refused: Sequence[str]) -> str:
    return ", ".join(f"--{name}" for name in typed if name in refused)


def read_solver(name: str) -> SolverChoice:
    """Read the name of a solver.

    Raises:
        ConfigError: There is none of that name.
    """
    for known in SOLVERS:
        if name == known:
            return known
    raise ConfigError(f"unknown solver {name!r}; known: {', '.join(SOLVERS)}")


def read_swept(name: str) -> str:
    """Return the metric that a front is traded against.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in SWEPT:
        raise ConfigError(f"--against {name}: known are {', '.join(SWEPT)}")
    return SWEPT[name]


def read_fixed(texts: Sequence[str]) -> dict[str, int]:
    """Read decisions such as `resolution=192`.

    Raises:
        ConfigError: One is no decision and value, or is settled twice.
    """
    fixed: dict[str, int] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not value.isdecimal():
            raise ConfigError(f"--fix {text}: write a decision and its value, such as resolution=192")
        if fixed.setdefault(name, int(value)) != int(value):
            raise ConfigError(f"--fix {text}: {name} was settled at {fixed[name]} already")
    return fixed
