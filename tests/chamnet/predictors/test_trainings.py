"""Trainings in the store: each once, none changed, and pools made of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chamnet.errors import ConfigError
from chamnet.lut import Store
from chamnet.networks import find
from chamnet.predictors import AccuracyPredictor
from chamnet.predictors.gp import GaussianProcess
from chamnet.predictors.pool import Pool
from chamnet.predictors.trainings import Training, TrainingLog, pool_of
from chamnet.predictors.validation import validate
from chamnet.space import load_space

MOBILE, WIDE = load_space("chamnet-mobile"), load_space("mobile-wide")


def training(
    name: str, top1: float = 70.0, *, recipe: str = "own", seed: int = 0, dataset: str = "imagenet"
) -> Training:
    return Training(
        name=name,
        architecture=find(name).architecture,
        dataset=dataset,
        recipe=recipe,
        seed=seed,
        top1=top1,
        source="a test",
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "chamnet.db") as store:
        yield store


def test_a_training_is_stored_once_and_read_back_as_it_was(store: Store) -> None:
    log = TrainingLog(store)
    first, second = training("chamnet-a", 75.38), training("mnasnet-a1-224", 75.2)
    assert log.append([first, second, first]) == 2
    assert TrainingLog(store).append([first]) == 0
    assert log.read() == [first, second]
    assert log.read("cifar10") == []


def test_batch_and_element_type_make_no_other_network(store: Store) -> None:
    first = training("chamnet-a")
    other = replace(first, architecture=replace(first.architecture, batch=8, dtype="int8"))
    assert TrainingLog(store).append([first, other]) == 1


def test_another_accuracy_of_the_same_training_is_refused_and_nothing_is_stored(store: Store) -> None:
    log = TrainingLog(store)
    log.append([training("chamnet-a", 75.0)])
    with pytest.raises(ConfigError, match=r"seed 0, is stored with 75 % \(from a test\), not 74 %"):
        log.append([training("chamnet-b", 73.0), training("chamnet-a", 74.0)])
    assert [each.name for each in log.read()] == ["chamnet-a"]
    assert log.append([training("chamnet-a", 74.0, seed=1), training("chamnet-a", 74.0, recipe="short")]) == 2


def test_a_pool_holds_the_trainings_of_networks_in_the_space() -> None:
    trainings = [
        training("chamnet-a"),
        training("chamnet-a", seed=1),
        training("mnasnet-a1-224", recipe="paper"),
    ]
    assert pool_of(trainings, MOBILE).names == ("chamnet-a", "chamnet-a")
    wide = pool_of(trainings, WIDE)
    assert (wide.names, wide.recipes, wide.sources) == (("mnasnet-a1-224",), ("paper",), {"paper": "a test"})
    with pytest.raises(ConfigError, match="no training of a network of chamnet-res is stored"):
        pool_of(trainings, load_space("chamnet-res"))
    with pytest.raises(ConfigError, match="on cifar10, imagenet; choose one with --dataset"):
        pool_of([*trainings, training("chamnet-b", dataset="cifar10")], MOBILE)


def test_a_network_is_left_out_with_all_its_seeds_and_recipes() -> None:
    shipped = AccuracyPredictor.load()
    rows = [*range(10), 0, 0, 3]
    pool = shipped.pool.subset(rows)
    pool = replace(
        pool,
        recipes=(*pool.recipes[:10], pool.recipes[0], "another", pool.recipes[3]),
        sources={**pool.sources, "another": ""},
    )
    left: list[set[str]] = []

    def fit(part: Pool) -> GaussianProcess:
        left.append(set(pool.names) - set(part.names))
        return shipped.model.on(part.features, part.log_macs, part.log_error, part.recipe_numbers)

    validation = validate(pool, fit)
    assert validation.one_out.count == len(pool)
    assert left[:10] == [{name} for name in dict.fromkeys(pool.names)]
    assert np.isfinite(validation.near)
    assert validation.near > 0
