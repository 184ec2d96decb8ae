"""A workspace: one store, one target, one space, and the predictors that follow from them."""

import io
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from chamnet.errors import ConfigError, NotProfiledError
from chamnet.lut import EFFORTS, LatencyTable, Plan, Platform, Store, calibration_networks, make_plan
from chamnet.machine import read_machine
from chamnet.networks import Network
from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.latency import LatencyPredictor
from chamnet.predictors.space_accuracy import SpaceAccuracy
from chamnet.space import CostTables, SearchSpace, UnitGrid, load_space, unit_grid
from chamnet.units import Granularity
from chamnet_host.client import DeviceClient
from chamnet_host.profiles import DeviceProfile, find_profile
from chamnet_host.reach import connect

__all__ = ["Workspace"]

_TABLES_VERSION = 1  # of the cached link tables


class Workspace:
    """A store seen from one target and one space.

    Attributes:
        store: The workspace.
        device: Profile of the target.
        space: The search space.
        seed: Of everything random.
        recipe: Training recipe that accuracies are predicted for; None for the predictor's default.
    """

    def __init__(
        self, store: Store, device: DeviceProfile, space: SearchSpace, *, seed: int, recipe: str | None
    ) -> None:
        self.store = store
        self.device = device
        self.space = space
        self.seed = seed
        self.recipe = recipe

    @classmethod
    def open(
        cls,
        db: str | Path = "chamnet.db",
        *,
        target: str | None = None,
        space: str = "chamnet-mobile",
        profiles: Path | None = None,
        seed: int = 0,
        recipe: str | None = None,
        create: bool = True,
    ) -> Self:
        """Open a workspace.

        Args:
            db: The store.
            target: Profile name or `HOST:PORT`; None: the last profiled one, else `local`.
            space: Name of a shipped space, or a TOML file.
            profiles: Folder of device profiles looked through first.
            seed: Of everything random.
            recipe: Training recipe that accuracies are predicted for; None for the predictor's default.
            create: Whether to make the store where there is none.

        Raises:
            ConfigError: Unknown target or space.
            StoreError: The store cannot be opened.
        """
        loaded = load_space(space)
        if not create and not Path(db).exists():
            raise NotProfiledError(f"{db}: nothing was profiled yet; run `chamnet-host profile` first")
        store = Store.open(Path(db), create=create)
        try:
            device = _device(store, target or store.get("last_target") or "local", profiles)
        except BaseException:
            store.close()
            raise
        return cls(store, device, loaded, seed=seed, recipe=recipe)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the store."""
        self.store.close()

    def connect(self) -> AbstractContextManager[DeviceClient]:
        """Open a connection to the target's agent, starting one on this machine if need be.

        Raises:
            DeviceError: No agent can be reached or started.
            TokenError: It refuses the token.
        """
        return connect(self.device)

    def plan(self, effort: str, granularity: Granularity) -> Plan:
        """Return what an effort measures.

        Raises:
            ConfigError: Unknown effort.
        """
        if effort not in EFFORTS:
            raise ConfigError(f"unknown effort {effort!r}; known: {', '.join(EFFORTS)}")
        return make_plan(self.grid(granularity), EFFORTS[effort], seed=self.seed)

    def remember(self, platform: Platform, granularity: Granularity | None = None) -> int:
        """Make a platform the target's table, and the target the workspace's last one; return the table's id."""
        lut_id = self.store.add_platform(platform)
        self.store.put(f"table:{self.device.name}", platform.digest)
        self.store.put("last_target", self.device.name)
        if granularity:
            self.store.put(f"granularity:{platform.digest}:{self.space.name}", granularity)
        return lut_id

    @cached_property
    def measured(self) -> tuple[int, Platform]:
        """Id and platform of the target's table.

        Raises:
            NotProfiledError: The target was never profiled.
        """
        name, store = self.device.name, self.store
        hint = f"run `chamnet-host profile --target {name}` first (about a minute)"
        digest = store.get(f"table:{name}")
        held = {platform.digest: (lut_id, platform) for lut_id, platform in store.platforms().items()}
        if digest not in held:
            raise NotProfiledError(f"target {name!r} has not been profiled in {store.path}; {hint}")
        lut_id, platform = held[digest]
        if self.device.transport == "local" and platform.device != read_machine().identity:
            raise NotProfiledError(
                f"the table of {name!r} in {store.path} was measured on another machine ({platform.device_name});"
                f" {hint}, or carry that table under a name of its own (`lut export`, `lut import --as`)"
            )
        return lut_id, platform

    def forget_table(self) -> None:
        """Read the table anew when it is next asked for: something was measured."""
        for name in ("measured", "table", "latency", "cost_tables", "space_accuracy"):
            self.__dict__.pop(name, None)

    @property
    def granularity(self) -> Granularity:
        """Granularity the target was last profiled at in this space."""
        key = f"granularity:{self.measured[1].digest}:{self.space.name}"
        return "op" if self.store.get(key) == "op" else "block"

    @cached_property
    def table(self) -> LatencyTable:
        """The target's measured rows."""
        return LatencyTable.load(self.store, self.measured[0])

    @cached_property
    def calibration(self) -> tuple[Network, ...]:
        """The networks that latency is calibrated on."""
        return calibration_networks(self.space, seed=self.seed)

    @cached_property
    def latency(self) -> LatencyPredictor:
        """Latency predictor of the target."""
        return LatencyPredictor.fit(self.table, self.calibration, self.granularity)

    @cached_property
    def accuracy(self) -> AccuracyPredictor:
        """The shipped accuracy predictor."""
        return AccuracyPredictor.load()

    @cached_property
    def space_accuracy(self) -> SpaceAccuracy:
        """Accuracy predictor of the space's genomes."""
        return self.accuracy.for_space(self.space, self.cost_tables["macs"], self.recipe)

    def grid(self, granularity: Granularity) -> UnitGrid:
        """Return the units of the space."""
        if granularity not in self._grids:
            self._grids[granularity] = unit_grid(self.space, granularity)
        return self._grids[granularity]

    @cached_property
    def _grids(self) -> dict[Granularity, UnitGrid]:
        return {}

    @cached_property
    def cost_tables(self) -> dict[str, CostTables]:
        """Link tables of latency (ms), MACs, params and weight bytes; kept in the store once computed."""
        lut_id, platform = self.measured
        kind = f"tables:{platform.digest}:{self.space.digest}:"
        state = self.store.state(lut_id, [network.digest for network in self.calibration])
        key = f"{kind}{_TABLES_VERSION}:{self.granularity}:{self.seed}:{state}"
        if (held := self.store.cached(key)) is not None:
            return _unpack(held, self.space)
        grid = self.grid(self.granularity)
        tables = {
            "latency_ms": self.latency.tables(grid),
            "macs": grid.tables([unit.macs for unit in grid.units]),
            "params": grid.tables([unit.params for unit in grid.units]),
            "weight_bytes": grid.tables([unit.weight_bytes for unit in grid.units]),
        }
        self.store.cache(key, _pack(tables), replaces=kind)
        return tables


def _device(store: Store, target: str, profiles: Path | None) -> DeviceProfile:
    """Return the profile of a target, or that of an imported table."""
    try:
        return find_profile(target, profiles)
    except ConfigError:
        if store.get(f"table:{target}") is None:
            raise
        return DeviceProfile(name=target, transport="absent")


def _pack(tables: dict[str, CostTables]) -> bytes:
    arrays = {f"{name}.{i}": part for name, t in tables.items() for i, part in enumerate(t.tables)}
    axes = json.dumps(next(iter(tables.values())).axes)
    file = io.BytesIO()
    np.savez(file, axes=np.frombuffer(axes.encode(), dtype=np.uint8), allow_pickle=False, **arrays)
    return file.getvalue()


def _unpack(data: bytes, space: SearchSpace) -> dict[str, CostTables]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        axes: Sequence[Sequence[int]] = json.loads(arrays["axes"].tobytes())
        names = dict.fromkeys(name.rpartition(".")[0] for name in arrays.files if name != "axes")
        return {
            name: CostTables(
                space, tuple(map(tuple, axes)), tuple(arrays[f"{name}.{i}"] for i in range(len(axes)))
            )
            for name in names
        }
