"""What rows below the noise do to sums over units: left out of the fit, or in it with their noise; on simulated power.

    python benchmarks/energy_below_noise.py [--seeds 6] [--rows 120] [--windows 2]

Units of ChamNet-Mobile on devices whose power is known: each unit adds what its kind does, less where it is small, and ten
per cent of its own. Every window goes through the sensor and the sums of `energy_study.py`, whose noise is raised until more
and more rows are below it. Median over the seeds, and the 10th and 90th percentile, in per cent: the bias of what networks add
to the idling device (mean over networks), the mean absolute error of that, the same of the whole energy of
others once calibrated on ten of them, how far units below the noise are off (log of predicted over true), and how many of those
are within 1.645 of the deviations that are told (90 of 100 should be).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from common import options, write
from energy_study import Case, measured

from chamnet.lut import EnergyRow, choose_spread
from chamnet.networks import Network
from chamnet.predictors.energy_sum import EnergyCalibration, NetworkSum
from chamnet.predictors.power import PowerModel, PowerRows
from chamnet.space import load_space, unit_grid
from chamnet.units import Unit

IDLE_W = 1.0
NOISES_W = (0.05, 0.1, 0.2, 0.4, 0.8)
SCALES = (0.3, 1.0)  # what a large unit adds in W, by kind: from, to
HALF_BYTES = 2e5  # a unit that moves so much adds half of what a large one does
OWN = 0.1
NETWORKS, CALIBRATED = 40, 10

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Device:
    """Networks, the power of each of their units, and rows that a meter measured."""

    networks: Sequence[Network]
    power_w: dict[str, float]
    rows: Sequence[tuple[Unit, EnergyRow]]


def main() -> None:
    """Print a table for each way to fit."""
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--windows", type=int, default=2)
    given = parser.parse_args()
    grid = unit_grid(load_space("chamnet-mobile"), "op").units
    grid = tuple(unit for unit in grid if unit.ops[0].kind != "add")
    chosen = choose_spread(grid, given.rows, np.array([time_ms(unit) for unit in grid]))
    heads = ("noise W", "below", "fit", "net bias", "net error", "calibrated", "bias below", "within")
    write(" ".join(f"{head:>20}" for head in heads))
    for noise_w in NOISES_W:
        devices = [made(chosen, noise_w, given.windows, seed) for seed in range(given.seeds)]
        below = float(np.mean([row.is_below_noise for device in devices for _, row in device.rows]))
        for name, every in (("left out", False), ("with noise", True)):
            found = np.array([judged(device, every=every) for device in devices])
            cells = (f"{noise_w}", f"{below:.0%}", name, *map(shown, 100 * found.T))
            write(" ".join(f"{cell:>20}" for cell in cells))


def shown(values: FloatArray) -> str:
    """Return median and spread of what is known."""
    known = values[~np.isnan(values)]
    if not len(known):
        return "-"
    low, middle, high = np.quantile(known, (0.1, 0.5, 0.9))
    return f"{middle:.1f} ({low:.1f} {high:.1f})"


def time_ms(unit: Unit) -> float:
    """Return the time a unit takes, on every device."""
    return unit.macs / 5e6 + unit.activation_bytes / 4e6 + 0.004


def true_w(unit: Unit, kinds: dict[str, float], rng: np.random.Generator) -> float:
    """Return what a unit adds to the power of the idling device."""
    moved = unit.activation_bytes + unit.weight_bytes
    return kinds[unit.signature] * moved / (moved + HALF_BYTES) * float(np.exp(OWN * rng.standard_normal()))


def made(chosen: Sequence[Unit], noise_w: float, windows: int, seed: int) -> Device:
    """Return a device and what a meter said of the units chosen."""
    rng = np.random.default_rng(seed)
    space = load_space("chamnet-mobile")
    networks = [space.decode(genome) for genome in space.genomes(space.sample(NETWORKS, rng))]
    units = {unit.key: unit for network in networks for unit in network.units("op")}
    units |= {unit.key: unit for unit in chosen}
    signatures = sorted({unit.signature for unit in units.values()})
    kinds = dict(zip(signatures, np.exp(rng.uniform(*np.log(SCALES), len(signatures))).tolist(), strict=True))
    power_w = {key: true_w(units[key], kinds, rng) for key in sorted(units)}
    windows_rng = random.Random(seed)
    case = Case(nature="power", idle_w=IDLE_W, noise_w=noise_w, quantum=1e-3)
    rows = [
        (
            unit,
            EnergyRow(
                kind="unit",
                key=unit.key,
                name="",
                readings=tuple(
                    measured(replace(case, net_w=power_w[unit.key]), windows_rng) for _ in range(windows)
                ),
            ),
        )
        for unit in chosen
    ]
    return Device(networks, power_w, rows)


def judged(device: Device, *, every: bool) -> tuple[float, ...]:
    """Return bias and errors of a fit to every row, or to those above the noise."""
    told = [(unit, row) for unit, row in device.rows if every or not row.is_below_noise]
    hidden = [unit for unit, row in device.rows if row.is_below_noise]
    rows = replace(PowerRows.of(told), hidden=frozenset(unit.key for unit in hidden))
    model = PowerModel.fit(rows, usual_w=0.5)
    sums = [summed(network, model) for network in device.networks]
    truth_mj = np.array([net_mj(network, device) for network in device.networks])
    ratio = np.array([each.net_mj for each in sums]) / truth_mj - 1
    whole_mj = truth_mj + IDLE_W * np.array([each.latency_ms for each in sums])
    fitted = EnergyCalibration.fit(sums[:CALIBRATED], whole_mj[:CALIBRATED], IDLE_W)
    off = np.array([fitted.energy_mj(each) for each in sums[CALIBRATED:]]) / whole_mj[CALIBRATED:] - 1
    return (
        float(ratio.mean()),
        float(np.abs(ratio).mean()),
        float(np.abs(off).mean()),
        *below(model, hidden, device),
    )


def below(model: PowerModel, hidden: Sequence[Unit], device: Device) -> tuple[float, float]:
    """Return how far units below the noise are off on average, and the share within what is told."""
    if not hidden:
        return np.nan, np.nan
    known = model.predict(hidden)
    off = np.log(known.net_w) - np.log([device.power_w[unit.key] for unit in hidden])
    return float(off.mean()), float((np.abs(off) < 1.645 * known.deviation).mean())


def summed(network: Network, model: PowerModel) -> NetworkSum:
    """Return the sum over a network's units, with their true times."""
    units = tuple(network.units("op"))
    known = model.predict(units)
    return NetworkSum(units, known, np.array([time_ms(unit) for unit in units]), ("measured",) * len(units))


def net_mj(network: Network, device: Device) -> float:
    """Return what a network truly adds to the energy of the idling device."""
    return sum(device.power_w[unit.key] * time_ms(unit) for unit in network.units("op"))


if __name__ == "__main__":
    main()
