"""How samples, kernels and rules for the next training compare, on a table of networks all of which were trained.

    pip install -e '.[host,train,fit]' --constraint constraints.txt
    python benchmarks/accuracy_sampling.py ../shared/data/nas-bench-macro_cifar10.json [--seeds 10] [--json FILE]

A predictor learns from N trainings, and ranks all networks. Kendall's tau is over networks not trained (in brackets: over
the best fifth of them); regret is how far the network predicted best within a budget, or the best of the five predicted
best, falls short of the best there is, in points of top-1, mean over nine budgets of MACs (10 to 90 % of networks keep
them). Differences are paired over the seeds, with the 95 % interval of Student's t.

Samples are drawn at once; `paper` and `budget-ei` train a few, then pick one at a time. Baselines: log-MACs alone;
gradient-boosted trees on the choices and log-MACs; `ei-levels`, for which a batch of ten is picked at once, by expected
improvement over the best training within each of ten levels, with a Matern-5/2 ARD kernel, from random networks.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
from common import options, pin, write
from scipy.stats import t as student
from trained_table import SAMPLERS, IntArray, Noise, Sampler, TrainedTable

from chamnet.predictors.accuracy_fit import fit_gp
from chamnet.predictors.acquisition import ACQUISITIONS, AcquisitionName, Candidates, macs_levels, pick
from chamnet.predictors.gp import GaussianProcess, Kernel, KernelName

FloatArray = npt.NDArray[np.float64]

SIZES = (30, 60, 120, 240)
# Name -> kernel, and whether layers rather than stages are the terms of a sum.
KERNELS: dict[str, tuple[KernelName, bool]] = {
    "rbf": ("rbf", False),
    "matern": ("matern", False),
    "matern-ard": ("matern-ard", False),
    "additive": ("additive", False),
    "additive-layer": ("additive", True),
    "sum": ("sum", False),
}
LEVELS = 10  # of ei-levels, and its batch


Rule = Literal[AcquisitionName, "ei-levels"]
RULES: tuple[Rule, ...] = (*ACQUISITIONS, "ei-levels")


@dataclass(frozen=True, slots=True)
class Score:
    """How a predictor fared.

    Attributes:
        arm: What chose the trainings, and the model.
        size: Trainings.
        seed: Of the run.
        tau, tau_top: Over networks not trained, and the best fifth of them.
        regret_1, regret_5: In points of top-1.
    """

    arm: str
    size: int
    seed: int
    tau: float
    tau_top: float
    regret_1: float
    regret_5: float


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Trainings picked one after another.

    Attributes:
        rule: Picks them: an acquisition of `accuracy build`, or `ei-levels`.
        kernel: Key of `KERNELS`.
        sampler: Of the initial ones.
        initial: How many these are.
        batch: Results between fits.
    """

    rule: Rule
    kernel: str = "sum"
    sampler: Sampler = "imbalanced"
    initial: int = 40
    batch: int = 20

    @classmethod
    def parse(cls, text: str) -> "Loop":
        """Read `RULE[:KERNEL[:SAMPLER[:INITIAL]]]`; what is absent is as in `accuracy build`."""
        rule, *rest = text.split(":")
        loop = BASELINE if rule == BASELINE.rule else cls(rule=cast(Rule, rule))
        names = ("kernel", "sampler", "initial")
        given = {
            name: int(word) if name == "initial" else word for name, word in zip(names, rest, strict=False)
        }
        loop = replace(loop, **cast(dict[str, Any], given))
        if loop.rule not in RULES or loop.kernel not in KERNELS or loop.sampler not in SAMPLERS:
            raise argparse.ArgumentTypeError(
                f"{text}: a rule of {', '.join(RULES)}; kernel of {', '.join(KERNELS)}"
            )
        return loop

    def __str__(self) -> str:
        """Return what `parse` reads."""
        return f"{self.rule}:{self.kernel}:{self.sampler}:{self.initial}"


BASELINE = Loop(rule="ei-levels", kernel="matern-ard", sampler="random", initial=30, batch=LEVELS)


