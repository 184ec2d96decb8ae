"""How near searches come to the best network where energies do not add up: against all networks, and against each other.

    python benchmarks/search_energy.py                                             # a space of 256 networks
    python benchmarks/search_energy.py --space chamnet-mobile --part               # a part of ChamNet-Mobile
    python benchmarks/search_energy.py --space chamnet-mobile                      # all of it

On a device that does not exist (tests/synthetic/synthetic_energy.py), whose networks' energies are predicted by the paper's
Gaussian process (`network-gp`), then by one on what the sum over units leaves (`residual-gp`). Budgets are evenly spaced in
log over the energies that networks reach; each is asked alone, and with a latency budget that excludes the answer to it alone.

- `search`: what `chamnet-host search` answers;
- `evolution`: the evolutionary solver under the predictor itself, started from nothing, with another seed;
- `from sums`: the same, started from the exact answer for the sum over units.

A gap is the distance in points of top-1 from the best of all networks, or in large spaces, from the best that any of these
found. CPU time is of one core.
"""

import argparse
import math
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from common import options, pin, timed, write

from chamnet.errors import InfeasibleBudgetError
from chamnet.predictors.energy import EnergyModel
from chamnet.predictors.space_energy import SpaceEnergy
from chamnet.quantities import Budget
from chamnet.search import Constraint, ExactSearch, Metric, SearchSettings, evolve
from chamnet.space import Levels, load_space
from chamnet_host.searching.answer import search
from chamnet_host.searching.scope import Scope
from chamnet_host.session import Session

sys.path.append(str(Path(__file__).parents[1] / "tests/synthetic"))
import synthetic_energy as synthetic

FloatArray = npt.NDArray[np.float64]

MODELS: tuple[EnergyModel, ...] = ("network-gp", "residual-gp")
PART = {
    "resolution": 128, "irf2.expansion": 4, "irf3.expansion": 4, "irf5.expansion": 4, "irf7.expansion": 4,
    "irf7.filters": 160, "head": 1280,
}  # fmt: skip
LISTED, ROWS = 1_000_000, 50_000  # networks of a space that are all listed, and at a time
TIGHTER = 0.93  # of the latency of the best network without a latency budget
NEAR = 0.005  # points


@dataclass(eq=False)
class Tally:
    """What one way of searching gave at all budgets: gaps in points, infinite where it found nothing, and CPU time in s."""

    gaps: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        """Return a line of the table."""
        found = [gap for gap in self.gaps if gap < math.inf]
        near = sum(gap < NEAR for gap in found)
        return (
            f"{statistics.median(self.gaps):8.3f} {max(found):7.3f} {near:5d} of {len(self.gaps):3d} {len(found):5d} of"
            f" {len(self.gaps):3d} {statistics.median(self.cpu_s):7.2f} {max(self.cpu_s):7.2f}"
        )


def main() -> None:
    """Print a line for each predictor, kind of budget, and way of searching."""
    asked = _options()
    pin()
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(asked.seeds):
            store = Path(folder) / f"{seed}.db"
            synthetic.write_store(store, space=load_space(str(asked.space)), seed=seed)
            for model in MODELS:
                with Session.open(store, space=str(asked.space), create=False, seed=seed) as session:
                    problems = Problems.of(session, model, part=asked.part)
                    for name, gap, cpu_s in problems.compared(asked.budgets, asked.ways):
                        tallies[name].gaps.append(gap)
                        tallies[name].cpu_s.append(cpu_s)
    write(f"{'predictor, budgets, search':34s}   median   worst          near        found   CPU s at most")
    for name in sorted(tallies):
        write(f"{name:34s} {tallies[name]}")


