"""What the agent's server and its worker process say to each other, as records."""

from dataclasses import dataclass

from chamnet.errors import ChamNetError
from chamnet.records import Item, Policy, Resolved, Visit

__all__ = ["Done", "FromWorker", "Job", "Ready"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request: items to measure under a policy or, without one, to resolve.

    Attributes:
        request_id: Chosen by the host; the same one again replaces the job at work.
        items: What to measure or resolve.
        policy: How to measure; None to resolve.
        backend: Its name in the registry; empty for the agent's default.
    """

    request_id: str
    items: tuple[Item, ...]
    policy: Policy | None = None
    backend: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has started and takes jobs."""


@dataclass(frozen=True, slots=True)
class Done:
    """Every item of the job has been reported."""

    request_id: str


FromWorker = Ready | Visit | Resolved | Done | ChamNetError
"""What a worker sends; an error means that the whole job can not run."""