@dataclass(frozen=True, eq=False, kw_only=True)
class Remembering(Kernel):
    """A kernel that keeps its correlations with every network of a table, so that one more training is cheap.

    Attributes:
        table: All networks.
        columns: Row of a network -> its correlations with all.
    """

    table: TrainedTable
    columns: dict[int, FloatArray] = field(default_factory=dict)

    def correlate(self, x: FloatArray, z: FloatArray) -> FloatArray:
        """Return correlations of features, as `Kernel` does."""
        near, far = (self.table.rows(np.rint(2 * each).astype(np.int32)) for each in (x, z))
        missing = [row for row in dict.fromkeys(far.tolist()) if row not in self.columns]
        if missing:
            fresh = super().correlate(self.table.features, self.table.features[missing])
            self.columns.update(zip(missing, fresh.T, strict=True))
        return np.stack([self.columns[row][near] for row in far.tolist()], axis=1)


def main() -> None:
    """Run every arm with every seed, then print the tables."""
    asked = _options()
    pin()
    table = TrainedTable.load(asked.table)
    scores = [score for seed in range(asked.seeds) for score in run_seed(table, asked, seed)]
    if asked.json:
        asked.json.write_text(json.dumps([asdict(score) for score in scores], indent=1), encoding="utf-8")
    report(scores, "random matern-ard", "tau", "tau_top", SIZES)
    report(scores, str(BASELINE), "regret_1", "regret_5", SIZES[2:])


def run_seed(table: TrainedTable, asked: argparse.Namespace, seed: int) -> Iterator[Score]:
    """Run all arms with one seed."""
    observed = table.observed(asked.noise, np.random.default_rng((seed, 1)))
    for sampler in asked.samplers:
        for size in SIZES:
            rows = table.sample(sampler, size, seed)
            for kernel in asked.kernels:
                model = fitted(table, rows, observed, kernel, starts=asked.starts)
                predicted, _ = model.posterior(table.features, table.log_macs, 0)
                yield score(table, f"{sampler} {kernel}", rows, seed, predicted)
            if sampler == "random":
                yield score(table, "random log-MACs", rows, seed, table.log_macs)
                yield score(table, "random trees", rows, seed, trees(table, rows, observed, seed))
    for loop in asked.loops:
        for rows, model in trainings(table, loop, observed, seed, starts=asked.starts):
            predicted, _ = model.posterior(table.features, table.log_macs, 0)
            yield score(table, str(loop), rows, seed, predicted)
    write(f"seed {seed} done")


def score(table: TrainedTable, arm: str, rows: IntArray, seed: int, predicted: FloatArray) -> Score:
    """Return how a ranking of all networks fares."""
    return Score(arm, len(rows), seed, *table.tau(predicted, rows), *table.regret(predicted))


def fitted(
    table: TrainedTable, rows: IntArray, observed: FloatArray, kernel: str, *, starts: int | None
) -> GaussianProcess:
    """Return the model of some trainings."""
    name, by_layer = KERNELS[kernel]
    return fit_gp(table.pool(rows, observed, by_layer=by_layer), kernel=name, starts=starts)


def trees(table: TrainedTable, rows: IntArray, observed: FloatArray, seed: int) -> FloatArray:
    """Return what gradient-boosted trees predict of all networks."""
    from sklearn.ensemble import GradientBoostingRegressor

    inputs = np.column_stack([table.levels, table.log_macs])
    model = GradientBoostingRegressor(n_estimators=300, learning_rate=0.05, subsample=0.8, random_state=seed)
    predicted: FloatArray = model.fit(inputs[rows], table.pool(rows, observed).log_error).predict(inputs)
    return predicted


def trainings(
    table: TrainedTable, loop: Loop, observed: FloatArray, seed: int, *, starts: int | None
) -> Iterator[tuple[IntArray, GaussianProcess]]:
    """Yield the trainings so far and their model whenever there are as many as a size of `SIZES`."""
    rows = table.sample(loop.sampler, loop.initial, seed).tolist()
    while True:
        model = fitted(table, np.array(rows), observed, loop.kernel, starts=starts)
        kernel = model.kernel
        model = replace(
            model,
            kernel=Remembering(
                name=kernel.name,
                scales=kernel.scales,
                parts=kernel.parts,
                beside=kernel.beside,
                share=kernel.share,
                table=table,
            ),
        )
        if len(rows) in SIZES:
            yield np.array(rows), model
        if len(rows) >= SIZES[-1]:
            return
        batch = min(loop.batch, min(size for size in SIZES if size > len(rows)) - len(rows))
        end = len(rows) + batch
        while len(rows) < end:
            pool = table.pool(rows, observed)
            known = model.on(pool.features, pool.log_macs, pool.log_error, pool.recipe_numbers)
            if loop.rule == "ei-levels":
                rows += by_levels(table, known, rows)[: end - len(rows)]
            else:
                rows.append(one_more(table, loop.rule, known, rows, seed))