@dataclass(frozen=True, eq=False)
class Problems:
    """Searches on one device, by one predictor; `listed` holds top-1, mJ and ms of all networks, if they are few."""

    session: Session
    scope: Scope
    energy: Metric
    latency: Metric
    listed: FloatArray | None

    @classmethod
    def of(cls, session: Session, model: EnergyModel, *, part: bool) -> "Problems":
        """Let one predictor be the chosen one."""
        session.energy = replace(session.require_energy(), errors={"lut": (1.0,) * 8, model: (0.0,) * 8})
        scope = Scope.of(session, PART, channel_multiple=32) if part else Scope.of(session)
        costs = scope.metrics.cost_tables
        predicted = SpaceEnergy(session.energy, costs["energy_mj"], costs["macs"])
        energy = Metric("energy_mj", costs["energy_mj"], exact=predicted.mj)
        latency = Metric("latency_ms", costs["latency_ms"])
        parts = [(scope.accuracy.top1(rows), energy.total(rows), latency.total(rows)) for rows in _all(scope)]
        listed = np.concatenate([np.array(part) for part in parts], axis=1) if parts else None
        return cls(session, scope, energy, latency, listed)

    def compared(self, budgets: int, ways: list[str]) -> Iterator[tuple[str, float, float]]:
        """Yield predictor, budgets and way, gap and CPU time of every search."""
        lowest, highest = self.energy.lowest, self.energy.highest
        if self.listed is not None:
            lowest, highest = self.listed[1].min(), self.listed[1].max()
        model = self.session.require_energy().chosen
        for limit_mj in np.geomspace(1.003 * lowest, 0.9 * highest, budgets).tolist():
            limits = limit_mj, math.inf
            for kind in ("mJ", "mJ and ms"):
                runs = {way: timed(partial(self._found, way, *limits)) for way in ways}
                found = [run.value for run in runs.values() if run.value is not None]
                best = self._best(*limits, found)
                if best is None:
                    break
                for way, run in runs.items():
                    gap = math.inf if run.value is None else best[0] - self._told(run.value)[0]
                    yield f"{model:12s} {kind:10s} {way}", gap, run.cpu_s
                limits = limit_mj, max(TIGHTER * float(best[2]), 1.001 * self.latency.lowest)

    def _found(self, way: str, limit_mj: float, limit_ms: float) -> Levels | None:
        """Return what a way of searching finds; None where that is nothing."""
        budgets = [Budget("energy_mj", limit_mj, f"{limit_mj!r}mJ")]
        if limit_ms < math.inf:
            budgets.append(Budget("latency_ms", limit_ms, f"{limit_ms!r}ms"))
        constraints = tuple(
            Constraint(self.energy if each.metric == "energy_mj" else self.latency, each) for each in budgets
        )
        try:
            if way == "search":
                return search(
                    self.session, ",".join(each.text for each in budgets), scope=self.scope
                ).result.levels
            starts = self._by_sums(budgets[0]) if way == "from sums" else None
            return evolve(self.scope.problem(constraints), SearchSettings(seed=1), starts=starts).levels
        except InfeasibleBudgetError:
            return None

    def _by_sums(self, budget: Budget) -> Levels | None:
        """Return the most accurate network within an energy budget by sums over units."""
        sums, accuracy = (
            Metric("energy_mj", self.scope.metrics.cost_tables["energy_mj"]),
            self.scope.accuracy.separable,
        )
        assert accuracy is not None
        try:
            return ExactSearch(accuracy, [sums]).best([Constraint(sums, budget)]).levels
        except InfeasibleBudgetError:
            return None

    def _best(self, limit_mj: float, limit_ms: float, found: list[Levels]) -> FloatArray | None:
        """Return top-1, mJ and ms of the best network within budgets, of all or else of those found; None without one."""
        told = (
            self.listed
            if self.listed is not None
            else np.array([self._told(each) for each in found]).reshape(-1, 3).T
        )
        told = told[:, (told[1] <= limit_mj) & (told[2] <= limit_ms)]
        return told[:, int(told[0].argmax())] if told.size else None

    def _told(self, levels: Levels) -> FloatArray:
        parts = (self.scope.accuracy.top1(levels), self.energy.total(levels), self.latency.total(levels))
        return np.concatenate(parts)


def _all(scope: Scope) -> Iterator[Levels]:
    """Yield all networks of a small space, some at a time."""
    count = scope.space.cardinality
    for begin in range(0, count if count <= LISTED else 0, ROWS):
        numbers = np.arange(begin, min(begin + ROWS, count))
        yield np.stack(np.unravel_index(numbers, scope.space.sizes), axis=1).astype(np.int32)


def _options() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument(
        "--space", default=synthetic.TINY, help="a shipped one, or a TOML file; of 256 networks by default"
    )
    parser.add_argument(
        "--part", action="store_true", help="only a part of ChamNet-Mobile, of 567,000 networks"
    )
    parser.add_argument("--seeds", type=int, default=2, help="devices: noise, and what is measured")
    parser.add_argument("--budgets", type=int, default=9)
    parser.add_argument("--ways", nargs="+", default=["search", "evolution", "from sums"])
    return parser.parse_args()


if __name__ == "__main__":
    main()
