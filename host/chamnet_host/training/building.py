"""Builds an accuracy predictor: trains networks of a space, each chosen by what the ones before came to.

All that the loop knows is what is stored. Killed anywhere, the same command goes on: trainings that had ended count,
those that ran go on from their last checkpoint.
"""

import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from chamnet.errors import WorkerError
from chamnet.networks import Architecture
from chamnet.predictors.acquisition import AcquisitionName, Candidates, expected_regret, macs_levels, pick
from chamnet.predictors.features import Structure
from chamnet.predictors.gp import GaussianProcess, KernelName
from chamnet.predictors.pool import from_log_error
from chamnet.predictors.trainings import Training, TrainingLog, pool_of
from chamnet.space import CostTables, Levels, SearchSpace
from chamnet.space.qmc import imbalanced_qmc
from chamnet.train import Job, Outcome, Recipe, dataset_name
from chamnet_host.training.executors import Executor

__all__ = ["Build", "BuildPlan", "Progress", "Until"]

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

_FEWEST = 8  # networks that a model is fitted to
_CRASHES = 3  # of one training, after which it is given up
_NEIGHBOURS_OF = 10  # MACs levels whose best networks' neighbours are candidates, too


@dataclass(frozen=True, kw_only=True)
class Until:
    """When to stop: at the first of these that is reached.

    Attributes:
        trainings: Stored, those before this run and several seeds included.
        mse: Mean squared error of leaving one network out, in points of top-1 squared.
        regret: Expected regret, in points of top-1.
    """

    trainings: int | None = 240
    mse: float | None = None
    regret: float | None = None


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """What to build.

    Attributes:
        space: The networks.
        macs: Of its networks.
        dataset: `NAME` or `NAME:FOLDER`.
        recipe: How each is trained.
        pool: Networks drawn, small ones as many as large ones.
        initial: Of them trained before anything is fitted.
        batch: Results between fits of the model's numbers.
        acquisition: Chooses those after the initial ones.
        repeats: Share of networks that are trained with a second seed, which tells the noise.
        range: MACs of the smallest and largest network; None for the space's own.
        edges, quotas: Of the sub-spaces, see `imbalanced_qmc`.
        kernel: Of the model that the next networks are picked by.
        until: When to stop.
        device: That trainings compute on.
        scratch: Folder of checkpoints.
        seed: Of everything.
    """

    space: SearchSpace
    macs: CostTables
    dataset: str
    recipe: Recipe
    pool: int = 2048
    initial: int = 40
    batch: int = 20
    acquisition: AcquisitionName = "budget-ei"
    repeats: float = 0.1
    range: tuple[float, float] | None = None
    edges: tuple[float, ...] | None = None
    quotas: tuple[float, ...] | None = None
    kernel: KernelName = "sum"
    until: Until = field(default_factory=Until)
    device: str = "auto"
    scratch: Path | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class State:
    """How far a build has got.

    Attributes:
        trainings: Stored.
        total: At which it stops; None if only an error or regret stops it.
        running: Now.
        rmse: Of leaving one network out, in points of top-1; None before the first fit.
        regret: Expected, in points of top-1.
        failed: Trainings that diverged, or crashed too often.
    """

    trainings: int
    total: int | None
    running: int
    rmse: float | None
    regret: float | None
    failed: int


Progress = Callable[[State], None]


