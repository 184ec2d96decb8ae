r"""The paper's claim in small: networks found by predictors against what people use instead, at equal measured latency.

    chamnet-host accuracy import fashion-mnist-28 --space chamnet-mobile-28
    chamnet-host accuracy build --space chamnet-mobile-28 --dataset fashion-mnist --recipe fashion-quick --as fashion \
        --macs 0.3MMACs-4MMACs --until-trainings 180
    chamnet-host profile --space chamnet-mobile-28
    python benchmarks/claim_in_small.py choose --db chamnet.db
    python benchmarks/claim_in_small.py train --db chamnet.db
    python benchmarks/claim_in_small.py report --db chamnet.db

Budgets are fixed beforehand: the latencies that 25, 50 and 75 % of the pool's networks keep on this machine. At each one

- `mobilenet-v2`: the best of MobileNetV2 scaled in width and resolution to the budget, chosen on held-out images;
- `most-macs`: the network of most MACs within the budget;
- `pool`: the trained network of highest held-out accuracy within the budget;

and against each of them `ours`: what the search finds within the latency that the other one was *measured* to take.

`choose` measures; where ours takes over 3 % longer than the other, its budget is lowered until it does not. `train` trains
each network with 8 fresh seeds, the test images measured once each; cut off, it goes on. `report` gives the difference of
test accuracies, paired by seed, with the 95 % interval of Student's t. It reports what comes out.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import options, write
from scipy.stats import t as student

from chamnet.predictors.trainings import TrainingLog, trainings_inside
from chamnet.space import Levels, SearchSpace, draw_tilted
from chamnet.space.qmc import imbalanced_qmc
from chamnet.train import Job, load_recipe
from chamnet_host.accuracies import scratch_folder
from chamnet_host.session import Session
from chamnet_host.training.executors import LocalExecutor

SPACE, PREDICTOR, DATASET, RECIPE = "chamnet-mobile-28", "fashion", "fashion-mnist", "fashion-quick"
MACS = (3e5, 4e6)
SHARES = (0.25, 0.5, 0.75)
SEEDS = tuple(range(100, 108))  # none of them was trained with before
CHOSEN_WITH = 99  # seed of the MobileNetV2s that are chosen among
CLOSE, TRIES = 0.03, 6
# MobileNetV2 at width 1 as far as the space has it: 6-fold expansion, filters growing as there; filters and blocks halved,
# else no width keeps the smallest budget.
STEM, HEAD, FIRST = 16, 320, 8
STAGES = ((16, 1), (24, 1), (48, 2), (80, 1))
WIDTHS = tuple(np.arange(0.375, 1.751, 0.0625))
SCALED = 4  # MobileNetV2s nearest below a budget that are trained to choose among


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A network and ours at its latency.

    Attributes:
        arm: What the other network is.
        share: Of the pool, that keeps the budget.
        budget_ms: The budget.
        other, ours: Their genomes.
        other_ms, ours_ms: Measured one after the other in turns.
    """

    arm: str
    share: float
    budget_ms: float
    other: tuple[int, ...]
    ours: tuple[int, ...]
    other_ms: float
    ours_ms: float


def main() -> None:
    """Run one of the three steps."""
    asked = _options()
    {"choose": choose, "train": train, "report": report}[asked.step](asked.db, asked.out)


def choose(db: Path, out: Path) -> None:
    """Fix budgets, find the networks, measure them."""
    pairs = []
    with Session.open(db, space=SPACE, predictor=PREDICTOR, create=False) as session:
        space, latency = session.space, session.cost_tables["latency_ms"]
        pool = imbalanced_qmc(space.sizes, session.macs.total, 2048, low=MACS[0], high=MACS[1])
        budgets = np.quantile(latency.total(pool), SHARES)
        for share, budget_ms in zip(SHARES, budgets.tolist(), strict=True):
            others = {
                "mobilenet-v2": _mobilenet(session, budget_ms),
                "most-macs": _most_macs(session, budget_ms),
                "pool": _best_trained(session, budget_ms),
            }
            for arm, genome in others.items():
                pair = _matched(session, arm, share, budget_ms, genome)
                pairs.append(pair)
                write(f"{share:.0%} {arm:13s} {pair.other_ms:.4f} ms, ours {pair.ours_ms:.4f} ms")
    out.write_text(json.dumps({"pairs": [asdict(pair) for pair in pairs], "trained": []}), encoding="utf-8")


def train(db: Path, out: Path) -> None:
    """Train every network of the pairs with every seed."""
    held = json.loads(out.read_text(encoding="utf-8"))
    done = {(tuple(each["genome"]), each["seed"]) for each in held["trained"]}
    genomes = dict.fromkeys(tuple(pair[who]) for pair in held["pairs"] for who in ("other", "ours"))
    wanted = [(genome, seed) for seed in SEEDS for genome in genomes if (genome, seed) not in done]
    with Session.open(db, space=SPACE, create=False) as session:
        space = session.space
    write(f"{len(genomes)} networks, {len(SEEDS)} seeds, {len(wanted)} trainings to make")
    for genome, seed, top1, test_top1 in _trained(space, wanted, db):
        held["trained"].append({"genome": genome, "seed": seed, "top1": top1, "test_top1": test_top1})
        part = out.with_suffix(".part")
        part.write_text(json.dumps(held), encoding="utf-8")
        part.replace(out)
        write(f"{'-'.join(map(str, genome))} seed {seed}: {top1:.2f}, test {test_top1:.2f}")


