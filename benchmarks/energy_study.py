"""How well the protocol tells the energy of one run: error against window, noise, drift and quantisation, on simulated power.

    python benchmarks/energy_study.py [--seeds 200]

The power is known: an idling device, a loop over an item that adds so much, a drift. A sensor makes of it what real ones do: it is
updated every 250 ms at a phase of its own, a little unevenly, rounded, with noise. Readings go through the series and the
sums that an agent uses; only time is not real. Each row: median and 95th percentile of the error of net energy over the
seeds, in per cent, the standard error that the protocol itself gives, and how often it says `below noise`.
"""

import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace

from common import options, write

from chamnet.energy import EnergySeries, Nature, Rail, Reading, energy_of
from chamnet.records import EnergyReading, EnergySpans

PERIOD_S = 0.25
CALL_S = 0.02
S = 1_000_000_000


@dataclass(frozen=True)
class Case:
    """A device, a sensor, and the times of the protocol in updates of the sensor."""

    nature: Nature = "counter"
    idle_w: float = 1.0
    net_w: float = 1.0
    drift_w_per_min: float = 0.0
    noise_w: float = 0.0
    quantum: float = 1.0
    uneven: float = 0.05
    window: int = 50
    idle: int = 40
    guard: int = 2


def main() -> None:
    """Print a table for each thing that is varied."""
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    seeds = parser.parse_args().seeds
    base = Case()
    tables: dict[str, list[tuple[str, Case]]] = {
        "window, in updates, as the protocol has it": [
            (f"{n}", replace(base, window=n)) for n in (10, 25, 50, 100)
        ],
        "window, in updates, without running on at either side": [
            (f"{n}", replace(base, window=n, guard=0)) for n in (10, 25, 50, 100)
        ],
        "noise of sampled power, in W": [
            (f"{w}", replace(base, nature="power", quantum=1e-3, noise_w=w)) for w in (0.0, 0.05, 0.2, 0.5)
        ],
        "drift of the idling device, in W a minute": [
            (f"{w}", replace(base, drift_w_per_min=w)) for w in (0.0, 0.1, 0.5, 2.0)
        ],
        "step of sampled power, in W": [
            (f"{q}", replace(base, nature="power", quantum=q)) for q in (0.001, 0.02, 0.1)
        ],
        "what the item adds, in W, with 0.05 W of noise": [
            (f"{w}", replace(base, nature="power", quantum=1e-3, noise_w=0.05, net_w=w))
            for w in (1.0, 0.3, 0.1, 0.03, 0.01)
        ],
    }
    for title, rows in tables.items():
        write(f"\n{title}\n{'':>8} {'median':>8} {'95 %':>8} {'said':>8} {'below noise':>12}")
        for name, case in rows:
            readings = [measured(case, random.Random(seed)) for seed in range(seeds)]
            errors = sorted(100 * abs(each.net_w / case.net_w - 1) for each in readings)
            told = 100 * statistics.median(each.error for each in readings)
            below = statistics.mean(each.is_below_noise for each in readings)
            write(
                f"{name:>8} {statistics.median(errors):8.2f} {errors[int(0.95 * len(errors))]:8.2f} {told:8.2f} {below:12.0%}"
            )


def measured(case: Case, rng: random.Random) -> EnergyReading:
    """Return what the protocol says of one window."""
    period_ns = round(PERIOD_S * S)
    guard, idle, window = (each * period_ns for each in (case.guard, case.idle, case.window))
    begin = 8 * period_ns + round(guard * rng.random())
    before = (begin, begin + idle)
    runs = (before[1], before[1] + 2 * guard + window)
    after = (runs[1] + guard, runs[1] + guard + idle)
    calls = round(window / (CALL_S * S))
    spans = EnergySpans(
        window_ns=(runs[0] + guard, runs[1] - guard), before_ns=before, after_ns=after, calls=calls
    )
    rail = Rail(name="rail", nature=case.nature, domain="device", totals=frozenset({"device"}))
    series = EnergySeries([rail], period_s=PERIOD_S)
    for now_ns, update, value in said(case, runs, after[1] + 4 * period_ns, rng):
        series.add(Reading((value,), stamp=update), now_ns)
    return energy_of(series, spans, meter="simulated", rails=["rail"], period_s=PERIOD_S)


def said(
    case: Case, runs: tuple[int, int], end_ns: int, rng: random.Random
) -> Iterator[tuple[int, int, float]]:
    """Yield when the sensor is read, and what it says: which is its last update, and its value."""
    update_ns, update, value = round(-rng.random() * PERIOD_S * S), 0, 0.0
    now_ns = 0
    while now_ns < end_ns:
        while update_ns <= now_ns:
            update, value = update + 1, updated(case, runs, update_ns, rng)
            update_ns += round(PERIOD_S * S * (1 + case.uneven * rng.uniform(-1, 1)))
        yield now_ns, update, value
        now_ns += round(PERIOD_S / 4 * S * (1 + 0.02 * rng.uniform(-1, 1)))


def updated(case: Case, runs: tuple[int, int], t_ns: int, rng: random.Random) -> float:
    """Return what the sensor takes up at a time: µJ so far, or W."""
    t_s = max(t_ns, 0) / S
    drift = case.drift_w_per_min / 60
    if case.nature == "counter":
        ran_s = max(0, min(t_ns, runs[1]) - runs[0]) / S
        energy_j = case.idle_w * t_s + drift * t_s**2 / 2 + case.net_w * ran_s
        return energy_j * 1e6 // case.quantum * case.quantum
    power_w = case.idle_w + drift * t_s + case.net_w * (runs[0] <= t_ns < runs[1])
    return max(0.0, round(rng.gauss(power_w, case.noise_w) / case.quantum) * case.quantum)


if __name__ == "__main__":
    main()
