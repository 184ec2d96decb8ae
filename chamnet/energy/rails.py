"""What a meter knows, and which of it to add up."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from chamnet.errors import ConfigError

__all__ = ["Domain", "Nature", "Rail", "Reading", "Total", "choose", "total"]

Nature = Literal["counter", "power"]
Domain = Literal[
    "device", "battery", "package", "cpu", "uncore", "gpu", "npu", "memory", "soc", "io", "display", "radio", "other"
]  # fmt: skip
Total = Literal["compute", "device"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rail:
    """One thing whose energy a meter knows.

    Attributes:
        name: As the device calls it, unique in the meter; rails are found by it, never by their position.
        nature: A counter in µJ, or power in W.
        domain: What it feeds.
        totals: What it counts towards: `compute` (processors, accelerators and their memory), `device` (all of it).
            The rails of one total contain no energy twice.
        within: Rail whose energy contains this one's; None for none.
        wraps_uj: Where a counter starts over from zero; None if it never does.
    """

    name: str
    nature: Nature
    domain: Domain
    totals: frozenset[Total] = frozenset()
    within: str | None = None
    wraps_uj: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter says at one time.

    Attributes:
        values: One per rail, in their order: µJ of a counter, W of power.
        t_ns: When it was true, where the source says so; None for the moment of reading.
        stamp: The source's own mark of its update: the same mark, the same update. None if it gives none; then an
            update shows as a time of its own, or as a changed value.
        why_not: Why values that are NaN could not be read, one per rail; empty where all could.
    """

    values: tuple[float, ...]
    t_ns: int | None = None
    stamp: int | None = None
    why_not: tuple[str, ...] = ()


def total(rails: Iterable[Rail], name: Total) -> tuple[Rail, ...]:
    """Return the rails that make up a total; none if the meter cannot tell it."""
    return tuple(rail for rail in rails if name in rail.totals)


def choose(rails: Sequence[Rail], wanted: str = "") -> tuple[Rail, ...]:
    """Return the rails that somebody asked for.

    Args:
        rails: Of a meter.
        wanted: A total (`compute`, `device`), or names of rails separated by commas; empty for `compute`, or for
            `device` where a meter cannot tell that.

    Raises:
        ConfigError: The meter has no such total or rail, or one rail contains another; says which there are.
    """
    totals = {name: found for name in get_args(Total) if (found := total(rails, name))}
    wanted = wanted or next(iter(totals), "compute")
    if wanted in totals:
        return totals[wanted]
    named = {rail.name: rail for rail in rails}
    names = [name.strip() for name in wanted.split(",")]
    if unknown := [name for name in names if name not in named]:
        raise ConfigError(f"rail {unknown[0]!r} is not known here; known: {', '.join([*totals, *named])}")
    for name in names:
        if within := set(_containers(named, name)) & set(names):
            raise ConfigError(
                f"rail {within.pop()!r} contains {name!r}: choose one of them, or both one by one"
            )
    return tuple(named[name] for name in dict.fromkeys(names))


def _containers(named: dict[str, Rail], name: str) -> Iterable[str]:
    seen: set[str] = set()
    while (within := named[name].within) is not None and within in named and within not in seen:
        seen.add(within)
        yield within
        name = within