def report(db: Path, out: Path) -> None:
    """Give the paired differences of test accuracies."""
    held = json.loads(out.read_text(encoding="utf-8"))
    test = {(tuple(each["genome"]), each["seed"]): each["test_top1"] for each in held["trained"]}
    write("budget  other          other ms  ours/other  seeds   other    ours  ours less other, 95 %")
    for pair in held["pairs"]:
        other, ours = tuple(pair["other"]), tuple(pair["ours"])
        seeds = [seed for seed in SEEDS if (other, seed) in test and (ours, seed) in test]
        if len(seeds) < 2:
            write(f"{pair['share']:5.0%}   {pair['arm']:13s} not trained yet")
            continue
        one, two = (np.array([test[genome, seed] for seed in seeds]) for genome in (other, ours))
        gain = two - one
        reach = student.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
        write(
            f"{pair['share']:5.0%}   {pair['arm']:13s} {pair['other_ms']:9.4f} {pair['ours_ms'] / pair['other_ms']:11.3f}"
            f" {len(seeds):6d} {one.mean():7.2f} {two.mean():7.2f}  {gain.mean():+.2f} ± {reach:.2f}"
        )


def _matched(session: Session, arm: str, share: float, budget_ms: float, genome: tuple[int, ...]) -> Pair:
    """Search within the measured latency of a network; lower the budget until ours keeps it, measured."""
    other = session.space.decode(genome)
    (measured,) = session.verify([other])
    asked_ms = measured.row.latency_ms
    for _ in range(TRIES):
        ours = session.search(f"{asked_ms:.6f}ms").genome
        if ours == genome:
            return Pair(
                arm=arm,
                share=share,
                budget_ms=budget_ms,
                other=genome,
                ours=ours,
                other_ms=asked_ms,
                ours_ms=asked_ms,
            )
        one, two = session.verify([other, session.space.decode(ours)])
        other_ms, ours_ms = one.row.latency_ms, two.row.latency_ms
        if ours_ms <= (1 + CLOSE) * other_ms:
            break
        asked_ms *= other_ms / ours_ms
    return Pair(
        arm=arm, share=share, budget_ms=budget_ms, other=genome, ours=ours, other_ms=other_ms, ours_ms=ours_ms
    )


def _mobilenet(session: Session, budget_ms: float) -> tuple[int, ...]:
    """Return the scaled MobileNetV2 of highest held-out accuracy among those nearest below the budget."""
    space = session.space
    genomes = list(dict.fromkeys(_scaled(space, w, r) for w in WIDTHS for r in space.resolution.values))
    latency_ms = session.cost_tables["latency_ms"].total(space.levels(genomes))
    within = [i for i in np.argsort(-latency_ms) if latency_ms[i] <= budget_ms][:SCALED]
    tried = list(_trained(space, [(genomes[i], CHOSEN_WITH) for i in within], Path(session.store.path)))
    return max(tried, key=lambda each: each[2])[0]


def _scaled(space: SearchSpace, width: float, resolution: int) -> tuple[int, ...]:
    wanted: dict[str, float] = {"resolution": resolution, "stem": STEM * width, "head": HEAD * width}
    first, *others = space.stages
    wanted[first.filters.name] = FIRST * width
    for stage, (filters, blocks) in zip(others, STAGES, strict=True):
        wanted |= {stage.expansion.name: 6, stage.filters.name: filters * width, stage.blocks.name: blocks}
    return tuple(
        min(axis.values, key=lambda value: abs(value - wanted[axis.name])) for axis in space.decisions
    )


def _most_macs(session: Session, budget_ms: float) -> tuple[int, ...]:
    levels = draw_tilted(session.space, 400_000, np.random.default_rng(0))
    within = levels[session.cost_tables["latency_ms"].total(levels) <= budget_ms]
    best: Levels = within[[int(np.argmax(session.macs.total(within)))]]
    return session.space.genomes(best)[0]


def _best_trained(session: Session, budget_ms: float) -> tuple[int, ...]:
    recipe, space = load_recipe(RECIPE).id, session.space
    known: dict[tuple[int, ...], list[float]] = {}
    for each in trainings_inside(TrainingLog(session.store).read(DATASET), space):
        if each.recipe == recipe and each.top1 is not None:
            known.setdefault(space.genome(each.architecture), []).append(each.top1)
    genomes = list(known)
    latency_ms = session.cost_tables["latency_ms"].total(space.levels(genomes))
    within = [genome for genome, ms in zip(genomes, latency_ms, strict=True) if ms <= budget_ms]
    return max(within, key=lambda genome: float(np.mean(known[genome])))


def _trained(
    space: SearchSpace, wanted: Sequence[tuple[tuple[int, ...], int]], db: Path
) -> Iterator[tuple[tuple[int, ...], int, float, float]]:
    """Train networks with seeds, and yield held-out and test accuracies as they come."""
    recipe = load_recipe(RECIPE)

    def job(genome: tuple[int, ...], seed: int) -> Job:
        architecture = space.architecture(genome).trained
        made = Job(architecture=architecture, dataset=DATASET, recipe=recipe, seed=seed, on_test=True)
        return made.kept_in(scratch_folder(db))

    with LocalExecutor(None, recipe.resources) as executor:
        running = {executor.submit(job(*each)): each for each in wanted}
        for future in as_completed(running):
            outcome = future.result()
            if outcome.top1 is None or outcome.test_top1 is None:
                raise RuntimeError(f"{running[future]}: {outcome.status} {outcome.message}")
            yield *running[future], outcome.top1, outcome.test_top1


def _options() -> Any:
    parser = options(__doc__)
    parser.add_argument("step", choices=("choose", "train", "report"))
    parser.add_argument("--db", type=Path, default=Path("chamnet.db"), help="store with table and predictor")
    parser.add_argument("--out", type=Path, default=Path("claim.json"), help="what is chosen and trained")
    return parser.parse_args()


if __name__ == "__main__":
    main()
