"""A store of a device that does not exist: its true latencies and energies are formulas, its visits have noise."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from chamnet.lut import Platform, Store
from chamnet.networks import Network
from chamnet.records import EnergyReading, Visit
from chamnet.space import SearchSpace, load_space, spread_sizes, unit_grid
from chamnet.testing import make_energy, make_platform, make_visit
from chamnet.units import Unit

TINY = Path(__file__).parents[1] / "data" / "tiny-mobile.toml"
TARGET = "paper-phone"  # an imported table: its device need not be there
IDLE_W = 0.9
NOISE = 0.01  # of power, between visits
_BASE_W = 0.06  # what a running network takes beside its units
_PER_UNIT_MS = 0.004
_LISTED = 10_000  # networks of a space that are all listed
_UNITS, _DRAWN = 1_500, 256  # of a larger one


def unit_ms(unit: Unit) -> float:
    return unit.macs / 5e6 + unit.activation_bytes / 4e6 + 0.004


def unit_w(unit: Unit) -> float:
    """Return the power a unit adds: by its kind, and more where it computes much for each byte."""
    kind = {"linear": 0.5, "avgpool": 0.6}.get(unit.ops[0].kind, 0.8 if unit.ops[0].depthwise else 1.3)
    intensity = (unit.macs + 1) / (unit.activation_bytes + unit.weight_bytes)
    return kind * intensity**0.08


def true_ms(network: Network) -> float:
    units = list(network.units("op"))
    return sum(map(unit_ms, units)) + _PER_UNIT_MS * len(units)


def true_mj(network: Network) -> float:
    """Return the energy of one run: net energy of all units once, idle power once for the whole time."""
    net_mj = sum(unit_w(unit) * unit_ms(unit) for unit in network.units("op"))
    return net_mj + (IDLE_W + _BASE_W) * true_ms(network)


def all_networks(space: SearchSpace) -> list[Network]:
    return [space.decode(genome) for genome in product(*(axis.values for axis in space.decisions))]


def _measurable(space: SearchSpace, rng: np.random.Generator) -> tuple[Sequence[Unit], list[Network]]:
    grid = unit_grid(space, "op")
    if space.cardinality <= _LISTED:
        return grid.units, all_networks(space)
    levels = spread_sizes(space, grid.macs, _DRAWN, rng, low=float(grid.macs.bounds()[0].min()) * 2)
    chosen = rng.permutation(len(grid.units))[:_UNITS]
    return [grid.units[i] for i in chosen], [space.decode(genome) for genome in space.genomes(levels)]


def energy_visit(
    visit_id: str,
    net_w: float,
    latency_ms: float,
    rng: np.random.Generator,
    *,
    meter: str = "fake",
    hidden: bool = False,
) -> Visit:
    """Return a visit of an item that adds so much power; `hidden` in the changes of the idling device."""
    power = net_w * float(np.exp(NOISE * rng.standard_normal()))
    reading = make_energy(
        power * latency_ms,
        latency_ms,
        idle_w=IDLE_W + 0.01 * float(rng.standard_normal()),
        noise_w=net_w if hidden else 0.01,
    )
    return replace(make_visit(visit_id, latency_ms), energy=with_meter(reading, meter))


def with_meter(reading: EnergyReading, meter: str, *rails: str) -> EnergyReading:
    return replace(reading, meter=meter, rails=rails or (meter,))


def write_store(
    path: Path,
    *,
    measured_units: float = 0.6,
    networks: Iterable[Network] | None = None,
    hidden: Collection[str] = (),
    space: SearchSpace | None = None,
    seed: int = 0,
) -> Platform:
    """Write a store whose target has latencies of every unit, and energies of some and of some whole networks.

    Of a large space, latencies of 1,500 units and energies of some of these, and networks of 256 drawn from all sizes.

    Args:
        path: Of the store.
        measured_units: Share of the units measured for energy.
        networks: Measured whole for energy; by default every ninth.
        hidden: Units whose energy is below the noise.
        space: The tiny one by default.
        seed: Of the noise, and of which units are measured.
    """
    space = space or load_space(str(TINY))
    rng = np.random.default_rng(seed)
    platform = make_platform()
    units, everything = _measurable(space, rng)
    with Store.open(path) as store:
        store.query("PRAGMA synchronous = OFF")  # hundreds of commits, and nothing to lose
        lut_id = store.add_platform(platform)
        for name in (f"table:{TARGET}", f"table:{TARGET}:{platform.backend}"):
            store.put(name, platform.digest)
        store.put("last_target", TARGET)
        store.put(f"granularity:{platform.digest}:{space.name}:{space.dtype}", "op")
        measured = set(rng.permutation(len(units))[: round(measured_units * len(units))].tolist())
        for i, unit in enumerate(units):
            for number in range(3):
                made_ms = unit_ms(unit) * float(np.exp(0.005 * rng.standard_normal()))
                store.append(
                    lut_id, "unit", unit.key, "ring", make_visit(f"w/{i}/{number}", made_ms, noop_ns=0)
                )
            if i in measured:
                for number in range(2):
                    visit = energy_visit(
                        f"e/{i}/{number}", unit_w(unit), unit_ms(unit) * 0.9, rng, hidden=unit.key in hidden
                    )
                    store.append(lut_id, "unit", unit.key, "energy", visit)
        for network in everything[::25]:
            for number in range(3):
                visit = make_visit(f"{platform.digest}/whole/0/{number}/{network.digest}", true_ms(network))
                store.append(lut_id, "network", network.digest, "loop", visit, name=network.name)
        for network in everything[::9] if networks is None else networks:
            latency_ms = true_ms(network)
            net_w = true_mj(network) / latency_ms - IDLE_W
            visit = energy_visit(f"e/{network.digest}", net_w, latency_ms, rng)
            store.append(lut_id, "network", network.digest, "energy", visit, name=network.name)
        genomes = [space.genome(network.architecture) for network in everything[::25]]
        store.put(f"calibration:{space.digest}:0", str([list(genome) for genome in genomes]))
    return platform
