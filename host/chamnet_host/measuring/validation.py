"""How far off predicted latencies are: fresh networks measured whole, beside predictions and naive tables.

Nothing that is judged was fitted to: not the calibration networks, nor those whose units were walked through. Networks
take turns over many short visits, so that drift hits all alike and their own noise can be told. Every visit is stored;
the same seed continues where a run was stopped.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from chamnet.errors import ConfigError, DeviceError
from chamnet.lut import Platform, Request, loop_request
from chamnet.lut.regimes import Observed, Regimes
from chamnet.lut.store import ItemKind
from chamnet.lut.table import visit_ms
from chamnet.networks import Network
from chamnet.predictors.latency import LatencyPrediction
from chamnet.predictors.verdict import Judged, Known
from chamnet.records import Item, Policy, Visit
from chamnet.space import spread_sizes
from chamnet.units import Granularity
from chamnet_host.devices.reach import KeptConnection
from chamnet_host.devices.serials import serial_of
from chamnet_host.workspace import Workspace

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["Validation", "draw_networks", "validate"]

SMALLEST_MACS, LARGEST_MACS = 20e6, 700e6  # of the random networks
_NETWORKS_AT_ONCE = 20  # in a request
_ISOLATED_AT_ONCE = 200
_ISOLATED_VISITS = 2
_ISOLATED = Policy(mode="loop", laps=6, warmup_laps=1, noops=0, isolated=True)
_NAIVE: Mapping[str, Granularity] = {"isolated operators": "op", "isolated blocks": "block"}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Networks judged, and what baselines may be fitted to.

    Attributes:
        judged: Random networks first, then the published ones.
        known: The calibration networks.
        seed: That the random networks were drawn with.
        platform: What was measured on; another than the table's where a mismatch was allowed.
    """

    judged: tuple[Judged, ...]
    known: tuple[Known, ...]
    seed: int
    platform: Platform


def draw_networks(workspace: Workspace, count: int, seed: int) -> list[Network]:
    """Return random networks, log-uniform in 20 to 700 MMACs, none of which anything was fitted to.

    Raises:
        ConfigError: The space holds too few of that size.
    """
    rng = np.random.default_rng((seed, 1))
    levels = spread_sizes(
        workspace.space,
        workspace.macs,
        count + len(workspace.calibration),
        rng,
        low=SMALLEST_MACS,
        high=LARGEST_MACS,
    )
    used = {network.digest for network in workspace.calibration} | workspace.walked
    networks = [workspace.space.decode(genome) for genome in workspace.space.genomes(levels)]
    fresh = [network for network in networks if network.digest not in used]
    if len(fresh) < count:
        raise ConfigError(
            f"space {workspace.space.name}: {len(fresh)} networks of 20 to 700 MMACs are fresh, not {count}; ask for fewer"
            " with --networks"
        )
    chosen = np.sort(rng.permutation(len(fresh))[:count])
    return [fresh[i] for i in chosen]


