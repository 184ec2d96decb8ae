"""Where trainings run: processes of this machine, or a Ray cluster."""

from chamnet_host.training.executors.base import Executor
from chamnet_host.training.executors.choice import open_executor
from chamnet_host.training.executors.local import LocalExecutor

__all__ = ["Executor", "LocalExecutor", "open_executor"]
