"""A workspace: one store, one target, one space, and the predictors that follow from them."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from chamnet.errors import ConfigError, NotProfiledError
from chamnet.lut import (
    EnergyTable,
    LatencyTable,
    MeteredBy,
    Platform,
    Row,
    Store,
    calibration_networks,
    metered_by,
)
from chamnet.machine import read_machine
from chamnet.networks import Network
from chamnet.ops import DType
from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.energy import EnergyPredictor
from chamnet.predictors.latency import LatencyPredictor
from chamnet.space import CostTables, SearchSpace, UnitGrid, load_space, unit_grid
from chamnet.units import Granularity, Unit
from chamnet_host.accuracies import load_predictor
from chamnet_host.derived import kept_energy, kept_energy_table, kept_latency, kept_tables
from chamnet_host.devices.reach import connect
from chamnet_host.devices.serials import serial_of, with_serial
from chamnet_host.metered import held_networks, no_energy
from chamnet_host.profiles import DeviceProfile, find_profile

if TYPE_CHECKING:
    from chamnet_host.client import DeviceClient

__all__ = ["Workspace"]


class Workspace:
    """A store seen from one target and one space.

    Attributes:
        store: The workspace.
        device: Profile of the target.
        space: The search space.
        seed: Of everything random.
        recipe: Training recipe that accuracies are predicted for; None for the predictor's default.
        backend: Whose table to use; None for the one profiled last.
        allow_version_mismatch: Whether to compare a table with a runtime of another version.
        predictor: Name or file of the accuracy predictor; None for the shipped one.
    """

    def __init__(
        self,
        store: Store,
        device: DeviceProfile,
        space: SearchSpace,
        *,
        seed: int,
        recipe: str | None,
        backend: str | None = None,
        allow_version_mismatch: bool = False,
        predictor: str | Path | None = None,
    ) -> None:
        self.predictor = predictor
        self.backend = backend
        self.allow_version_mismatch = allow_version_mismatch
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
        serial: str | None = None,
        space: str = "chamnet-mobile",
        profiles: Path | None = None,
        seed: int = 0,
        recipe: str | None = None,
        create: bool = True,
        backend: str | None = None,
        dtype: DType | None = None,
        threads: int | None = None,
        allow_version_mismatch: bool = False,
        predictor: str | Path | None = None,
    ) -> Self:
        """Open a workspace.

        Args:
            db: The store.
            target: Profile name or `HOST:PORT`; None: the last profiled one, else `local`.
            serial: Which device, where the profile's target is one of several; None for what the profile says.
            space: Name of a shipped space, or a TOML file.
            profiles: Folder of device profiles looked through first.
            seed: Of everything random.
            recipe: Training recipe that accuracies are predicted for; None for the predictor's default.
            create: Whether to make the store where there is none.
            backend: Whose table to use or make; None: the last profiled one, else the device's own.
            dtype: Element type of the networks; None: as last profiled with that backend, else f32.
            threads: That work; None for the device profile's.
            allow_version_mismatch: Whether to compare a table with a runtime of another version.
            predictor: Name or file of the accuracy predictor; None for the shipped one.

        Raises:
            ConfigError: Unknown target or space.
            StoreError: The store cannot be opened.
        """
        loaded = load_space(space)
        if not create and not Path(db).exists():
            raise NotProfiledError(f"{db}: nothing was profiled yet; run `chamnet-host profile` first")
        store = Store.open(Path(db), create=create)
        try:
            device = with_serial(
                _device(store, target or store.get("last_target") or "local", profiles), serial
            )
        except BaseException:
            store.close()
            raise
        if threads:
            device = replace(device, threads=threads)
        chosen = dtype or _last_dtype(store, device.name, backend)
        return cls(
            store,
            device,
            replace(loaded, dtype=chosen),
            seed=seed,
            recipe=recipe,
            backend=backend,
            allow_version_mismatch=allow_version_mismatch,
            predictor=predictor,
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Close the store."""
        self.store.close()

    def connect(self) -> AbstractContextManager["DeviceClient"]:
        """Open a connection to the target's agent, starting one on this machine if need be.

        Raises:
            DeviceError: No agent can be reached or started.
            TokenError: It refuses the token.
        """
        return connect(self.device)

    def connect_measured(self) -> AbstractContextManager["DeviceClient"]:
        """Open a connection as `connect` does, to an agent with as many threads as made the table, if there is one.

        Raises:
            DeviceError: No agent can be reached or started.
            TokenError: It refuses the token.
        """
        try:
            return connect(replace(self.device, threads=self.measured[1].threads))
        except NotProfiledError:
            return self.connect()

    def platform_now(self, client: "DeviceClient") -> Platform:
        """Return the platform that the target's agent measures on now, with the workspace's backend.

        Raises:
            ConfigError: The device has no such backend, or cannot run the space's element type.
        """
        info = client.describe()
        name = self.backend or self.device.backend or None
        platform = Platform.of(info, name)
        component = info.backend(platform.backend)
        if component and self.space.dtype not in component.dtypes:
            raise ConfigError(
                f"backend {platform.backend!r} runs {', '.join(component.dtypes)}, not {self.space.dtype}; choose another"
                " with --backend or --dtype"
            )
        return platform

    def platform_measured(self, client: "DeviceClient") -> Platform:
        """Return the platform of the target's table, if the agent measures on the same now.

        Raises:
            NotProfiledError: It was never profiled.
            ConfigError: The runtime has another version than the table, or the device is another; says what to do.
        """
        _, table = self.measured
        now = Platform.of(client.describe(), table.backend)
        if now != table and not self.allow_version_mismatch:
            raise ConfigError(
                f"the table of {self.device.name!r} was measured on {table}, the device now has {now}: profile it anew"
                " (`chamnet-host profile`), or compare all the same with --allow-version-mismatch"
            )
        return now

    def remember(self, platform: Platform, granularity: Granularity | None = None) -> int:
        """Make a platform the target's table, and the target the workspace's last one; return the table's id."""
        lut_id, name, put = self.store.add_platform(platform), self.device.name, self.store.put
        for key in (f"table:{name}", f"table:{name}:{platform.backend}"):
            put(key, platform.digest)
        put("last_target", name)
        put(f"dtype:{platform.digest}", self.space.dtype)
        if granularity:
            put(f"granularity:{platform.digest}:{self.space.name}:{self.space.dtype}", granularity)
        return lut_id

    @cached_property
    def measured(self) -> tuple[int, Platform]:
        """Id and platform of the target's table.

        Raises:
            NotProfiledError: The target was never profiled.
        """
        name, store = self.device.name, self.store
        hint = f"run `chamnet-host profile --target {name}` first (about a minute)"
        digest = store.get(f"table:{name}:{self.backend}" if self.backend else f"table:{name}")
        held = {platform.digest: (lut_id, platform) for lut_id, platform in store.platforms().items()}
        if digest not in held:
            what = f"{name!r} with backend {self.backend!r}" if self.backend else repr(name)
            raise NotProfiledError(f"target {what} has not been profiled in {store.path}; {hint}")
        lut_id, platform = held[digest]
        if self.device.transport == "local" and platform.device != read_machine().identity:
            raise NotProfiledError(
                f"the table of {name!r} in {store.path} was measured on another machine ({platform.device_name});"
                f" {hint}, or carry that table under a name of its own (`lut export`, `lut import --as`)"
            )
        return lut_id, platform

    def forget_table(self) -> None:
        """Read the table anew when it is next asked for: something was measured."""
        for name in (
            "measured",
            "table",
            "network_rows",
            "latency",
            "cost_tables",
            "energy_table",
            "energy_networks",
            "energy",
        ):
            self.__dict__.pop(name, None)

    @property
    def granularity(self) -> Granularity:
        """Granularity the target was last profiled at in this space; of a table from elsewhere, that of its rows."""
        key = f"granularity:{self.measured[1].digest}:{self.space.name}:{self.space.dtype}"
        held = self.store.get(key)
        if held is None:
            joined = (key for key in self.store.unit_keys(self.measured[0]) if "+" in key)
            units = (Unit.parse(key) for key in joined)
            blocks = any(len(unit.ops) > 1 and unit.dtype == self.space.dtype for unit in units)
            return "block" if blocks else "op"
        return "block" if held == "block" else "op"

    @cached_property
    def table(self) -> LatencyTable:
        """The target's measured rows."""
        return LatencyTable.load(self.store, self.measured[0])

    @cached_property
    def network_rows(self) -> Mapping[str, Row]:
        """Rows of the networks measured whole on the target, by digest."""
        return LatencyTable.load(self.store, self.measured[0], "network").networks

    @property
    def walked(self) -> set[str]:
        """Digests of the networks whose units were visited on the target."""
        prefix = f"{self.measured[1].digest}/walk/"
        walks = (
            visit_id for visit_id in self.store.visit_ids(self.measured[0]) if visit_id.startswith(prefix)
        )
        return {visit_id.split("/")[4] for visit_id in walks}

    @cached_property
    def calibration(self) -> tuple[Network, ...]:
        """The networks that latency is calibrated on; chosen once and kept."""
        key = f"calibration:{self.space.digest}:{self.seed}"
        if (held := self.store.get(key)) is not None:
            return tuple(self.space.decode(genome) for genome in json.loads(held))
        networks = calibration_networks(self.space, self.macs, seed=self.seed)
        self.store.put(key, json.dumps([self.space.genome(network.architecture) for network in networks]))
        return networks

    @cached_property
    def latency(self) -> LatencyPredictor:
        """Latency predictor of the target; kept in the store once fitted."""
        return kept_latency(self)

    @cached_property
    def energy_table(self) -> EnergyTable:
        """The target's energy rows, by the meter that was chosen for it, else by the one with most rows.

        Where the target is one of several devices, its own; else those of the device with most rows, or of the one chosen.

        Raises:
            NotProfiledError: No energy was measured; says what to do.
        """
        lut_id, platform = self.measured
        known = self._metered_by()
        if not known:
            raise no_energy(self.store, lut_id, platform, self.device.name, serial=serial_of(self.device))
        held = self.store.get(self._meter_key)
        chosen = MeteredBy.parse(held, known) if held else known[0]
        return EnergyTable.load(self.store, lut_id, chosen)

    def choose_meter(self, text: str) -> MeteredBy:
        """Predict the target's energy from what one meter measured, from now on; return it.

        Raises:
            ConfigError: It measured nothing here; those that did are named.
        """
        chosen = MeteredBy.parse(text, self._metered_by())
        self.store.put(self._meter_key, str(chosen))
        self.forget_table()
        return chosen

    def _metered_by(self) -> list[MeteredBy]:
        return list(metered_by(self.store, self.measured[0], serial=serial_of(self.device) or None))

    @property
    def _meter_key(self) -> str:
        """Where the meter is kept that was chosen for the target: a device's own choice, or that for all of its kind."""
        serial = serial_of(self.device)
        return f"energy_meter:{self.measured[1].digest}{serial and f':{serial}'}"

    @cached_property
    def energy_networks(self) -> tuple[Network, ...]:
        """The networks measured whole for energy on the target, as far as their structure is known here."""
        return held_networks(self.energy_table.networks.values(), self.space, self.calibration)

    @cached_property
    def energy(self) -> EnergyPredictor | None:
        """Energy predictor of the target, kept in the store once fitted; None where no energy was measured."""
        if not self.store.energy_state(self.measured[0]):
            return None
        try:
            return kept_energy(self)
        except NotProfiledError:  # all below the noise: budgets say so, the rest goes without
            return None

    def require_energy(self) -> EnergyPredictor:
        """Return the energy predictor.

        Raises:
            NotProfiledError: There is none; says why and what to do.
        """
        return self.energy or kept_energy(self)

    @cached_property
    def accuracy(self) -> AccuracyPredictor:
        """The accuracy predictor."""
        return load_predictor(self.store, self.predictor)

    def grid(self, granularity: Granularity) -> UnitGrid:
        """Return the units of the space."""
        if granularity not in self._grids:
            self._grids[granularity] = unit_grid(self.space, granularity)
        return self._grids[granularity]

    @cached_property
    def _grids(self) -> dict[Granularity, UnitGrid]:
        return {}

    @cached_property
    def macs(self) -> CostTables:
        """MACs of the space's networks."""
        grid = next(iter(self._grids.values()), None) or self.grid("block")  # the smaller one to build
        return grid.macs

    @cached_property
    def cost_tables(self) -> dict[str, CostTables]:
        """Link tables of latency (ms), MACs, params and weight bytes, and of energy (mJ) where it was measured.

        Kept in the store once computed.
        """
        tables = kept_tables(self)
        return (
            tables if self.energy is None else {**tables, "energy_mj": kept_energy_table(self, self.energy)}
        )


def _device(store: Store, target: str, profiles: Path | None) -> DeviceProfile:
    """Return the profile of a target, or that of an imported table."""
    try:
        return find_profile(target, profiles)
    except ConfigError:
        if store.get(f"table:{target}") is None:
            raise
        return DeviceProfile(name=target, transport="absent")


def _last_dtype(store: Store, target: str, backend: str | None) -> DType:
    """Return the element type that a target was last profiled with."""
    digest = store.get(f"table:{target}:{backend}" if backend else f"table:{target}")
    return "int8" if store.get(f"dtype:{digest}") == "int8" else "f32"