def validate(
    workspace: Workspace,
    groups: Mapping[str, Sequence[Network]],
    *,
    seed: int,
    visits: int,
    naive: bool = True,
    recalibrate: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Validation:
    """Measure networks whole, and judge what was predicted for them before.

    Args:
        workspace: A profiled target.
        groups: Networks by where they come from; such that the backend cannot run are left out.
        seed: Names the run; the same one continues it.
        visits: Of each network, eight runs each.
        naive: Whether to measure isolated operators and blocks too, for the baselines.
        recalibrate: Whether to visit the calibration networks in turn with the others, and predict (and fit baselines)
            with what they took now, instead of when the target was profiled.
        progress: Called with what is measured, how much of it is done, and how much there is.

    Raises:
        NotProfiledError: The target was never profiled.
        ConfigError: The runtime has another version than the table.
        DeviceError: The agent was lost; what was measured is stored.
    """
    networks = [network for group in groups.values() for network in group]
    known = _known(workspace)
    with KeptConnection(workspace.connect_measured) as connect:
        with connect() as client:
            platform = workspace.platform_measured(client)
            run = _Run(workspace, platform, seed, progress)
            truth = run.whole(client, [*networks, *(workspace.calibration if recalibrate else ())], visits)
        kept = [network for network in networks if network.digest in truth]
        sums_ms: dict[str, dict[str, float]] = {}
        if naive:
            with connect() as client:
                sums_ms = run.naive_sums(client, [*kept, *workspace.calibration])
    if recalibrate:
        known = {n: median(truth[n.digest]) for n in workspace.calibration if n.digest in truth}
    predictor = workspace.latency.recalibrated(known) if recalibrate else workspace.latency
    group_of = {network.digest: name for name, group in groups.items() for network in group}
    judged = [
        _judged(n, group_of[n.digest], truth[n.digest], predictor.predict(n), sums_ms.get(n.digest, {}))
        for n in kept
    ]
    priced = tuple(
        Known(
            macs=network.macs,
            weight_bytes=network.weight_bytes,
            measured_ms=measured_ms,
            sums_ms=sums_ms.get(network.digest, {}),
        )
        for network, measured_ms in known.items()
    )
    return Validation(judged=tuple(judged), known=priced, seed=seed, platform=platform)


def _judged(
    network: Network,
    group: str,
    visits_ms: Sequence[float],
    latency: LatencyPrediction,
    sums_ms: Mapping[str, float],
) -> Judged:
    return Judged(
        name=network.name,
        group=group,
        macs=network.macs,
        weight_bytes=network.weight_bytes,
        visits_ms=tuple(visits_ms),
        predicted_ms=latency.value,
        low_ms=latency.low,
        high_ms=latency.high,
        coverage=latency.coverage,
        sums_ms=sums_ms,
    )


def _known(workspace: Workspace) -> dict[Network, float]:
    """Return the calibration networks with their latencies in ms, as stored."""
    rows = workspace.network_rows
    return {n: rows[n.digest].latency_ms for n in workspace.calibration if n.digest in rows}


class _Run:
    """Measures what is not stored yet of one validation."""

    def __init__(self, workspace: Workspace, platform: Platform, seed: int, progress: Progress) -> None:
        self._workspace = workspace
        self._lut_id, self._platform = workspace.store.add_platform(platform), platform
        self._seed = seed
        self._progress = progress

    def whole(
        self, client: "DeviceClient", networks: Sequence[Network], visits: int
    ) -> dict[str, tuple[float, ...]]:
        """Return the visits of each network in ms, in the order they were made."""
        prefix = f"{self._platform.digest}/validate/{self._seed}"
        rng = np.random.default_rng(self._seed)
        requests = []
        for number in range(visits):
            order = [networks[i] for i in rng.permutation(len(networks))]
            for start in range(0, len(order), _NETWORKS_AT_ONCE):
                requests.append(loop_request(order[start : start + _NETWORKS_AT_ONCE], f"{prefix}/{number}"))
        self._measure(client, requests, "network", "networks measured whole")
        wanted = {item.visit_id for request in requests for item in request.items}
        made = [
            stored
            for stored in self._workspace.store.visits(self._lut_id, "network")
            if stored.visit.visit_id in wanted and stored.visit.samples_ns
        ]
        observed = (
            Observed("network", each.key, each.mode, visit_ms(each.visit), each.visit.conditions)
            for each in made
        )
        regimes = Regimes.fit(observed, self._workspace.latency.regimes.reference)
        taken: dict[str, list[float]] = {}
        for each in made:
            at_usual_speed = regimes.factor("network", each.key, each.mode, each.visit.conditions)
            taken.setdefault(each.key, []).append(visit_ms(each.visit) * at_usual_speed)
        return {digest: tuple(visits_ms) for digest, visits_ms in taken.items() if len(visits_ms) > 1}

    def naive_sums(self, client: "DeviceClient", networks: Sequence[Network]) -> dict[str, dict[str, float]]:
        """Return, by network, what naive tables sum up to: every unit a file of its own, alone in a hot loop."""
        units = {u.key for n in networks for g in _NAIVE.values() for u in n.units(g)}
        keys = sorted(units)
        requests = []
        for number in range(_ISOLATED_VISITS):
            for start in range(0, len(keys), _ISOLATED_AT_ONCE):
                part = tuple(keys[start : start + _ISOLATED_AT_ONCE])
                items = tuple(Item(visit_id=self._isolated_id(k, number), blocks=(k,)) for k in part)
                requests.append(Request(_ISOLATED, items, "isolated", part))
        self._measure(client, requests, "isolated", "units in isolation")
        visits: dict[str, list[float]] = {}
        regimes = self._workspace.latency.regimes
        for stored in self._workspace.store.visits(self._lut_id, "isolated"):
            if stored.visit.samples_ns:
                at_usual_speed = regimes.factor("isolated", stored.key, stored.mode, stored.visit.conditions)
                visits.setdefault(stored.key, []).append(visit_ms(stored.visit) * at_usual_speed)
        rows_ms = {key: median(made) for key, made in visits.items()}
        return {network.digest: dict(_sums(network, rows_ms)) for network in networks}

    def _isolated_id(self, key: str, number: int) -> str:
        return f"{self._platform.digest}/isolated/{hashlib.sha256(key.encode()).hexdigest()[:16]}/{number}"

    def _measure(
        self, client: "DeviceClient", requests: Sequence[Request], kind: ItemKind, what: str
    ) -> None:
        store, lut_id = self._workspace.store, self._lut_id
        done, failed = store.visit_ids(lut_id), store.failed_items(lut_id)
        total = sum(len(request.items) for request in requests)
        made = 0
        for request in requests:
            open_items = [
                (item, key)
                for item, key in zip(request.items, request.keys, strict=True)
                if item.visit_id not in done and (kind, key) not in failed
            ]
            made += len(request.items) - len(open_items)
            if not open_items:
                continue
            by_id = {item.visit_id: (item, key) for item, key in open_items}
            items = [item for item, _ in open_items]
            for visit in client.measure(items, request.policy, backend=self._platform.backend):
                self._keep(kind, *by_id[visit.visit_id], visit, request.policy)
                made += 1
                self._progress(what, made, total)

    def _keep(self, kind: ItemKind, item: Item, key: str, visit: Visit, policy: Policy) -> None:
        about = {"name": item.name, "serial": serial_of(self._workspace.device)}
        self._workspace.store.append(self._lut_id, kind, key, policy.mode, visit, **about)
        if visit.status not in ("ok", "unsupported"):
            raise DeviceError(f"{item.name or key}: {visit.status} on the device: {visit.message}")


def _sums(network: Network, rows_ms: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yield the sum of each naive table that has all the units."""
    for name, granularity in _NAIVE.items():
        keys = [unit.key for unit in network.units(granularity)]
        if all(key in rows_ms for key in keys):
            yield name, sum(rows_ms[key] for key in keys)
