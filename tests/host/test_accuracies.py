"""Files of accuracies: every way to name a network, and every mistake by its row."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chamnet.errors import ConfigError
from chamnet.lut import Store
from chamnet.networks import find
from chamnet.predictors import AccuracyPredictor
from chamnet.predictors.trainings import Training, pool_of
from chamnet.space import load_space
from chamnet.train import available_recipes, load_recipe
from chamnet_host.accuracies import (
    keep_predictor,
    load_predictor,
    read_trainings,
    shipped_table,
    shipped_tables,
    write_trainings,
)

MOBILE = load_space("chamnet-mobile")
A, B = (MOBILE.genome(find(f"chamnet-{letter}").architecture) for letter in "ab")
TEXT = "-".join(map(str, A))


def write(folder: Path, *rows: dict[str, object], ending: str = "csv") -> Path:
    path, frame = folder / f"trained.{ending}", pd.DataFrame(rows)
    if ending == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize(
    "named",
    [
        {"genome": TEXT},
        {"network": "chamnet-a"},
        dict(zip((a.name for a in MOBILE.decisions), A, strict=True)),
    ],
    ids=["genome", "network", "decisions"],
)
def test_a_network_is_named_in_any_of_three_ways(
    tmp_path: Path, named: dict[str, object], ending: str
) -> None:
    path = write(tmp_path, {**named, "top1": 75.38}, ending=ending)
    (training,) = read_trainings(path, MOBILE, dataset="imagenet", recipe="own")
    assert training.architecture == find("chamnet-a").architecture
    assert (training.top1, training.recipe, training.seed, training.dataset) == (75.38, "own", 0, "imagenet")
    assert training.source == path.name


def test_columns_of_recipe_seed_and_dataset_win(tmp_path: Path) -> None:
    path = write(tmp_path, {"genome": TEXT, "top1": 75, "recipe": "long", "seed": 3, "dataset": "cifar10"})
    (training,) = read_trainings(path, MOBILE, dataset="imagenet", recipe="own")
    assert (training.recipe, training.seed, training.dataset) == ("long", 3, "cifar10")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"genome": "224-8", "top1": 70}, "row 2: a genome of chamnet-mobile has 21 numbers"),
        ({"genome": TEXT.replace("224", "225"), "top1": 70}, "row 2: genome: resolution = 225"),
        ({"network": "resnet-50", "top1": 70}, "row 2: not in chamnet-mobile"),
        ({"network": "chamnet-z", "top1": 70}, "row 2: unknown network 'chamnet-z'"),
        ({"genome": TEXT, "top1": 0.75e3}, "row 2: top1 750.0 is no accuracy in percent"),
        ({"genome": TEXT, "top1": "good"}, "row 2: .*good"),
        ({"genome": TEXT, "top1": 70, "seed": 1.5}, "row 2: 1.5 is not a whole number"),
        ({"genome": TEXT, "top1": ""}, "row 2: no top1"),
        ({"genome": "", "network": "", "top1": 70}, "row 2: which network"),
        ({"genome": TEXT, "accuracy": 70}, "no column top1"),
        ({"model": "x", "top1": 70}, r"which networks\? .*of these resolution, stem"),
    ],
)
def test_mistakes_are_named_by_row(tmp_path: Path, row: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_trainings(write(tmp_path, row), MOBILE, dataset="imagenet", recipe="own")


def test_empty_cells_of_parquet_are_absent(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"genome": TEXT, "network": None, "top1": 70.0, "seed": None, "recipe": None},
        {"genome": None, "network": "chamnet-b", "top1": 71.0, "seed": 2, "recipe": "long"},
    ]
    one, other = read_trainings(
        write(tmp_path, *rows, ending="parquet"), MOBILE, dataset="imagenet", recipe="own"
    )
    assert (one.recipe, one.seed, one.name) == ("own", 0, TEXT)
    assert (other.recipe, other.seed, other.name) == ("long", 2, "chamnet-b")


def test_a_network_of_two_names_is_one_network(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"genome": TEXT, "network": "", "top1": 70, "seed": 0},
        {"genome": "", "network": "chamnet-a", "top1": 70.4, "seed": 1},
    ]
    trainings = read_trainings(write(tmp_path, *rows), MOBILE, dataset="imagenet", recipe="own")
    assert set(pool_of(trainings, MOBILE).names) == {TEXT}


def test_the_same_training_twice_is_a_mistake_and_a_few_are_shown(tmp_path: Path) -> None:
    row: dict[str, object] = {"genome": TEXT, "top1": 70}
    with pytest.raises(ConfigError, match=r"row 3: .*of row 2 again(.|\n)*and 3 more rows"):
        read_trainings(write(tmp_path, *[row] * 9), MOBILE, dataset="imagenet", recipe="own")


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(b"PAR1")
    for path in (tmp_path / "none.csv", torn):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_trainings(path, MOBILE, dataset="imagenet", recipe="own")
    with pytest.raises(ConfigError, match=r"give a \.csv or \.parquet file"):
        read_trainings(tmp_path / "trained.xlsx", MOBILE, dataset="imagenet", recipe="own")


def test_a_predictor_is_kept_by_name(tmp_path: Path) -> None:
    shipped = AccuracyPredictor.load()
    with Store.open(tmp_path / "chamnet.db") as store:
        keep_predictor(store, "mine", shipped)
        keep_predictor(store, "mine-too", shipped)
        keep_predictor(store, "mine", shipped)
        assert load_predictor(store, "mine").pool.names == shipped.pool.names
        with pytest.raises(
            ConfigError, match="unknown accuracy predictor 'yours'; fitted here: mine, mine-too"
        ):
            load_predictor(store, "yours")
        with pytest.raises(ConfigError, match="plain name"):
            keep_predictor(store, "mine.npz", shipped)
    shipped.save(tmp_path / "file.npz")
    assert load_predictor(None, str(tmp_path / "file.npz")).pool.names == shipped.pool.names
    assert load_predictor(None, None).pool.names == shipped.pool.names


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    space = load_space("chamnet-mobile-28")
    genomes = space.genomes(space.sample(3, np.random.default_rng(0)))
    trainings = [
        Training(
            name="-".join(map(str, genome)),
            architecture=space.architecture(genome),
            dataset="digits",
            recipe="quick-1234",
            seed=seed,
            top1=top1,
            source="t.csv",
        )
        for genome, seed, top1 in zip(genomes, (0, 1, 0), (91.2, 100 / 3, None), strict=True)
    ]
    write_trainings(tmp_path / "t.csv", trainings, space)
    assert read_trainings(tmp_path / "t.csv", space, dataset="?", recipe="?") == trainings


def test_a_table_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        write_trainings(tmp_path / "none" / "t.csv", [], load_space("chamnet-mobile-28"))


@pytest.mark.parametrize("name", shipped_tables())
def test_tables_that_come_with_it_are_of_shipped_recipes(name: str) -> None:
    space = load_space("chamnet-mobile-28")
    trainings = read_trainings(shipped_table(name), space, dataset="?", recipe="?")
    assert {training.recipe for training in trainings} <= {
        load_recipe(each).id for each in available_recipes()
    }
    assert {training.dataset for training in trainings} == {"fashion-mnist"}
