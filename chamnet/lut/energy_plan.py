"""Which rows are measured for energy, and in which windows.

A window is as long as fifty updates of the meter, half a minute with its idling on a phone. So a subset is measured that spreads over what
decides a unit's power: its kind, how large it is, and how many operations it does for each byte. What a unit adds in power
is alike for units alike (its energy is not), so that the rest is filled in from these.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chamnet.lut.plan import Request
from chamnet.lut.store import ATTEMPTS, ItemKind
from chamnet.networks import Network
from chamnet.records import EnergyPolicy, Item, Policy
from chamnet.units import Unit

__all__ = ["EnergyBatch", "EnergyTimes", "choose_spread"]

_AT_ONCE = 6  # items of a request, which share idling and a loop that computes nothing
_TIMEOUT_S = 60.0
_KIND = 3.0  # how far apart kinds of units lie, in e-folds of their size

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EnergyTimes:
    """How long windows take with a meter.

    Attributes:
        window_s: An item runs.
        idle_s: Between windows.
        guard_s: Left out at either side of each.
    """

    window_s: float
    idle_s: float
    guard_s: float

    def seconds(self, items: int, requests: int) -> float:
        """Return about how long so many items take, in so many requests."""
        window_s, idle_s = self.window_s + 2 * self.guard_s, self.idle_s + 1.5 * self.guard_s
        return (items + requests) * window_s + (items + 2 * requests) * idle_s


@dataclass(frozen=True, kw_only=True)
class EnergyBatch:
    """Windows of units and of whole networks, in rounds that go through all of them.

    Attributes:
        policy: Which meter and rails.
        units: Measured one by one.
        networks: Measured whole.
        rounds: Windows of each.
        seed: Of the order, another in each round.
        run: Of a verification: its windows are its own, whatever was measured, or could not be, before. Empty for those
            of a profile, which every run asks for alike.
        serial: Of the device: others of its kind draw unlike power. Empty where nothing tells it from others.
    """

    policy: EnergyPolicy
    units: tuple[Unit, ...]
    networks: tuple[Network, ...] = ()
    rounds: int = 1
    seed: int = 0
    run: str = ""
    serial: str = ""

    is_energy = True

    @property
    def items(self) -> int:
        """Windows in all."""
        return self.rounds * (len(self.units) + len(self.networks))

    def start(self, digest: str) -> str:
        """Return what the ids of its visits begin with, on the platform of that digest."""
        if self.run:
            return f"{digest}/verify/{self.run}/energy"
        return f"{digest}/energy/{self.policy.meter}:{self.policy.rails}{self.serial and f'@{self.serial}'}"

    def visit_ids(self, digest: str) -> set[str]:
        """Return the ids of every visit the batch asks for, on the platform of that digest."""
        return {item.visit_id for request in self._all(digest) for item in request.items}

    def requests(
        self, digest: str, done: Collection[str], failed: Collection[tuple[ItemKind, str]]
    ) -> Iterator[Request]:
        """Yield what is missing, in order; what is stored already leaves no gap.

        Args:
            digest: Of the platform; starts every visit's id.
            done: Ids of visits already stored.
            failed: Items the device cannot run; not asked again. A verification asks all the same, and gives a window of
                its own up after a few attempts.
        """
        spoiled = Counter(
            visit_id.partition("!")[0] for visit_id in done if self.run and self.run in visit_id
        )
        for request in self._all(digest):
            kept = [
                i
                for i, item in enumerate(request.items)
                if item.visit_id not in done
                and spoiled[item.visit_id] < ATTEMPTS
                and (self.run or (request.kind, request.keys[i]) not in failed)
            ]
            if kept:
                items = tuple(request.items[i] for i in kept)
                yield Request(request.policy, items, request.kind, tuple(request.keys[i] for i in kept))

    def _all(self, digest: str) -> Iterator[Request]:
        for number in range(self.rounds):
            prefix = f"{self.start(digest)}/{number}"
            order = np.random.default_rng((self.seed, number)).permutation(len(self.units))
            units = [self.units[i] for i in order]
            unit_items = [Item(visit_id=f"{prefix}/{unit.key}", blocks=(unit.key,)) for unit in units]
            yield from self._requests("unit", unit_items, [unit.key for unit in units], number)
            network_items = [
                Item(
                    visit_id=f"{prefix}/{n.digest}",
                    name=n.name,
                    blocks=tuple(block.key for block in n.blocks),
                )
                for n in self.networks
            ]
            yield from self._requests("network", network_items, [n.digest for n in self.networks], number)

    def _requests(
        self, kind: ItemKind, items: Sequence[Item], keys: Sequence[str], number: int
    ) -> Iterator[Request]:
        for start in range(0, len(items), _AT_ONCE):
            policy = Policy(
                mode="energy",
                laps=0,
                warmup_laps=0,
                noops=0,
                seed=number,
                timeout_s=_TIMEOUT_S,
                energy=self.policy,
            )
            chosen = slice(start, start + _AT_ONCE)
            yield Request(policy, tuple(items[chosen]), kind, tuple(keys[chosen]))


def choose_spread(units: Sequence[Unit], count: int, latency_ms: FloatArray) -> list[Unit]:
    """Return units that spread over what decides a unit's power, those first that leave the largest holes.

    Farthest-point sampling, begun with the unit that takes longest; it chooses few alike, whatever the grid holds more of.

    Args:
        units: To choose from, each once.
        count: At most.
        latency_ms: Of each unit, shape `n`.
    """
    if not units:
        return []
    kinds = {signature: index for index, signature in enumerate(sorted({unit.signature for unit in units}))}
    sizes = np.log(
        np.array(
            [(unit.macs + 1, unit.weight_bytes + 1, ms) for unit, ms in zip(units, latency_ms, strict=True)]
        )
    )
    which = np.array([kinds[unit.signature] for unit in units])
    chosen = [int(np.argmax(latency_ms))]
    distance = np.full(len(units), np.inf)
    while len(chosen) < min(count, len(units)):
        last = chosen[-1]
        apart = np.abs(sizes - sizes[last]).max(axis=1) + _KIND * (which != which[last])
        distance = np.minimum(distance, apart)
        distance[chosen] = -1.0
        chosen.append(int(np.argmax(distance)))
    return [units[index] for index in chosen]
