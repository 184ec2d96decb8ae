"""Recipes: TOML files that say how a network is trained."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from chamnet.errors import ConfigError
from chamnet.train import Recipe, available_recipes, load_recipe

SMALLEST = {"name": "mine", "epochs": 2}


@pytest.mark.parametrize("name", available_recipes())
def test_shipped_recipes_load_and_survive_a_round_trip(name: str) -> None:
    recipe = load_recipe(name)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.id.startswith(f"{name}-")


def test_a_file_is_named_after_itself(tmp_path: Path) -> None:
    path = tmp_path / "long.toml"
    path.write_text("epochs = 90\n[schedule]\nwarmup = 5\n[augmentation]\ncrop = [0.35, 1]\n")
    recipe = load_recipe(str(path))
    assert (recipe.name, recipe.schedule.warmup, recipe.augmentation.crop) == ("long", 5.0, (0.35, 1.0))


def test_another_number_is_another_recipe() -> None:
    recipe = Recipe.from_dict(SMALLEST)
    assert replace(recipe, epochs=3).id != recipe.id
    assert Recipe.from_dict({**SMALLEST, "optimiser": {"rate": 0.2}}).id != recipe.id


def test_what_takes_less_time_only_is_the_same_recipe() -> None:
    assert (
        Recipe.from_dict({**SMALLEST, "resources": {"loaders": 4, "gpus": 0.5}}).id
        == Recipe.from_dict(SMALLEST).id
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"epoch": 3}, "unknown key epoch; known: name, epochs, batch"),
        ({"optimiser": {"lr": 0.1}}, "unknown key optimiser.lr; known: name, rate"),
        ({"optimiser": {"name": "adam"}}, "optimiser.name 'adam'; known: sgd, rmsprop, adamw"),
        ({"optimiser": {"rate": 0}}, "optimiser.rate = 0 is not above 0"),
        ({"optimiser": 0.1}, "optimiser must be a table"),
        ({"schedule": {"shape": "steps"}}, "schedule.shape 'steps'; known: cosine, linear, constant"),
        ({"schedule": {"warmup": 2}}, "leaves nothing of 2 epochs"),
        ({"augmentation": {"crop": [0.5]}}, "augmentation.crop [0.5] is not [smallest, largest]"),
        ({"augmentation": {"flip": 1}}, "augmentation.flip = 1 is not true or false"),
        ({"epochs": 2.5}, "epochs = 2.5 is not a whole number"),
        ({"epochs": 0}, "epochs = 0 is not at least 1"),
        ({"batch": 1}, "batch = 1 is not at least 2"),
        ({"ema": 1}, "ema = 1 is not"),
        ({"label_smoothing": float("nan")}, "label_smoothing = nan"),
    ],
)
def test_a_mistake_is_named(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match="recipe here: ") as caught:
        Recipe.from_dict({**SMALLEST, **changed}, "here")
    assert said in str(caught.value)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="missing key epochs"):
        Recipe.from_dict({"name": "mine"})


def test_unknown_names_and_files_say_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fashion-quick"):
        load_recipe("imagent")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_recipe(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("epochs = = 3")
    with pytest.raises(ConfigError, match="not TOML"):
        load_recipe(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize(("shape", "half"), [("cosine", 0.5), ("linear", 0.5), ("constant", 1.0)])
def test_the_rate_rises_and_falls(shape: str, half: float) -> None:
    schedule = Recipe.from_dict(
        {"name": "mine", "epochs": 11, "schedule": {"shape": shape, "warmup": 1}}
    ).schedule
    factors = [schedule.factor(step, 110, 10) for step in range(110)]
    assert factors[0] < factors[5] < factors[9] < 1
    assert factors[10] == 1
    assert factors[60] == pytest.approx(half)
    assert all(after <= before for before, after in pairwise(factors[10:]))
