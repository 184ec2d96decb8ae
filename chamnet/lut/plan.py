"""What to measure, in which order, and what of it is still missing.

A plan is a function of (grid, effort, seed): the same on every run, so that a run continues where the last
one ended. Units are measured in rings of different units of one resolution class, recomposed in each pass;
whole networks for the calibration are visited in between.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chamnet.lut.interpolation import unit_features
from chamnet.lut.store import ItemKind
from chamnet.networks import Network
from chamnet.records import Item, Policy
from chamnet.space import SearchSpace, UnitGrid
from chamnet.units import Unit

__all__ = ["EFFORTS", "Effort", "Plan", "Request", "calibration_networks", "make_plan"]

_RING = 60  # different units, so that each finds the caches as in a network
_NETWORK_LAPS = 8
_NETWORKS = 10  # measured whole for the calibration
_POOL = 40  # networks of each size class to choose them from


@dataclass(frozen=True, slots=True)
class Effort:
    """How much to measure.

    Attributes:
        units: Units of the grid to measure; None for all.
        visits: Visits of each unit, spread over as many passes.
        network_visits: Visits of each network.
    """

    units: int | None
    visits: int
    network_visits: int


EFFORTS: Mapping[str, Effort] = {
    "quick": Effort(units=700, visits=4, network_visits=12),
    "normal": Effort(units=3_000, visits=8, network_visits=24),
    "full": Effort(units=None, visits=8, network_visits=24),
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


@dataclass(frozen=True)
class Plan:
    """Units and networks to visit, pass by pass.

    Attributes:
        units: Units to measure.
        networks: Networks to measure whole.
        effort: How often.
        seed: Of ring composition and order.
    """

    units: tuple[Unit, ...]
    networks: tuple[Network, ...]
    effort: Effort
    seed: int

    def visit_ids(self, digest: str) -> set[str]:
        """Return the ids of every visit the plan asks for, on the platform of that digest."""
        units = {
            _visit_id(digest, "unit", u.key, "ring", n) for u in self.units for n in range(self.effort.visits)
        }
        passes = range(self.effort.network_visits)
        return units | {
            _visit_id(digest, "network", k.digest, "loop", n) for k in self.networks for n in passes
        }

    def requests(
        self, digest: str, done: Collection[str], failed: Collection[tuple[ItemKind, str]]
    ) -> Iterator[Request]:
        """Yield what is missing, in order: rings of units, with networks visited in between.

        Args:
            digest: Of the platform; starts every visit's id.
            done: Ids of visits already stored.
            failed: Items the device cannot run; not asked again.
        """
        for number in range(self.effort.visits):
            rings = list(self._rings(number, digest, done, failed))
            loops = list(self._loops(number, digest, done, failed))
            order = np.linspace(0, max(len(rings) - 1, 0), num=len(loops)).round().astype(int).tolist()
            for position, ring in enumerate(rings):
                yield ring
                yield from (loop for at, loop in zip(order, loops, strict=True) if at == position)
            if not rings:
                yield from loops

    def _rings(
        self, number: int, digest: str, done: Collection[str], failed: Collection[tuple[ItemKind, str]]
    ) -> Iterator[Request]:
        rng = np.random.default_rng((self.seed, number))
        shuffled = [self.units[i] for i in rng.permutation(len(self.units))]
        classes: dict[int, list[Item]] = {}
        for unit in shuffled:
            visit_id = _visit_id(digest, "unit", unit.key, "ring", number)
            if visit_id not in done and ("unit", unit.key) not in failed:
                item = Item(visit_id=visit_id, blocks=(unit.key,))
                classes.setdefault(_resolution_class(unit), []).append(item)
        for _, items in sorted(classes.items()):
            count = -(-len(items) // _RING)
            for part in np.array_split(np.arange(len(items)), count):
                chosen = tuple(items[i] for i in part)
                policy = Policy(mode="ring", seed=int(rng.integers(2**31)))
                yield Request(policy, chosen, "unit", tuple(item.blocks[0] for item in chosen))

    def _loops(
        self, number: int, digest: str, done: Collection[str], failed: Collection[tuple[ItemKind, str]]
    ) -> Iterator[Request]:
        per_pass = range(number, self.effort.network_visits, self.effort.visits)
        for visit in per_pass:
            wanted = [network for network in self.networks if ("network", network.digest) not in failed]
            missing = [n for n in wanted if _visit_id(digest, "network", n.digest, "loop", visit) not in done]
            if missing:
                yield _network_request(missing, digest, visit, seed=self.seed)


def _network_request(networks: Sequence[Network], digest: str, visit: int, *, seed: int = 0) -> Request:
    """Return one visit of each network, alone in a loop."""
    items = tuple(
        Item(
            visit_id=_visit_id(digest, "network", network.digest, "loop", visit),
            name=network.name,
            blocks=tuple(block.key for block in network.blocks),
        )
        for network in networks
    )
    policy = Policy(mode="loop", laps=_NETWORK_LAPS, warmup_laps=2, noops=0, seed=seed)
    return Request(policy, items, "network", tuple(network.digest for network in networks))


def make_plan(grid: UnitGrid, effort: Effort, *, seed: int = 0) -> Plan:
    """Choose the units and networks to measure: units that fill their groups' space, networks of all sizes."""
    chosen = range(len(grid.units)) if effort.units is None else _fill_space(grid.units, effort.units, seed)
    return Plan(
        tuple(grid.units[i] for i in chosen), calibration_networks(grid.space, seed=seed), effort, seed
    )


