"""Accuracies in a workspace: tables of trainings from elsewhere (Parquet, CSV), and predictors by name."""

import csv
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from chamnet.errors import ChamNetError, ConfigError
from chamnet.lut import Store
from chamnet.networks import find
from chamnet.networks.architecture import Architecture
from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.trainings import Training
from chamnet.space import SearchSpace

__all__ = [
    "check_name",
    "keep_predictor",
    "load_predictor",
    "read_trainings",
    "scratch_folder",
    "shipped_table",
    "shipped_tables",
    "write_trainings",
]

_SHOWN = 5  # mistakes named at a time
_PREDICTOR = "predictor:"  # before a name, as the key in the store


def read_trainings(path: Path, space: SearchSpace, *, dataset: str, recipe: str) -> list[Training]:
    """Read trainings of networks of a space.

    Columns: `top1` in percent, and the network as `genome`, as `network` (a published name), or as one column for each
    decision of the space; optionally `recipe`, `seed`, `dataset`, and `status` (`ok`, or `diverged` without a `top1`).

    Args:
        path: A `.parquet` or `.csv` file.
        space: Of which the networks are.
        dataset: Where the file has no such column.
        recipe: Where the file has no such column.

    Raises:
        ConfigError: The file cannot be read, or a row makes no sense; the first few are named.
    """
    import pandas as pd  # takes a second, so only where it is used

    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        elif path.suffix == ".csv":
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        else:
            raise ConfigError(f"{path}: give a .csv or .parquet file")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    if "top1" not in frame.columns:
        raise ConfigError(f"{path}: no column top1 (accuracy in percent); it has {', '.join(frame.columns)}")
    _check_columns(frame.columns, space, path)
    found: dict[tuple[str, str, str, int], int] = {}
    trainings, wrong = [], []
    for number, row in enumerate(frame.to_dict("records"), 2 if path.suffix == ".csv" else 1):
        try:
            present = {str(key): value for key, value in row.items() if not pd.isna(value)}
            training = _training(present, space, dataset, recipe, path.name)
            first = found.setdefault(training.key, number)
            if first != number:
                raise ConfigError(f"the network, dataset, recipe and seed of row {first} again")
            trainings.append(training)
        except (ChamNetError, ValueError) as error:
            wrong.append(f"row {number}: {error}")
    if wrong:
        more = f"\n... and {len(wrong) - _SHOWN} more rows" if len(wrong) > _SHOWN else ""
        shown = "\n".join(wrong[:_SHOWN])
        raise ConfigError(f"{path}: nothing was imported, for\n{shown}{more}")
    return trainings


def write_trainings(path: Path, trainings: Sequence[Training], space: SearchSpace) -> None:
    """Write trainings of networks of a space as a CSV file that `read_trainings` reads.

    Raises:
        ConfigError: It cannot be written.
    """
    columns = ("genome", "dataset", "recipe", "seed", "status", "top1")
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(columns)
            for each in trainings:
                genome = "-".join(map(str, space.genome(each.architecture)))
                top1 = "" if each.top1 is None else repr(each.top1)
                table.writerow((genome, each.dataset, each.recipe, each.seed, each.status, top1))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another file") from error


def shipped_tables() -> list[str]:
    """Return the names of the tables of trainings that come with ChamNet."""
    files = resources.files("chamnet.predictors").joinpath("data").iterdir()
    return sorted(file.name.removesuffix(".csv") for file in files if file.name.endswith(".csv"))


def shipped_table(name: str) -> Path:
    """Return the file of a table that comes with ChamNet."""
    return Path(str(resources.files("chamnet.predictors").joinpath("data", f"{name}.csv")))


def scratch_folder(db: Path) -> Path:
    """Return the folder beside a store where trainings keep their checkpoints."""
    return db.with_name(db.name + ".trainings")


def keep_predictor(store: Store, name: str, predictor: AccuracyPredictor) -> None:
    """Keep a predictor in a store under a name.

    Raises:
        ConfigError: The name looks like a file's.
    """
    check_name(name)
    store.cache(_PREDICTOR + name, predictor.pack())


def check_name(name: str) -> None:
    """Refuse a name that no predictor can be kept under.

    Raises:
        ConfigError: The name looks like a file's.
    """
    if not name or "/" in name or name.endswith(".npz"):
        raise ConfigError(f"predictor name {name!r}: give a plain name such as mine, or a file with -o")


def load_predictor(store: Store | None, name: str | Path | None) -> AccuracyPredictor:
    """Return the predictor of a name or file; None for the shipped one.

    Args:
        store: Where names are looked up; None where there is no store.
        name: A name that `keep_predictor` got, or a file.

    Raises:
        ConfigError: Neither is there; the names that are get listed.
        StoreError: It is corrupt or from another version.
    """
    if name is None or isinstance(name, Path) or name.endswith(".npz") or "/" in name:
        return AccuracyPredictor.load(Path(name) if name else None)
    content = store.cached(_PREDICTOR + name) if store else None
    if content is not None:
        return AccuracyPredictor.unpack(content, name)
    known = [key.removeprefix(_PREDICTOR) for key in store.cached_keys(_PREDICTOR)] if store else []
    raise ConfigError(
        f"unknown accuracy predictor {name!r}; fitted here: {', '.join(known) or 'none'}; `chamnet-host accuracy fit --as"
        " NAME` makes one, a file ends in .npz"
    )


def _check_columns(columns: Any, space: SearchSpace, path: Path) -> None:
    """Refuse a file whose columns do not say which network a row is of.

    Raises:
        ConfigError: It says what is missing.
    """
    if "genome" in columns or "network" in columns:
        return
    missing = [axis.name for axis in space.decisions if axis.name not in columns]
    if missing:
        raise ConfigError(
            f"{path}: which networks? Give a column genome, a column network (a published name), or one for each decision"
            f" of {space.name}; of these {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )


def _training(row: Mapping[str, Any], space: SearchSpace, dataset: str, recipe: str, source: str) -> Training:
    name, architecture = _network(row, space)
    top1 = None if row.get("status") == "diverged" else _percent(row.get("top1"))
    return Training(
        name=name,
        architecture=architecture,
        dataset=str(row.get("dataset") or dataset),
        recipe=str(row.get("recipe") or recipe),
        seed=_whole(row.get("seed") or 0),
        top1=top1,
        source=source,
    )


def _network(row: Mapping[str, Any], space: SearchSpace) -> tuple[str, Architecture]:
    if row.get("network"):
        published = find(str(row["network"]))
        space.genome(published.architecture)  # is it inside?
        return published.name, published.architecture
    if row.get("genome"):
        genome = space.parse_genome(str(row["genome"]))
    elif missing := [axis.name for axis in space.decisions if axis.name not in row]:
        raise ConfigError(f"which network? No genome, no network, no {missing[0]}")
    else:
        genome = tuple(_whole(row[axis.name]) for axis in space.decisions)
    return "-".join(map(str, genome)), space.architecture(genome)


def _percent(value: Any) -> float:
    if value in (None, ""):
        raise ConfigError("no top1")
    top1 = float(value)
    if not 0 < top1 < 100:
        raise ConfigError(f"top1 {value} is no accuracy in percent")
    return top1


def _whole(value: Any) -> int:
    number = float(value)
    if number != int(number):
        raise ValueError(f"{value} is not a whole number")
    return int(number)
