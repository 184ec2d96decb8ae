"""Whether devices of one kind that share a table agree, by networks that each of them measured.

Two phones of one model are not one phone: chips of a kind differ in what they draw and so in what they throttle to, and
one may lie warmer, hold an older battery or run more beside. What several devices measure goes into one table all the
same, for rows are medians over visits and a network is a sum of some sixty rows of all of them. That is sound as long
as the devices differ by less than rows are off anyhow, so it is checked.

In each batch every device visits the networks of the calibration in rounds of its own (`Batch.anchors`). Visits of one
network in one round are compared with their median over the devices, and a device's round is the median of that over
the networks: networks of a round share its moment, so rounds, not visits, tell how sure the figure is.

A device differs if it is more than 3 % off the median of all, and by more than twice the standard error between its
rounds. Three per cent is what a settled row may be off by, and the drift at which a measurement is usually paused.

Nothing is corrected. Dividing by one factor for each device would do little, for kinds of operators follow a device's
state differently (dividing by one reference operator took the spread of networks from 16 to 13 %), and it would hide
that predictions hold for no device that exists. Each visit is carried to the usual speed by the probes beside it as
always, and says which device made it, so that one device's table can be had alone.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from chamnet.lut.store import StoredVisit
from chamnet.lut.table import visit_ms
from chamnet.stats import bootstrap_error, median

__all__ = ["Standing", "Verdict", "compare_devices"]

Verdict = Literal["agrees", "differs", "unsure"]

_LIMIT = 0.03
_SURE = 2.0  # standard errors
_ANCHOR = re.compile(r"/whole/(\d+)/at/.+/(-?\d+\.\d+)/[^/!]+$")
Rounds = Mapping[
    tuple[str, str], Mapping[str, float]
]  # round and network -> serial -> log of what was measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a device compares with the others.

    Attributes:
        serial: Of the device.
        rounds: Rounds in which it was compared.
        ratio: Its latencies over the median of all devices'; None without rounds.
        error: Standard error of the ratio, from the spread between rounds; None below three.
        probe_ratio: The same as `ratio` for the fixed computation beside the visits: whether its clock explains it.
    """

    serial: str
    rounds: int = 0
    ratio: float | None = None
    error: float | None = None
    probe_ratio: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether it agrees with the others; `unsure` where the rounds are too few or too unlike each other."""
        if self.ratio is None or self.error is None:
            return "unsure"
        off, margin = abs(self.ratio - 1), _SURE * self.error
        if off > _LIMIT:
            return "differs" if off > margin else "unsure"
        return "agrees" if margin <= _LIMIT else "unsure"


def compare_devices(
    visits: Iterable[StoredVisit], serials: Collection[str], networks: Collection[str], *, session: int = 0
) -> list[Standing]:
    """Return how each of several devices compares with the others.

    Args:
        visits: Of networks measured whole, on one platform.
        serials: Of the devices.
        networks: Digests of those that the calibration measures.
        session: Of the calibration; visits of earlier ones do not count.
    """
    latencies: dict[tuple[str, str], dict[str, float]] = {}
    probes: dict[tuple[str, str], dict[str, float]] = {}
    for stored in visits:
        match, visit = _ANCHOR.search(stored.visit.visit_id), stored.visit
        if (
            not match
            or int(match[1]) != session
            or stored.key not in networks
            or stored.serial not in serials
        ):
            continue
        if visit.status != "ok" or not visit.samples_ns:
            continue
        at = (match[2], stored.key)
        latencies.setdefault(at, {})[stored.serial] = math.log(visit_ms(visit))
        if visit.conditions.probe_ns:
            probes.setdefault(at, {})[stored.serial] = math.log(visit.conditions.probe_ns)
    return [_standing(serial, latencies, probes) for serial in serials]


def _standing(serial: str, latencies: Rounds, probes: Rounds) -> Standing:
    ratios, probe_ratios = _by_round(serial, latencies), _by_round(serial, probes)
    if not ratios:
        return Standing(serial=serial)
    return Standing(
        serial=serial,
        rounds=len(ratios),
        ratio=median(ratios),
        error=bootstrap_error(ratios),
        probe_ratio=median(probe_ratios) if probe_ratios else None,
    )


def _by_round(serial: str, made: Rounds) -> Sequence[float]:
    """Return a device's ratio to the median of all devices in each round that others made, too."""
    rounds: dict[str, list[float]] = {}
    for (number, _), logs in made.items():
        if serial in logs and len(logs) > 1:
            rounds.setdefault(number, []).append(logs[serial] - median(list(logs.values())))
    return [math.exp(median(each)) for each in rounds.values()]
