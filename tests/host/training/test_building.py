"""The loop that builds a predictor, with trainings that take no time: a formula in place of epochs."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pytest

from chamnet.errors import ConfigError, WorkerError
from chamnet.lut import Store
from chamnet.predictors.trainings import TrainingLog
from chamnet.space import load_space, unit_grid
from chamnet.train import Job, Outcome, Recipe
from chamnet_host.training.building import Build, BuildPlan, State, Until

pytestmark = pytest.mark.slow  # fits take seconds
pytest.importorskip("botorch")

SPACE = load_space("chamnet-mobile-28")
GRID = unit_grid(SPACE)
MACS = GRID.tables([unit.macs for unit in GRID.units])
RECIPE = Recipe.from_dict({"name": "formula", "epochs": 1})
PLAN = BuildPlan(
    space=SPACE,
    macs=MACS,
    dataset="fashion-mnist",
    recipe=RECIPE,
    pool=128,
    initial=12,
    batch=20,
    range=(3e5, 4e6),
    until=Until(trainings=24),
)


def formula(job: Job) -> Outcome:
    network = job.architecture.build()
    seeds = np.random.default_rng((job.seed, network.macs))
    error = 12 * (network.macs / 1e6) ** -0.3 + 0.02 * (28 - job.architecture.resolution) ** 2
    return Outcome(status="ok", top1=float(100 - error + seeds.normal(0, 0.1)), epochs=1)


class Formula:
    """An executor whose trainings end when they are looked at, the last one submitted first."""

    def __init__(self, slots: int = 2, train: Callable[[Job], Outcome] = formula) -> None:
        self.slots, self.jobs = slots, list[Job]()
        self._train = train

    def submit(self, job: Job) -> Future[Outcome]:
        self.jobs.append(job)
        future: Future[Outcome] = Future()
        try:
            future.set_result(self._train(job))
        except Exception as error:  # noqa: BLE001 - whatever it is, the future gives it
            future.set_exception(error)
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        return


@pytest.fixture
def log(tmp_path: Path) -> Iterator[TrainingLog]:
    with Store.open(tmp_path / "chamnet.db") as store:
        yield TrainingLog(store)


def test_it_trains_as_many_as_asked_and_none_twice(log: TrainingLog) -> None:
    executor, states = Formula(), list[State]()
    done = Build(PLAN, log).run(executor, states.append)
    assert len(done) == len(executor.jobs) == 24
    assert max(Counter(training.key for training in log.read()).values()) == 1
    assert {training.recipe for training in done} == {RECIPE.id}
    assert states[-1].rmse is not None
    assert states[-1].rmse < 2
    assert states[-1].regret is not None
    assert max(state.running for state in states) == 2


def test_a_tenth_of_the_networks_have_a_second_seed(log: TrainingLog) -> None:
    done = Build(PLAN, log).run(Formula())
    seeds = Counter(training.name for training in done)
    assert sum(count == 2 for count in seeds.values()) == 2
    assert max(seeds.values()) == 2


def test_stopped_anywhere_the_same_command_goes_on(log: TrainingLog) -> None:
    def broken(job: Job) -> Outcome:
        if len(log.read()) >= 17:
            raise KeyboardInterrupt
        return formula(job)

    with pytest.raises(KeyboardInterrupt):
        Build(PLAN, log).run(Formula(train=broken))
    before = [training.key for training in log.read()]
    executor = Formula()
    done = Build(PLAN, log).run(executor)
    assert [training.key for training in done][: len(before)] == before
    assert len(done) == 24
    assert len(executor.jobs) == 24 - len(before)


def test_enough_is_enough(log: TrainingLog) -> None:
    Build(PLAN, log).run(Formula())
    executor = Formula()
    assert len(Build(PLAN, log).run(executor)) == 24
    assert not executor.jobs


def test_one_at_a_time_the_seed_decides(tmp_path: Path) -> None:
    names = []
    for name in ("a", "b"):
        with Store.open(tmp_path / name) as store:
            executor = Formula(slots=1)
            Build(PLAN, TrainingLog(store)).run(executor)
            names.append([(job.architecture, job.seed) for job in executor.jobs])
    assert names[0] == names[1]


def test_other_recipes_and_spaces_do_not_count(log: TrainingLog) -> None:
    other = replace(PLAN, recipe=replace(RECIPE, epochs=2), until=Until(trainings=9))
    Build(other, log).run(Formula())
    assert len(Build(PLAN, log).run(Formula())) == 24


def test_a_small_error_ends_it(log: TrainingLog) -> None:
    done = Build(replace(PLAN, until=Until(trainings=60, mse=4.0)), log).run(Formula())
    assert len(done) < 30


def test_a_small_expected_regret_ends_it(log: TrainingLog) -> None:
    done = Build(replace(PLAN, until=Until(trainings=60, regret=5.0)), log).run(Formula())
    assert len(done) < 30


def test_a_training_that_diverges_is_an_outcome_and_not_repeated(log: TrainingLog) -> None:
    def moody(job: Job) -> Outcome:
        return Outcome(status="diverged") if job.architecture.resolution == 20 else formula(job)

    states = list[State]()
    done = Build(PLAN, log).run(Formula(train=moody), states.append)
    failed = sum(training.top1 is None for training in done)
    assert failed > 0
    assert states[-1].failed == failed
    assert max(Counter(training.key for training in done).values()) == 1


def test_a_training_that_crashes_is_tried_again(log: TrainingLog) -> None:
    tried = Counter[str]()

    def fragile(job: Job) -> Outcome:
        tried[job.key] += 1
        return Outcome(status="crashed", message="signal 9") if tried[job.key] == 1 else formula(job)

    done = Build(replace(PLAN, until=Until(trainings=12)), log).run(Formula(train=fragile))
    assert len(done) == 12


def test_crashes_again_and_again_end_it(log: TrainingLog) -> None:
    with pytest.raises(WorkerError, match=r"crash again and again.*signal 9"):
        Build(PLAN, log).run(Formula(train=lambda job: Outcome(status="crashed", message="signal 9")))


def test_what_the_user_must_mend_ends_it_and_keeps_the_rest(log: TrainingLog) -> None:
    def gone(job: Job) -> Outcome:
        if len(log.read()) >= 5:
            raise ConfigError("the disk with the images is gone")
        return formula(job)

    with pytest.raises(ConfigError, match="is gone"):
        Build(PLAN, log).run(Formula(slots=1, train=gone))
    assert len(log.read()) == 5


def test_picks_lie_in_the_range(log: TrainingLog) -> None:
    executor = Formula()
    Build(replace(PLAN, range=(5e5, 1e6), until=Until(trainings=40)), log).run(executor)
    macs = np.array([job.architecture.build().macs for job in executor.jobs])
    assert ((macs >= 5e5) & (macs <= 1e6)).all()


@pytest.mark.parametrize("acquisition", ["paper", "random"])
def test_other_acquisitions(log: TrainingLog, acquisition: str) -> None:
    done = Build(replace(PLAN, acquisition=acquisition), log).run(Formula())  # type: ignore[arg-type]
    assert len(done) == 24
