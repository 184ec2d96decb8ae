"""Training networks: recipes, datasets and the trainer. Only the last two need torch; import them by their modules."""

from chamnet.train.jobs import DATASETS, Job, Outcome, Progress, dataset_name
from chamnet.train.recipe import Recipe, available_recipes, load_recipe

__all__ = [
    "DATASETS",
    "Job",
    "Outcome",
    "Progress",
    "Recipe",
    "available_recipes",
    "dataset_name",
    "load_recipe",
]
