"""Time to profile this machine against measuring every unit of the space naively.

    python benchmarks/profile_cost.py [--effort quick] [--backend onnxruntime] [--dtype f32] [--sample 200]

Profiles into a fresh store, then measures a random sample of the grid's operators one by one, each a file of its own,
alone in a hot loop, the way a first script would (50 runs, as MobileNet benchmarks on phones do), and scales their
time up to the whole grid. Prints both, the ratio, and the share of the profile's time inside timed calls. Wall clock,
since that is what a user waits for. About 3 minutes with a quick effort.
"""

import sys
import tempfile

import numpy as np
from common import options

from chamnet.clock import Clock, SystemClock
from chamnet.records import Item, Policy
from chamnet_host.session import Session

NAIVE = Policy(mode="loop", laps=50, warmup_laps=5, noops=0, isolated=True)
AT_ONCE = 50


def main() -> None:
    """Profile, measure a sample naively, print both."""
    parser = options(__doc__)
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--dtype", choices=("f32", "int8"), default="f32")
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    clock = SystemClock()
    with (
        tempfile.TemporaryDirectory() as scratch,
        Session.open(
            f"{scratch}/chamnet.db", target="local", backend=asked.backend, dtype=asked.dtype
        ) as session,
    ):
        start_ns = clock.now_ns()
        tally = session.profile(effort=asked.effort)
        _ = session.cost_tables
        profile_s = (clock.now_ns() - start_ns) / 1e9
        grid = [unit.key for unit in session.grid("op").units]
        naive_s = naive_unit_s(session, grid, asked.sample, asked.seed, clock) * len(grid)
    sys.stdout.write(
        f"profile --effort {asked.effort}: {profile_s:.0f} s, {tally.stored:,} visits,"
        f" {tally.timed_share or 0:.0%} of the measuring inside timed calls\n"
        f"every one of {len(grid):,} operators naively: {naive_s / 60:.0f} min (from {asked.sample} of them),"
        f" {naive_s / profile_s:.1f} times as long\n"
    )


def naive_unit_s(session: Session, grid: list[str], sample: int, seed: int, clock: Clock) -> float:
    """Return the wall time that one operator takes on average, in s."""
    chosen = [grid[i] for i in np.random.default_rng(seed).permutation(len(grid))[:sample]]
    backend = session.measured[1].backend
    with session.connect() as client:
        start_ns = clock.now_ns()
        for part in batched_keys(chosen):
            items = [Item(visit_id=key, blocks=(key,)) for key in part]
            for visit in client.measure(items, NAIVE, backend=backend):
                if visit.status != "ok":
                    raise SystemExit(f"{visit.visit_id}: {visit.message}")
        return (clock.now_ns() - start_ns) / 1e9 / sample


def batched_keys(keys: list[str]) -> list[list[str]]:
    """Return the keys in requests of a size that reports progress often."""
    return [keys[start : start + AT_ONCE] for start in range(0, len(keys), AT_ONCE)]


if __name__ == "__main__":
    main()
