"""Accuracies that somebody trained for, one row for each training: the pool that predictors are fitted to.

They lie in the workspace's store, beside the tables of devices but apart from them: a network's accuracy is the same
everywhere. A training is known by its network, dataset, recipe and seed, and stored once.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from chamnet.errors import ConfigError
from chamnet.lut import Store
from chamnet.networks import Architecture
from chamnet.predictors.features import Structure
from chamnet.predictors.pool import Pool
from chamnet.space import SearchSpace

__all__ = ["Training", "TrainingLog", "pool_of", "trainings_inside"]

_TABLE = """
CREATE TABLE IF NOT EXISTS training (
    id INTEGER PRIMARY KEY, network TEXT NOT NULL, dataset TEXT NOT NULL, recipe TEXT NOT NULL, seed INTEGER NOT NULL,
    name TEXT NOT NULL, architecture TEXT NOT NULL, status TEXT NOT NULL, top1 REAL, source TEXT NOT NULL,
    UNIQUE (network, dataset, recipe, seed))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What one training came to.

    Attributes:
        name: Of the network, for people.
        architecture: Of the network; batch and element type do not matter.
        dataset, recipe, seed: What it was trained on, how, and from which random numbers.
        top1: Accuracy on data not trained on, in percent; None where the loss diverged, which is an outcome, too.
        source: Where the figure comes from.
    """

    name: str
    architecture: Architecture
    dataset: str
    recipe: str
    seed: int
    top1: float | None
    source: str

    @property
    def status(self) -> str:
        """`ok` or `diverged`."""
        return "diverged" if self.top1 is None else "ok"

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What the training is known by: network, dataset, recipe, seed."""
        network = self.architecture.trained.build().digest
        return network, self.dataset, self.recipe, self.seed


class TrainingLog:
    """The trainings of a store.

    Args:
        store: The workspace's.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        with store.transaction() as db:
            db.execute(_TABLE)

    def append(self, trainings: Sequence[Training]) -> int:
        """Store trainings, all or none; return how many were new.

        Raises:
            ConfigError: One is stored with another accuracy.
        """
        added = 0
        with self._store.transaction() as db:
            for training in trainings:
                network, *rest = training.key
                row = db.execute(
                    "SELECT top1, source FROM training WHERE (network, dataset, recipe, seed) = (?, ?, ?, ?)",
                    (network, *rest),
                ).fetchone()
                if row is None:
                    text = json.dumps(training.architecture.to_dict())
                    facts = (training.name, text, training.status, training.top1, training.source)
                    db.execute(
                        "INSERT INTO training (network, dataset, recipe, seed, name, architecture, status, top1, source)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (network, *rest, *facts),
                    )
                    added += 1
                elif row[0] != training.top1:
                    raise ConfigError(
                        f"{training.name} trained on {training.dataset} with {training.recipe}, seed {training.seed}, is"
                        f" stored with {_shown(row[0])} (from {row[1]}), not {_shown(training.top1)}; give another seed or"
                        " recipe"
                    )
        return added

    def read(self, dataset: str | None = None) -> list[Training]:
        """Return the trainings on a dataset, or all, in the order they were stored."""
        rows = self._store.query(
            "SELECT name, architecture, dataset, recipe, seed, top1, source FROM training"
            " WHERE ? IS NULL OR dataset = ? ORDER BY id",
            (dataset, dataset),
        )
        return [
            Training(
                name=name,
                architecture=Architecture.from_dict(json.loads(text), f"training of {name}"),
                dataset=on,
                recipe=recipe,
                seed=seed,
                top1=top1,
                source=source,
            )
            for name, text, on, recipe, seed, top1, source in rows
        ]


def trainings_inside(trainings: Sequence[Training], space: SearchSpace) -> list[Training]:
    """Return those of networks of a space, in their order."""
    return [each for each in trainings if _inside(each.architecture, space)]


def pool_of(trainings: Sequence[Training], space: SearchSpace) -> Pool:
    """Return the pool of those trainings whose networks lie in a space; a network has a row for each seed.

    Trainings that diverged are left out.

    Raises:
        ConfigError: None does, or they are of several datasets.
    """
    inside = [each for each in trainings_inside(trainings, space) if each.top1 is not None]
    datasets = sorted({training.dataset for training in inside})
    if not inside:
        raise ConfigError(
            f"no training of a network of {space.name} is stored; `chamnet-host accuracy import FILE --space ...` brings some"
        )
    if len(datasets) > 1:
        raise ConfigError(
            f"trainings of {space.name} are on {', '.join(datasets)}; choose one with --dataset"
        )
    names: dict[str, str] = {}  # a network may be known by its genome and by a published name
    for training in inside:
        names.setdefault(training.key[0], training.name)
    sources: dict[str, set[str]] = {}
    for training in inside:
        sources.setdefault(training.recipe, set()).add(training.source)
    return Pool.of(
        Structure.of(space),
        [training.architecture for training in inside],
        names=[names[training.key[0]] for training in inside],
        recipes=[training.recipe for training in inside],
        sources={recipe: "; ".join(sorted(found)) for recipe, found in sources.items()},
        top1=[training.top1 for training in inside if training.top1 is not None],
        dataset=datasets[0],
    )


def _shown(top1: float | None) -> str:
    return "a diverged loss" if top1 is None else f"{top1:g} %"


def _inside(architecture: Architecture, space: SearchSpace) -> bool:
    try:
        space.genome(architecture)
    except ConfigError:
        return False
    return architecture.classes == space.classes
