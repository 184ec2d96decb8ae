"""Batches of a plan, each chosen once, kept, and measured before the next one is chosen."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from chamnet.errors import ConfigError
from chamnet.lut import EFFORTS, Batch, Effort, Platform
from chamnet.lut.walks import choose_covering, choose_doubtful, choose_first
from chamnet.networks import Network
from chamnet.ops import DType
from chamnet.space import Levels
from chamnet.units import Granularity
from chamnet_host.workspace import Workspace

__all__ = ["batches", "default_granularity", "find_effort", "fitted_effort", "walks_through"]

_COVERS_FROM = 5  # the batch from which a full effort covers the grid; before, it is a normal one
_VISITS_OF_GIVEN = 3  # walks through each network that was named
_CANNOT_WALK = ("native-tool",)  # backends that start a program for each unit
_USUAL_WALKS = EFFORTS["normal"].walks or 1


def find_effort(name: str) -> Effort:
    """Return an effort by name.

    Raises:
        ConfigError: Unknown effort.
    """
    if name not in EFFORTS:
        raise ConfigError(f"unknown effort {name!r}; known: {', '.join(EFFORTS)}")
    return EFFORTS[name]


def fitted_effort(effort: Effort, units: int) -> Effort:
    """Return an effort for a grid of so many units: one walk for each is enough, since each holds some twenty.

    Only a space that is small has fewer units than an effort has walks.
    """
    return replace(effort, walks=min(effort.walks, units)) if effort.walks else effort


def default_granularity(backend: str, dtype: DType) -> Granularity:
    """Return what a row times on a backend, by measured error (docs/accuracy-of-latency.md)."""
    return "op"


def batches(
    workspace: Workspace,
    effort: Effort,
    platform: Platform,
    granularity: Granularity,
    *,
    budgets_ms: Sequence[float] = (),
    session: int = 0,
) -> Iterator[Batch]:
    """Yield the batches of an effort; each must have been measured before the next one is asked for.

    Args:
        workspace: Gives space, store and what was measured so far.
        effort: How much to measure.
        platform: What it is measured on.
        granularity: Of the units.
        budgets_ms: Latencies near which predictions matter most.
        session: Of the calibration.
    """
    effort = fitted_effort(effort, len(workspace.grid(granularity).units))
    done = 0
    for number, count in enumerate(effort.batches()):
        levels = _walks(workspace, effort, platform, granularity, number, count, budgets_ms)
        if not len(levels):
            return
        walks = effort.walks or _USUAL_WALKS
        first, last = (round(effort.network_visits * min(at / walks, 1.0)) for at in (done, done + count))
        yield Batch(
            number=number,
            walks=tuple(workspace.space.decode(genome) for genome in workspace.space.genomes(levels)),
            granularity=granularity,
            laps=effort.laps,
            networks=workspace.calibration,
            rounds=tuple(range(first, last)),
            session=session,
            alone=platform.backend in _CANNOT_WALK,
        )
        done += count


def walks_through(
    networks: Sequence[Network], platform: Platform, granularity: Granularity
) -> Iterator[Batch]:
    """Yield batches that walk through given networks, such as baselines that lie outside the space."""
    for number in range(_VISITS_OF_GIVEN if networks else 0):
        yield Batch(
            number=-1 - number,
            walks=tuple(networks),
            granularity=granularity,
            laps=EFFORTS["quick"].laps,
            alone=platform.backend in _CANNOT_WALK,
        )


def _walks(
    workspace: Workspace,
    effort: Effort,
    platform: Platform,
    granularity: Granularity,
    number: int,
    count: int,
    budgets_ms: Sequence[float],
) -> Levels:
    """Return the walks of a batch: those kept from an earlier run, or new ones, which are kept."""
    near = ",".join(f"{budget_ms:.6g}" for budget_ms in sorted(budgets_ms)) if number else ""
    covering = effort.walks is None and number >= _COVERS_FROM
    how = "covering" if covering else near
    key = f"walks:{platform.digest}:{workspace.space.digest}:{granularity}:{workspace.seed}:{how}:{number}:{count}"
    if (held := workspace.store.get(key)) is not None:
        return np.array(json.loads(held), dtype=np.int32).reshape(-1, len(workspace.space.decisions))
    levels = _choose(workspace, granularity, number, count, budgets_ms, covering)
    workspace.store.put(key, json.dumps(levels.tolist()))
    return levels


def _choose(
    workspace: Workspace,
    granularity: Granularity,
    number: int,
    count: int,
    budgets_ms: Sequence[float],
    covering: bool,
) -> Levels:
    grid, macs = workspace.grid(granularity), workspace.macs
    rng = np.random.default_rng((workspace.seed, number))
    if number == 0:
        return choose_first(grid, macs, count, rng)
    workspace.forget_table()
    if covering:
        rows, failed = workspace.table.units, workspace.store.failed_items(workspace.measured[0])
        given_up = {key for kind, key in failed if kind == "unit"}  # else the walks to them never end
        visits = np.array([u.key in rows or u.key in given_up for u in grid.units], dtype=np.int64)
        return choose_covering(grid, visits, count, rng)
    rows_ms, deviation, _ = workspace.latency.rows_ms(grid.units)
    cost_ms = workspace.latency.costs_ms(grid.units, rows_ms)
    return choose_doubtful(
        grid, macs, count, rng, cost_ms=cost_ms, deviation=deviation, budgets_ms=budgets_ms
    )