def one_more(
    table: TrainedTable, rule: AcquisitionName, model: GaussianProcess, rows: list[int], seed: int
) -> int:
    """Return the next training as the loop of `accuracy build` picks it, from all networks of the table."""
    rng = np.random.default_rng((seed, 2, len(rows)))
    known = np.isin(np.arange(len(table.levels)), rows)
    row = pick(rule, model, Candidates(table.features, table.log_macs, known), turn=len(rows), rng=rng)
    assert row is not None
    return row


def by_levels(table: TrainedTable, model: GaussianProcess, rows: list[int]) -> list[int]:
    """Return a batch: for each level the network of the highest expected improvement over the best training there."""
    mean, variance = model.posterior(table.features, table.log_macs, 0)
    deviation = np.sqrt(np.maximum(variance, 1e-12))
    best_known = dict(zip(rows, model.targets.tolist(), strict=True))
    chosen: list[int] = []
    for level in macs_levels(table.log_macs, LEVELS):
        within = np.flatnonzero(table.log_macs <= level + 1e-12)
        best = max((best_known[row] for row in within.tolist() if row in best_known), default=mean.min())
        gain = improvement(mean[within] - best, deviation[within])
        gain[np.isin(within, rows + chosen)] = -1
        chosen.append(int(within[np.argmax(gain)]))
    return chosen


def improvement(above: FloatArray, deviation: FloatArray) -> FloatArray:
    """Return the expected improvement."""
    from scipy.stats import norm

    z = above / deviation
    gain: FloatArray = above * norm.cdf(z) + deviation * norm.pdf(z)
    return gain


def report(scores: list[Score], baseline: str, first: str, second: str, sizes: tuple[int, ...]) -> None:
    """Print two means of every arm by number of trainings, and the paired difference of each from a baseline."""
    values: dict[tuple[str, int], FloatArray] = {}
    for each in scores:
        found = np.array([[getattr(each, first), getattr(each, second)]])
        before = values.get((each.arm, each.size), np.empty((0, 2)))
        values[each.arm, each.size] = np.concatenate([before, found])
    arms = list(dict.fromkeys(each.arm for each in scores))
    write(f"\n{f'{first} / {second}':36s}" + "".join(f"{f'N={size}':>18s}" for size in sizes))
    for arm in arms:
        write(f"{arm:36s}" + "".join(f"{_pair(values.get((arm, size))):>18s}" for size in sizes).rstrip())
    write(f"\nless {baseline}: {first} and 95 % interval, then {second}")
    for arm in arms:
        cells = [_difference(values.get((arm, size)), values.get((baseline, size))) for size in sizes]
        write(f"{arm:36s}" + "".join(f"{cell:>34s}" for cell in cells).rstrip())


def _pair(values: FloatArray | None) -> str:
    return "" if values is None else " / ".join(f"{mean:.3f}" for mean in values.mean(axis=0))


def _difference(values: FloatArray | None, baseline: FloatArray | None) -> str:
    if values is None or baseline is None or len(values) < 2:
        return ""
    apart = values - baseline
    half = student.ppf(0.975, len(apart) - 1) * apart.std(axis=0, ddof=1) / np.sqrt(len(apart))
    return "  ".join(
        f"{mean:+.3f} ±{width:.3f}" for mean, width in zip(apart.mean(axis=0), half, strict=True)
    )


def _options() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("table", type=Path, help="nas-bench-macro_cifar10.json")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--samplers", nargs="*", choices=SAMPLERS, default=SAMPLERS)
    parser.add_argument(
        "--kernels", nargs="*", choices=KERNELS, default=["rbf", "matern", "matern-ard", "additive"]
    )
    parser.add_argument(
        "--loops",
        nargs="*",
        type=Loop.parse,
        default=[Loop(rule="paper"), Loop(rule="budget-ei"), BASELINE],
        metavar="RULE[:KERNEL[:SAMPLER[:INITIAL]]]",
    )
    parser.add_argument(
        "--noise",
        choices=get_args(Noise),
        default="mean",
        help="what a training comes to: mean of seeds, or one",
    )
    parser.add_argument("--starts", type=int, help="of each fit; as many as `fit_gp` makes by default")
    parser.add_argument("--json", type=Path, help="also write every score there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
