"""Error of predicted latencies against networks that were never measured for the table.

    python benchmarks/latency_error.py [--granularity op] [--effort quick] [--networks 20] [--db FILE]

Profiles this machine (nothing is measured again where FILE holds it), then visits held-out networks in turn: random
genomes evenly spread in MACs, and published networks. Prints the error of each, and of all: mean absolute, bias,
worst, the share inside the 90 % interval, and how far the odd visits' medians are from the even ones' (the noise of
the truth). About 2 minutes.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

import numpy as np

from chamnet.lut.table import visit_ms
from chamnet.networks import Network, find
from chamnet.space import SearchSpace
from chamnet_host.campaign import run_campaign
from chamnet_host.session import Session

PUBLISHED = (*(f"chamnet-{letter}" for letter in "abcdef"), "mobilenet-v2-1.0-224")


def main() -> None:
    """Profile, then print predicted beside measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--granularity", choices=("block", "op"), default="block")
    parser.add_argument("--effort", default="quick")
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--db", type=Path)
    parser.add_argument("--seed", type=int, default=123)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        Session.open(asked.db or f"{scratch}/chamnet.db", target="local") as session,
    ):
        held_out = draw(session.space, asked.networks, asked.seed)
        session.profile(effort=asked.effort, granularity=asked.granularity)
        visit(session, held_out)
        report(session, held_out)


def draw(space: SearchSpace, count: int, seed: int) -> list[Network]:
    """Return random networks evenly spread over the ranks of MACs, and the published ones."""
    pool = [space.decode(g) for g in space.genomes(space.sample(20 * count, np.random.default_rng(seed)))]
    pool.sort(key=lambda network: network.macs)
    return [*pool[:: len(pool) // count][:count], *(find(name).build() for name in PUBLISHED)]


def visit(session: Session, networks: Sequence[Network]) -> None:
    """Visit each network twelve times, eight runs a visit, in turn."""
    lut_id, platform = session.measured
    plan = replace(session.plan("quick", session.granularity), units=(), networks=tuple(networks))
    run_campaign(
        plan,
        session.connect,
        session.store,
        lut_id=lut_id,
        digest=platform.digest,
        backend=platform.backend,
        progress=lambda tally: None,
    )
    session.forget_table()


def report(session: Session, networks: Sequence[Network]) -> None:
    """Write each network's error and the summary."""
    errors, inside = [], []
    for network in sorted(networks, key=lambda each: each.macs):
        predicted, measured = (
            session.latency.predict(network),
            session.table.networks[network.digest].latency_ms,
        )
        errors.append(predicted.value / measured - 1)
        inside.append(predicted.low <= measured <= predicted.high)
        sys.stdout.write(
            f"{measured:8.3f} ms  predicted {predicted.value:8.3f}  {errors[-1]:+7.1%}  {network.name}\n"
        )
    noise = split_half(session, {network.digest for network in networks})
    sys.stdout.write(f"{session.latency.calibration}\n")
    sys.stdout.write(
        f"{len(errors)} held-out networks, {session.granularity} units: mean absolute error {mean(map(abs, errors)):.1%},"
        f" bias {mean(errors):+.1%}, worst {max(map(abs, errors)):.1%}, {mean(inside):.0%} inside the 90 % interval;"
        f" noise of the truth {noise:.1%}\n"
    )


def split_half(session: Session, digests: set[str]) -> float:
    """Return the mean relative difference between medians of odd and even visits."""
    visits: dict[str, list[float]] = {}
    for stored in session.store.visits(session.measured[0], "network"):
        if stored.key in digests and stored.visit.samples_ns:
            visits.setdefault(stored.key, []).append(visit_ms(stored.visit))
    return mean(abs(median(each[::2]) / median(each[1::2]) - 1) for each in visits.values())


if __name__ == "__main__":
    main()
