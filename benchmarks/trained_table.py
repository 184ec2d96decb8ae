"""A table of networks all of which were trained: what a sample of it teaches a predictor about the rest.

Reads NAS-Bench-Macro [Su2021]_: 8 layers in stages of 2, 3 and 3, each left out, or an inverted bottleneck of expansion 3
and kernel 3, or of 6 and 5; CIFAR-10 accuracies of three seeds. A layer's choice is one ordinal number.

References:
    [Su2021] Su et al.: Prioritized Architecture Sampling with Monto-Carlo Tree Search. CVPR 2021.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from chamnet.predictors.features import Structure
from chamnet.predictors.pool import Pool
from chamnet.space import Levels
from chamnet.space.qmc import imbalanced_qmc, sobol_levels

__all__ = ["SAMPLERS", "Noise", "Sampler", "TrainedTable"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Noise = Literal["mean", "one"]
Sampler = Literal["random", "sobol", "imbalanced"]
SAMPLERS: tuple[Sampler, ...] = ("random", "sobol", "imbalanced")

CHOICES = 3
BLOCKS = (2, 3, 3)  # of each stage
BUDGETS = np.arange(1, 10) / 10  # shares of networks that keep a budget
VERIFIED = 5  # networks predicted best that are trained to find the best of them
MORE = (1.0, 1.25, 1.5, 2.0, 3.0)  # networks asked for, as multiples of those wanted
TOP = 0.2  # share of networks whose order matters most
_EXACT = 1e-9


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedTable:
    """All networks of a small space, `n` of them.

    Attributes:
        levels: Shape `n x d`; row `i` is the number `i` in base 3.
        log_macs: Shape `n`.
        seeds: Accuracies in percent, shape `n x 3`.
    """

    levels: Levels
    log_macs: FloatArray
    seeds: FloatArray

    @classmethod
    def load(cls, path: Path) -> "TrainedTable":
        """Read a table; its keys are the layers' choices."""
        data = json.loads(path.read_text(encoding="utf-8"))
        keys = sorted(data)
        return cls(
            levels=np.array([[int(choice) for choice in key] for key in keys], dtype=np.int32),
            log_macs=np.log([data[key]["flops"] for key in keys]),
            seeds=np.array([data[key]["test_acc"] for key in keys]),
        )

    @cached_property
    def top1(self) -> FloatArray:
        """Means over the seeds, in percent: what a network is held to be worth, shape `n`."""
        mean: FloatArray = self.seeds.mean(axis=1)
        return mean

    @cached_property
    def features(self) -> FloatArray:
        """Levels scaled to [0, 1], shape `n x d`."""
        return self.levels / (CHOICES - 1)

    def observed(self, noise: Noise, rng: np.random.Generator) -> FloatArray:
        """Return what trainings come to, in percent, shape `n`: the mean of all seeds, or one of them."""
        if noise == "mean":
            return self.top1
        one: FloatArray = rng.permuted(self.seeds, axis=1)[:, 0]
        return one

    def pool(self, rows: Sequence[int] | IntArray, observed: FloatArray, *, by_layer: bool = False) -> Pool:
        """Return some networks as a predictor is fitted to them.

        Args:
            rows: Of the networks.
            observed: Accuracies in percent, shape `n`.
            by_layer: Whether layers stand alone in an additive kernel, and not with those of their stage.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        names = [
            f"s{stage}b{block}.op" if by_layer else f"s{stage}.b{block}"
            for stage, blocks in enumerate(BLOCKS)
            for block in range(blocks)
        ]
        structure = Structure(
            family="macro",
            names=tuple(names),
            low=(0,) * len(names),
            high=(CHOICES - 1,) * len(names),
            strides=(2,) * len(BLOCKS),
            classes=10,
        )
        return Pool(
            structure=structure,
            names=tuple(str(row) for row in chosen),
            recipes=("macro",) * len(chosen),
            sources={"macro": "NAS-Bench-Macro"},
            features=self.features[chosen],
            log_macs=self.log_macs[chosen],
            top1=observed[chosen],
            dataset="cifar10",
        )

    def sample(self, sampler: Sampler, count: int, seed: int) -> IntArray:
        """Return rows of different networks."""
        if sampler == "random":
            return np.random.default_rng(seed).permutation(len(self.levels))[:count]
        if sampler == "sobol":
            drawn = self.rows(sobol_levels(self._sizes, 4 * count, seed=seed))
            return drawn[np.sort(np.unique(drawn, return_index=True)[1])][:count]
        low, high = np.exp(self.log_macs.min()), np.exp(self.log_macs.max())
        for more in MORE:  # sub-spaces of few networks run out, and leave their share to the others
            levels = imbalanced_qmc(self._sizes, self.macs, int(count * more), low=low, high=high, seed=seed)
            if len(levels) >= count:
                return self.rows(levels[:count])
        raise ValueError(f"no {count} networks by imbalanced sampling")

    def rows(self, levels: Levels) -> IntArray:
        """Return the row of each network."""
        rows: IntArray = levels.astype(np.int64) @ CHOICES ** np.arange(levels.shape[1])[::-1]
        return rows

    def macs(self, levels: Levels) -> FloatArray:
        """Return the MACs of networks."""
        macs: FloatArray = np.exp(self.log_macs[self.rows(levels)])
        return macs

    def tau(self, predicted: FloatArray, known: IntArray) -> tuple[float, float]:
        """Return Kendall's tau over networks that are not known, and over the best fifth of them."""
        unseen = np.setdiff1d(np.arange(len(predicted)), known)
        best = unseen[self.top1[unseen] >= np.quantile(self.top1[unseen], 1 - TOP)]
        overall, within = (float(kendalltau(predicted[rows], self.top1[rows])[0]) for rows in (unseen, best))
        return overall, within

    def regret(self, predicted: FloatArray) -> tuple[float, float]:
        """Return points of top-1 missed by the network predicted best, and by the best of five; means over budgets."""
        missed = []
        for limit in np.quantile(self.log_macs, BUDGETS):
            within = np.flatnonzero(self.log_macs <= limit + _EXACT)
            chosen = within[np.argsort(-predicted[within], kind="stable")[:VERIFIED]]
            best = self.top1[within].max()
            missed.append((best - self.top1[chosen[0]], best - self.top1[chosen].max()))
        first, verified = np.mean(missed, axis=0).tolist()
        return first, verified

    @property
    def _sizes(self) -> IntArray:
        return np.full(self.levels.shape[1], CHOICES)
