"""How long a fit of the accuracy predictor takes, by kernel and number of trainings.

    pip install -e '.[host,fit]' --constraint constraints.txt
    python benchmarks/accuracy_fit_time.py ../shared/data/nas-bench-macro_cifar10.json [--sizes 240 1000] [--repeats 3]

CPU time of one core, medians; random networks, accuracies of one seed.
"""

from functools import partial
from pathlib import Path

import numpy as np
from common import options, pin, timed, write
from trained_table import TrainedTable

from chamnet.predictors.accuracy_fit import fit_gp
from chamnet.predictors.gp import KernelName

KERNELS: tuple[KernelName, ...] = ("additive", "matern-ard", "sum")


def main() -> None:
    """Print a line for each kernel and size."""
    parser = options(__doc__)
    parser.add_argument("table", type=Path, help="nas-bench-macro_cifar10.json")
    parser.add_argument("--sizes", type=int, nargs="+", default=[240, 1_000])
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    pin()
    table = TrainedTable.load(asked.table)
    observed = table.observed("one", np.random.default_rng(0))
    write("kernel       trainings    CPU s")
    for kernel in KERNELS:
        for size in asked.sizes:
            pool = table.pool(table.sample("random", size, seed=0), observed)
            run = timed(partial(fit_gp, pool, kernel=kernel), asked.repeats)
            write(f"{kernel:12s} {size:9,d} {run.cpu_s:8.2f}")


if __name__ == "__main__":
    main()
