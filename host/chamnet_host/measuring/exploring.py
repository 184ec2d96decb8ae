"""Which networks to measure whole for energy next: exploration only, as in the paper.

The first are those that latency is calibrated on, spread over all sizes. Each after them is the one whose energy the
predictor is least sure of once those before it are known.

References:
    [Dai2019] ChamNet: Towards Efficient Network Design through Platform-Aware Model Adaptation. CVPR 2019, section 3.3.
"""

import json
from collections.abc import Sequence

import numpy as np

from chamnet.errors import NotProfiledError
from chamnet.networks import Network
from chamnet.predictors.features import Structure
from chamnet.predictors.network_process import RESIDUAL, explore, prior_process
from chamnet.space import Levels, spread_sizes
from chamnet_host.workspace import Workspace

__all__ = ["choose_networks", "planned_networks"]

_POOL = 2_048
_SMALLEST = 1 / 80  # of the largest network's MACs, as of the networks that latency is calibrated on


def planned_networks(workspace: Workspace) -> list[Network]:
    """Return the networks to measure whole for energy: those that latency is calibrated on, and those chosen last.

    A run that was stopped, or is made again, asks for the same ones.
    """
    return list({n.digest: n for n in (*workspace.calibration, *_held(workspace))}.values())


def choose_networks(workspace: Workspace, count: int) -> list[Network]:
    """Choose, by what is measured now, what to measure next, and keep that for `planned_networks`.

    Args:
        workspace: Gives space, target and what was measured.
        count: How many; fewer where the space has fewer.
    """
    return _keep(workspace, _extended(workspace, count))


def _measured(workspace: Workspace) -> set[str]:
    try:
        return set(workspace.energy_table.networks)
    except NotProfiledError:
        return set()


def _extended(workspace: Workspace, count: int) -> list[Network]:
    measured = _measured(workspace)
    first = [network for network in workspace.calibration if network.digest not in measured][:count]
    return first + _explored(workspace, first, count - len(first)) if len(first) < count else first


def _explored(workspace: Workspace, chosen: Sequence[Network], count: int) -> list[Network]:
    """Return the networks of a pool that are most in doubt, once those chosen are known."""
    space, macs = workspace.space, workspace.macs
    rng = np.random.default_rng((workspace.seed, 1))
    pool = spread_sizes(space, macs, _POOL, rng, low=float(macs.bounds()[1].max()) * _SMALLEST)
    structure = Structure.of(space)
    measured = workspace.energy_networks if _measured(workspace) else ()
    inside = [n for n in (*measured, *chosen) if space.holds(n.architecture)]
    known = space.levels(space.genome(network.architecture) for network in inside)

    def numbers(levels: Levels) -> tuple[np.ndarray, np.ndarray]:
        return structure.scale(structure.values_of(space, levels)), np.log(macs.total(levels))

    features, log_macs = numbers(pool)
    predictor = workspace.energy if measured else None
    process = predictor.explorer if predictor else None
    if process is None:
        process = prior_process(*numbers(known if len(known) else pool[:1]), RESIDUAL)
    else:
        process = process.believing(*numbers(known), 0)
    seen = {row.tobytes() for row in known}
    taken = np.array([row.tobytes() in seen for row in pool], dtype=bool)
    rows = explore(process, features, log_macs, count, known=taken)
    return [space.decode(genome) for genome in space.genomes(pool[rows])]


def _held(workspace: Workspace) -> list[Network]:
    held = workspace.store.get(_key(workspace))
    return [workspace.space.decode(genome) for genome in json.loads(held)] if held else []


def _keep(workspace: Workspace, networks: list[Network]) -> list[Network]:
    space = workspace.space
    genomes = [space.genome(network.architecture) for network in networks]
    workspace.store.put(_key(workspace), json.dumps(genomes))
    return networks


def _key(workspace: Workspace) -> str:
    return f"energy_next:{workspace.measured[1].digest}:{workspace.space.digest}:{workspace.seed}"
