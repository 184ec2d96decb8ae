"""What to measure, in which order, and what of it is still missing.

A plan goes batch by batch. The walks of the first batch fill the space; those of later ones go where the predictions
of networks are most in doubt, so they depend on what was measured before. Whoever runs the plan keeps the walks of a
batch before it measures them, so that a run continues where the last one ended. Whole networks for the calibration
are visited in between.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chamnet.lut.store import ItemKind
from chamnet.networks import Network
from chamnet.records import Item, Policy
from chamnet.space import CostTables, SearchSpace, spread_sizes
from chamnet.units import Granularity

__all__ = ["EFFORTS", "NETWORK_POLICY", "Batch", "Effort", "Request", "calibration_networks", "loop_request"]

NETWORK_POLICY = Policy(mode="loop", laps=8, warmup_laps=2, noops=0, timeout_s=60.0)  # of one visit
_NETWORKS = 10  # measured whole for the calibration
_SMALLEST = (
    1 / 80
)  # of the largest network's MACs: 20 million in chamnet-mobile; what is smaller says little of the others
_FIRST_BATCH = 60  # walks; later batches double, so that what they learn from grows with what they cost
_NOOPS = 6  # empty models on a walk
_ANCHORS = 3  # visits of each network by every device in a batch that several share: the fewest with an error
_ALONE = Policy(
    mode="loop", laps=3, warmup_laps=0, noops=1
)  # each lap is a program that starts anew and warms up


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure.

    Attributes:
        walks: Walks through networks; None: until every unit of the grid has been visited.
        network_visits: Visits of each network measured whole.
        laps: Of a walk.
    """

    walks: int | None
    network_visits: int
    laps: int = 24

    def batches(self) -> Iterator[int]:
        """Yield the walks of each batch; without end where the grid decides.

        >>> list(EFFORTS["quick"].batches())
        [60, 60, 120]
        """
        done, size = 0, _FIRST_BATCH
        while self.walks is None or done < self.walks:
            count = size if self.walks is None else min(size, self.walks - done)
            yield count
            done += count
            size = done


EFFORTS: Mapping[str, Effort] = {
    "quick": Effort(walks=240, network_visits=16),
    "normal": Effort(walks=960, network_visits=40, laps=48),
    "full": Effort(walks=None, network_visits=40),
}


@dataclass(frozen=True)
class Request:
    """One `Measure` request: items with what each is.

    Attributes:
        policy: How to measure.
        items: What to measure.
        kind: Of all items.
        keys: Key of each item, as the store keeps it.
    """

    policy: Policy
    items: tuple[Item, ...]
    kind: ItemKind
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Walks, and visits of whole networks between them.

    Attributes:
        number: Of the batch in its plan.
        walks: Networks whose units are visited.
        granularity: Of the units.
        laps: Of a walk.
        networks: Measured whole.
        rounds: Numbers of the visits of each of them.
        session: Of the calibration; a new one measures the networks anew.
        alone: Whether the units of a walk are measured one by one, on a backend that cannot walk.
    """

    number: int
    walks: tuple[Network, ...]
    granularity: Granularity
    laps: int
    networks: tuple[Network, ...] = ()
    rounds: tuple[int, ...] = ()
    session: int = 0
    alone: bool = False

    is_energy = False

    def visit_ids(self, digest: str) -> set[str]:
        """Return the ids of every visit the batch asks for, on the platform of that digest."""
        return {item.visit_id for request in self._all(digest) for item in request.items}

    def requests(
        self, digest: str, done: Collection[str], failed: Collection[tuple[ItemKind, str]]
    ) -> Iterator[Request]:
        """Yield what is missing, in order.

        A walk of which anything is missing is made again from end to end, for a unit needs those before it, unless each is
        measured alone; what is stored already is dropped when it arrives.

        Args:
            digest: Of the platform; starts every visit's id.
            done: Ids of visits already stored.
            failed: Items the device cannot run; not asked again.
        """
        return _missing(self._all(digest), done, failed)

    def anchors(
        self, digest: str, serial: str, done: Collection[str], failed: Collection[tuple[ItemKind, str]]
    ) -> Iterator[Request]:
        """Yield what one of several devices that share the batch still has to measure beside it, to be compared.

        These are visits of the batch's networks, so that all devices have measured the same. They belong to the
        calibration's session and count in the table like its other visits.

        Args:
            digest: Of the platform.
            serial: Of the device.
            done: Ids of visits already stored.
            failed: Items the device cannot run; not asked again.
        """
        prefix = f"{digest}/whole/{self.session}/at/{serial}/{self.number}"
        asked = [loop_request(self.networks, f"{prefix}.{number}") for number in range(_ANCHORS)]
        return _missing(asked if self.networks else (), done, failed)

    def _all(self, digest: str) -> Iterator[Request]:
        due = np.linspace(0, max(len(self.walks) - 1, 0), num=len(self.rounds) + 2)[1:-1].round().tolist()
        for position, network in enumerate(self.walks):
            yield self._walk(network, digest)
            yield from self._loops(
                digest, [r for r, at in zip(self.rounds, due, strict=True) if at == position]
            )
        if not self.walks:
            yield from self._loops(digest, self.rounds)

    def _walk(self, network: Network, digest: str) -> Request:
        keys = tuple(unit.key for unit in network.units(self.granularity))
        walk = f"{digest}/walk/{self.number}/{self.granularity}/{network.digest}"
        items = tuple(Item(visit_id=f"{walk}/{i}", blocks=(key,)) for i, key in enumerate(keys))
        policy = _ALONE if self.alone else Policy(mode="ring", laps=self.laps, noops=_NOOPS)
        return Request(policy, items, "unit", keys)

    def _loops(self, digest: str, rounds: Sequence[int]) -> Iterator[Request]:
        for number in rounds:
            yield loop_request(self.networks, f"{digest}/whole/{self.session}/{number}")


def _missing(
    requests: Iterable[Request], done: Collection[str], failed: Collection[tuple[ItemKind, str]]
) -> Iterator[Request]:
    for request in requests:
        kept = [i for i, key in enumerate(request.keys) if (request.kind, key) not in failed]
        if all(request.items[i].visit_id in done for i in kept):
            continue
        if request.policy.mode == "loop":
            kept = [i for i in kept if request.items[i].visit_id not in done]
        items = tuple(request.items[i] for i in kept)
        yield Request(request.policy, items, request.kind, tuple(request.keys[i] for i in kept))


def loop_request(networks: Sequence[Network], prefix: str) -> Request:
    """Return one visit of each network, measured whole, alone in a loop; `prefix` starts the visits' ids."""
    items = tuple(
        Item(
            visit_id=f"{prefix}/{network.digest}",
            name=network.name,
            blocks=tuple(block.key for block in network.blocks),
        )
        for network in networks
    )
    return Request(NETWORK_POLICY, items, "network", tuple(network.digest for network in networks))


def calibration_networks(space: SearchSpace, macs: CostTables, *, seed: int = 0) -> tuple[Network, ...]:
    """Return the networks to measure whole, evenly spread in log MACs up to the largest of the space.

    Args:
        space: The space.
        macs: MACs of its networks.
        seed: Draws them.
    """
    rng = np.random.default_rng((seed, _seed_of("calibration")))
    low = float(macs.bounds()[1].max()) * _SMALLEST
    levels = spread_sizes(space, macs, _NETWORKS, rng, low=low)
    return tuple(space.decode(genome) for genome in space.genomes(levels))


def _seed_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
