"""Executors by name."""

from chamnet.errors import ConfigError
from chamnet.train import Recipe
from chamnet_host.training.executors.base import Executor
from chamnet_host.training.executors.local import LocalExecutor

__all__ = ["EXECUTORS", "open_executor"]

EXECUTORS = ("local", "ray")


def open_executor(
    name: str, recipe: Recipe, *, workers: int | None = None, ray_address: str | None = None
) -> Executor:
    """Return an executor.

    Args:
        name: `local` or `ray`.
        recipe: Says what a training takes of a machine.
        workers: Trainings at a time; None for as many as there is room for.
        ray_address: Of a running cluster; None starts one on this machine.

    Raises:
        ConfigError: No such executor, or it is not installed.
    """
    if name == "local":
        if ray_address is not None:
            raise ConfigError("--ray-address goes with --executor ray")
        return LocalExecutor(workers, recipe.resources)
    if name == "ray":
        from chamnet_host.training.executors.ray import RayExecutor

        return RayExecutor(workers, recipe.resources, address=ray_address)
    raise ConfigError(f"unknown executor {name!r}; known: {', '.join(EXECUTORS)}")