class Build:
    """One build, from what is stored to where it stops.

    Args:
        plan: What to build.
        trainings: Where results go, and where earlier ones lie.
    """

    def __init__(self, plan: BuildPlan, trainings: TrainingLog) -> None:
        self.plan, self._log = plan, trainings
        self._structure = Structure.of(plan.space)
        self._done: list[Training] = [
            each for each in trainings.read(dataset_name(plan.dataset)) if self._is_ours(each)
        ]
        self._model: GaussianProcess | None = None
        self._fitted_at = 0
        self._rmse: float | None = None
        self._regret: float | None = None
        self._crashes: dict[tuple[bytes, int], int] = {}
        self._near: Levels = np.empty((0, len(plan.space.decisions)), dtype=np.int32)

    def run(self, executor: Executor, progress: Progress = lambda state: None) -> list[Training]:
        """Train until it is enough; return all trainings of the build, those of earlier runs included.

        Raises:
            ConfigError: The dataset or a GPU is missing, or the recipe does not fit.
            WorkerError: Trainings crash again and again.
        """
        running: dict[Future[Outcome], Job] = {}
        try:
            while True:
                self._learn()
                progress(self._state(len(running)))
                while len(running) < executor.slots and not self._enough(len(running)):
                    job = self._next([self._place(each) for each in running.values()])
                    if job is None:
                        break
                    running[executor.submit(job)] = job
                if not running:
                    return self._done
                progress(self._state(len(running)))
                ended, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    self._take(running.pop(future), future.result())
        finally:
            for future in running:
                future.cancel()

    @cached_property
    def pool(self) -> Levels:
        """Networks drawn for the build as levels, shape `n x d`, in the order the initial ones are taken from."""
        plan = self.plan
        lowest, highest = plan.macs.bounds()
        low, high = plan.range or (float(lowest.min()), float(highest.max()))
        return imbalanced_qmc(
            plan.space.sizes,
            plan.macs.total,
            plan.pool,
            low=low,
            high=high,
            edges=plan.edges,
            quotas=plan.quotas,
            seed=plan.seed,
        )

    def _is_ours(self, training: Training) -> bool:
        return training.recipe == self.plan.recipe.id and self.plan.space.holds(
            replace(training.architecture, batch=self.plan.space.batch, dtype=self.plan.space.dtype)
        )

    def _state(self, running: int) -> State:
        failed = sum(each.top1 is None for each in self._done)
        failed += sum(count >= _CRASHES for count in self._crashes.values())
        return State(
            trainings=len(self._done),
            total=self.plan.until.trainings,
            running=running,
            rmse=self._rmse,
            regret=self._regret,
            failed=failed,
        )

    def _enough(self, running: int) -> bool:
        until = self.plan.until
        if until.trainings is not None and len(self._done) + running >= until.trainings:
            return True
        if until.mse is not None and self._rmse is not None and self._rmse**2 <= until.mse:
            return True
        return until.regret is not None and self._regret is not None and self._regret <= until.regret

    def _place(self, job: Job) -> tuple[bytes, int]:
        return self._levels(job.architecture).tobytes(), job.seed

    def _levels(self, architecture: Architecture) -> npt.NDArray[np.int32]:
        space = self.plan.space
        row: npt.NDArray[np.int32] = space.levels([space.genome(architecture)])[0]
        return row

    def _take(self, job: Job, outcome: Outcome) -> None:
        """Store what a training came to, before anything else is done with it."""
        if outcome.status == "crashed":
            place = self._place(job)
            self._crashes[place] = self._crashes.get(place, 0) + 1
            log.warning("a training crashed (%s)", outcome.message)
            if sum(count >= _CRASHES for count in self._crashes.values()) >= _CRASHES:
                raise WorkerError(
                    f"trainings crash again and again; {len(self._done)} are stored, the same command continues. Last:"
                    f" {outcome.message}"
                )
            return
        network = self.plan.space.decode(self.plan.space.genome(job.architecture))
        training = Training(
            name=network.name,
            architecture=network.architecture,
            dataset=dataset_name(job.dataset),
            recipe=job.recipe.id,
            seed=job.seed,
            top1=outcome.top1,
            source="accuracy build",
        )
        self._log.append([training])
        self._done.append(training)
        job.forget()

    def _learn(self) -> None:
        """Take in what is stored: all numbers of the model are fitted once a batch, its data at any time."""
        known = [each for each in self._done if each.top1 is not None]
        if len({each.name for each in known}) < _FEWEST:
            return
        pool = pool_of(known, self.plan.space)
        if self._model is None or len(known) - self._fitted_at >= self.plan.batch:
            from chamnet.predictors.accuracy_fit import fit_gp

            self._model = fit_gp(pool, kernel=self.plan.kernel, seed=self.plan.seed)
            self._fitted_at = len(known)
            self._near = self._neighbours(self._model)
            rng = np.random.default_rng((self.plan.seed, 1))
            self._regret = expected_regret(self._model, self._candidates(set())[1], rng=rng)
        self._model = self._model.on(pool.features, pool.log_macs, pool.log_error, pool.recipe_numbers)
        left_out, _ = self._model.left_out(pool.network_numbers)
        self._rmse = float(np.sqrt(np.mean((from_log_error(left_out) - pool.top1) ** 2)))

    def _next(self, running: Sequence[tuple[bytes, int]]) -> Job | None:
        """Return the next training; None where nothing is left to train."""
        given_up = [place for place, count in self._crashes.items() if count >= _CRASHES]
        places = [(self._levels(each.architecture).tobytes(), each.seed) for each in self._done]
        places += [*running, *given_up]
        seeds: dict[bytes, int] = {}
        for key, seed in places:
            seeds[key] = max(seeds.get(key, 0), seed)
        repeated = sum(seed > self.plan.seed for seed in seeds.values())
        if repeated < math.floor(self.plan.repeats * len(seeds)):
            again = self._least_known(seeds)
            if again is not None:
                return self._job(again, seeds[again] + 1)
        if len(seeds) < self.plan.initial or self._model is None:
            fresh = next((row.tobytes() for row in self.pool if row.tobytes() not in seeds), None)
            return None if fresh is None else self._job(fresh, self.plan.seed)
        levels, candidates = self._candidates(set(seeds))
        pending = np.frombuffer(b"".join(key for key, _ in running), dtype=np.int32)
        features, log_macs = self._inputs(pending.reshape(-1, levels.shape[1]))
        turn = len(places)
        row = pick(
            self.plan.acquisition,
            self._model.believing(features, log_macs, 0),
            candidates,
            turn=turn,
            rng=np.random.default_rng((self.plan.seed, 2, turn)),
        )
        return None if row is None else self._job(levels[row].tobytes(), self.plan.seed)

    def _least_known(self, seeds: dict[bytes, int]) -> bytes | None:
        """Return the network of one seed whose MACs lie farthest from those with several, on a scale of logarithms."""
        once = [key for key, seed in seeds.items() if seed == self.plan.seed]
        if not once:
            return None
        rows = np.frombuffer(b"".join(once), dtype=np.int32).reshape(len(once), -1)
        log_macs = np.log(self.plan.macs.total(rows))
        often = [key for key, seed in seeds.items() if seed > self.plan.seed]
        if not often:
            return once[int(np.argmin(np.abs(log_macs - np.median(log_macs))))]
        others = np.frombuffer(b"".join(often), dtype=np.int32).reshape(len(often), -1)
        apart = np.abs(log_macs[:, None] - np.log(self.plan.macs.total(others))).min(axis=1)
        return once[int(np.argmax(apart))]

    def _job(self, key: bytes, seed: int) -> Job:
        plan, levels = self.plan, np.frombuffer(key, dtype=np.int32)[None]
        job = Job(
            architecture=plan.space.architecture(plan.space.genomes(levels)[0]).trained,
            dataset=plan.dataset,
            recipe=plan.recipe,
            seed=seed,
            device=plan.device,
        )
        return job.kept_in(plan.scratch) if plan.scratch else job

    def _candidates(self, taken: set[bytes]) -> tuple[Levels, Candidates]:
        """Return all that may be picked, or has been trained, as levels and as the model sees them."""
        trained = [self._levels(each.architecture) for each in self._done]
        levels = np.unique(
            np.concatenate([self.pool, self._near, np.array(trained).reshape(-1, self.pool.shape[1])]), axis=0
        )
        levels = np.ascontiguousarray(levels, dtype=np.int32)
        features, log_macs = self._inputs(levels)
        return levels, Candidates(features, log_macs, np.array([row.tobytes() in taken for row in levels]))

    def _inputs(self, levels: Levels) -> tuple[FloatArray, FloatArray]:
        values = self._structure.values_of(self.plan.space, levels)
        return self._structure.scale(values), np.log(self.plan.macs.total(levels))

    def _neighbours(self, model: GaussianProcess) -> Levels:
        """Return networks one step away from the best ones within each MACs level, as far as they lie in the range."""
        levels, candidates = self._candidates(set())
        mean, _ = model.posterior(candidates.features, candidates.log_macs, 0)
        best = []
        for limit in macs_levels(candidates.log_macs, _NEIGHBOURS_OF):
            within = np.flatnonzero(candidates.log_macs <= limit + 1e-12)
            best.append(levels[within[np.argmax(mean[within])]])
        steps = np.concatenate(
            [np.eye(levels.shape[1], dtype=np.int32), -np.eye(levels.shape[1], dtype=np.int32)]
        )
        moved = (np.array(best)[:, None] + steps).reshape(-1, levels.shape[1])
        inside = ((moved >= 0) & (moved < self.plan.space.sizes)).all(axis=1)
        moved = np.unique(moved[inside], axis=0)
        macs = self.plan.macs.total(moved)
        low, high = self.plan.range or (0.0, math.inf)
        return moved[(macs >= low) & (macs <= high)].astype(np.int32)