def _fill_space(units: Sequence[Unit], count: int, seed: int) -> list[int]:
    """Return units spread over each group, the groups' shares growing with the root of their sizes."""
    members: dict[str, list[int]] = {}
    for i, unit in enumerate(units):
        members.setdefault(unit.signature, []).append(i)
    roots = {signature: len(rows) ** 0.5 for signature, rows in members.items()}
    chosen: list[int] = []
    for signature, rows in members.items():
        quota = max(12, round(count * roots[signature] / sum(roots.values())))
        features = unit_features([units[i] for i in rows])
        chosen += [rows[i] for i in _farthest(features, min(quota, len(rows)), seed)]
    return chosen


def _farthest(features: np.ndarray, count: int, seed: int) -> list[int]:
    """Return `count` rows, each the farthest from those before it (Gonzalez 1985), from a random one on."""
    spread = features.std(axis=0)
    x = features / np.where(spread > 1e-9, spread, np.inf)
    picked = [int(np.random.default_rng(seed).integers(len(x)))]
    distance = ((x - x[picked[0]]) ** 2).sum(axis=1)
    while len(picked) < count:
        picked.append(int(distance.argmax()))
        distance = np.minimum(distance, ((x - x[picked[-1]]) ** 2).sum(axis=1))
    return picked


def calibration_networks(space: SearchSpace, *, seed: int = 0) -> tuple[Network, ...]:
    """Return the networks to measure whole, evenly spread in log MACs between the space's extremes.

    Random genomes crowd in the middle, so the pool also holds element-wise minima and maxima of several.
    """
    rng = np.random.default_rng(seed)
    draws = [space.sample(_POOL, rng) for _ in range(3)]
    small, large = np.minimum.reduce(draws), np.maximum.reduce(draws)
    ends = [space.extreme(largest=False), space.extreme(largest=True)]
    networks = [
        space.decode(genome) for genome in (*ends, *space.genomes(np.concatenate([small, draws[0], large])))
    ]
    log_macs = np.log([network.macs for network in networks])
    wanted = np.linspace(log_macs.min(), log_macs.max(), num=_NETWORKS)
    nearest = dict.fromkeys(int(np.abs(log_macs - target).argmin()) for target in wanted)
    return tuple(networks[i] for i in nearest)


def _resolution_class(unit: Unit) -> int:
    """Return the odd part of the height: 7 for networks at 224, 3 at 192 and 96, 5 at 160, 1 at 128."""
    height = unit.in_shape[2]
    return height // (height & -height)


def _visit_id(digest: str, kind: ItemKind, key: str, mode: str, number: int) -> str:
    item = hashlib.sha256(f"{kind} {key}".encode()).hexdigest()[:16]
    return f"{digest}/{item}/{mode}/{number}"
