"""Options that several commands share, with the one help text of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from chamnet.errors import ConfigError
from chamnet.ops import DType
from chamnet.units import Granularity

__all__ = [
    "AsJson",
    "Backend",
    "Dataset",
    "Db",
    "Deployed",
    "Device",
    "Dtype",
    "EnergyRounds",
    "Granular",
    "MeterName",
    "Mismatch",
    "Networks",
    "OneNetwork",
    "Predictor",
    "Profiles",
    "Rails",
    "RecipeName",
    "Seed",
    "Serial",
    "Serials",
    "SpaceName",
    "Target",
    "Threads",
    "check_one_of",
]

Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        "-t",
        help="Device profile or HOST:PORT of a running agent. Default: the last one profiled, else local.",
        show_default=False,
    ),
]
Serial = Annotated[
    str | None,
    typer.Option(
        "--serial",
        help="Which device, where there are several of the kind: over adb as `adb devices` shows it, or HOST:PORT; over ssh a"
        " host; HOST:PORT of a running agent. Default: as the device profile says.",
        metavar="DEVICE",
        show_default=False,
    ),
]
Serials = Annotated[
    list[str] | None,
    typer.Option(
        "--serial",
        help="Which device, where there are several of the kind: over adb as `adb devices` shows it, or HOST:PORT; over ssh a"
        " host; HOST:PORT of a running agent. Repeatable: they share the work and the table, and are compared. Default: as"
        " the device profile says.",
        metavar="DEVICE",
        show_default=False,
    ),
]
Dataset = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="fashion-mnist, cifar10, cifar100, digits, each with :FOLDER where it lies elsewhere, or folder:FOLDER with"
        " train/CLASS/*.jpg and val/CLASS/*.jpg.",
    ),
]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="How networks are trained: fashion-quick, digits-quick or a .toml file (docs/accuracy-predictor.md).",
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="What trainings compute on: auto, cpu, cuda, cuda:1, ...")
]
Db = Annotated[Path, typer.Option("--db", help="The store; one file per workspace.")]
SpaceName = Annotated[
    str,
    typer.Option(
        "--space",
        help="Search space: chamnet-mobile, chamnet-res, mobile-wide, chamnet-mobile-28 or a .toml file.",
    ),
]
Profiles = Annotated[
    Path | None,
    typer.Option("--profiles", help="Folder of device profiles to look through first.", show_default=False),
]
Deployed = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        help="Device profile with transport adb or ssh.",
        metavar="TARGET",
        show_default=False,
    ),
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        help="Runtime: onnxruntime, onnxruntime-cuda, onnxruntime-qnn, litert, torch, torch-cuda, native-tool. Default: as last profiled, else the device's own.",
        show_default=False,
    ),
]
Dtype = Annotated[
    DType | None,
    typer.Option(
        "--dtype",
        help="Element type. Default: as last profiled with that backend, else f32.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(help="Threads that work. Default: the device profile's.", min=1, show_default=False),
]
Granular = Annotated[
    Granularity | None,
    typer.Option(
        "--granularity",
        help="What a table row times: op (one operator) or block (a whole residual block). Default: what predicts"
        " best on the backend.",
        show_default=False,
    ),
]
MeterName = Annotated[
    str,
    typer.Option(
        "--meter",
        help="Meter to read; default: the first of the device that works (`chamnet-host devices show`). Of this machine:"
        " monsoon or monsoon:VOLTS, a power monitor that feeds the device; recording:FILE, what another recorder writes.",
        show_default=False,
    ),
]
Rails = Annotated[
    str,
    typer.Option(
        "--rails",
        help="What of it: compute, device, or names of rails; default: what computes, else the whole device.",
        show_default=False,
    ),
]
EnergyRounds = Annotated[
    int, typer.Option("--energy-rounds", min=1, help="Windows of each item whose energy is measured.")
]
Mismatch = Annotated[
    bool,
    typer.Option(
        "--allow-version-mismatch", help="Compare with a table of another runtime version all the same."
    ),
]
Predictor = Annotated[
    str | None,
    typer.Option(
        "--predictor",
        help="Accuracy predictor: a name that `accuracy fit --as` gave, or a file (.npz). Default: the shipped one.",
        show_default=False,
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
OneNetwork = Annotated[
    str,
    typer.Argument(
        help="Published name, genome, JSON file of a search or an architecture, or best.", metavar="NETWORK"
    ),
]

DB = Path("chamnet.db")
SPACE = "chamnet-mobile"


def check_one_of(option: str, value: str, known: Sequence[str]) -> None:
    """Refuse a value that an option does not know.

    Raises:
        ConfigError: It names those it knows.
    """
    if value not in known:
        raise ConfigError(f"{option} {value!r}; known: {', '.join(known)}")
