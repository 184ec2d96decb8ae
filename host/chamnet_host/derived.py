"""What follows from measurements and takes seconds to compute: kept in the store until something it stands on changes."""

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from chamnet.predictors.energy import EnergyPredictor
from chamnet.predictors.features import Structure
from chamnet.predictors.latency import LatencyPredictor
from chamnet.space import CostTables, SearchSpace

if TYPE_CHECKING:
    from chamnet_host.workspace import Workspace

__all__ = ["kept_energy", "kept_energy_table", "kept_latency", "kept_tables"]

_VERSION = 12  # of what is kept
_ENERGY_VERSION = 2  # of what is kept of energy


def kept_latency(workspace: "Workspace") -> LatencyPredictor:
    """Return the latency predictor of a workspace's target, fitting and keeping it where it is new.

    Raises:
        NotProfiledError: The target was never profiled.
    """
    kind, key = _key(workspace, "latency")
    if (held := workspace.store.cached(key)) is not None:
        return LatencyPredictor.unpack(_arrays(held))
    predictor = LatencyPredictor.fit(workspace.table, workspace.calibration, workspace.granularity)
    workspace.store.cache(key, _bytes(predictor.pack()), replaces=kind)
    return predictor


def kept_tables(workspace: "Workspace") -> dict[str, CostTables]:
    """Return the link tables of latency (ms), MACs, params, weight bytes and number of units, making and keeping them where new."""
    kind, key = _key(workspace, "tables")
    if (held := workspace.store.cached(key)) is not None:
        return _unpack_tables(_arrays(held), workspace.space)
    grid = workspace.grid(workspace.granularity)
    tables = {
        "latency_ms": workspace.latency.tables(grid),
        "macs": grid.macs,
        "params": grid.tables([unit.params for unit in grid.units]),
        "weight_bytes": grid.tables([unit.weight_bytes for unit in grid.units]),
        "units": grid.tables(np.ones(len(grid.units))),
    }
    workspace.store.cache(key, _bytes(_pack_tables(tables)), replaces=kind)
    return tables


def kept_energy(workspace: "Workspace") -> EnergyPredictor:
    """Return the energy predictor of a workspace's target, fitting and keeping it where it is new.

    Raises:
        NotProfiledError: No energy was measured, or all of it is below the noise.
    """
    kind, key = _energy_key(workspace, "energy")
    if (held := workspace.store.cached(key)) is not None:
        return EnergyPredictor.unpack(_arrays(held), workspace.latency)
    predictor = EnergyPredictor.fit(
        workspace.energy_table,
        workspace.latency,
        workspace.energy_networks,
        Structure.of(workspace.space),
    )
    workspace.store.cache(key, _bytes(predictor.pack()), replaces=kind)
    return predictor


def kept_energy_table(workspace: "Workspace", energy: EnergyPredictor) -> CostTables:
    """Return the link tables of energy in mJ, making and keeping them where they are new."""
    kind, key = _energy_key(workspace, "energy-tables")
    if (held := workspace.store.cached(key)) is not None:
        return _unpack_tables(_arrays(held), workspace.space)["energy_mj"]
    table = energy.tables(workspace.grid(workspace.granularity))
    workspace.store.cache(key, _bytes(_pack_tables({"energy_mj": table})), replaces=kind)
    return table


def _energy_key(workspace: "Workspace", what: str) -> tuple[str, str]:
    kind, key = _key(workspace, what)
    state = workspace.store.energy_state(workspace.measured[0])
    return kind, f"{key}:{_ENERGY_VERSION}:{state}:{workspace.energy_table.metered_by}"


def _key(workspace: "Workspace", what: str) -> tuple[str, str]:
    """Return where something derived is kept, and what older ones' places begin with."""
    lut_id, platform = workspace.measured
    kind = f"{what}:{platform.digest}:{workspace.space.digest}:"
    state = workspace.store.state(lut_id, [network.digest for network in workspace.calibration])
    return kind, f"{kind}{_VERSION}:{workspace.granularity}:{workspace.seed}:{state}"


def _pack_tables(tables: dict[str, CostTables]) -> dict[str, npt.NDArray[np.generic]]:
    arrays: dict[str, npt.NDArray[np.generic]] = {
        f"{name}.{i}": part for name, t in tables.items() for i, part in enumerate(t.tables)
    }
    axes = json.dumps(next(iter(tables.values())).axes)
    return arrays | {"axes": np.frombuffer(axes.encode(), dtype=np.uint8)}


def _unpack_tables(arrays: dict[str, npt.NDArray[np.generic]], space: SearchSpace) -> dict[str, CostTables]:
    axes = tuple(map(tuple, json.loads(arrays["axes"].tobytes())))
    names = dict.fromkeys(name.rpartition(".")[0] for name in arrays if name != "axes")
    return {
        name: CostTables(
            space, axes, tuple(np.asarray(arrays[f"{name}.{i}"], dtype=np.float64) for i in range(len(axes)))
        )
        for name in names
    }


def _bytes(arrays: dict[str, npt.NDArray[np.generic]]) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def _arrays(data: bytes) -> dict[str, npt.NDArray[np.generic]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
