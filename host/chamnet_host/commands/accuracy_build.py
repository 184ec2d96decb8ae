"""`chamnet-host accuracy build`: train networks of a space, and fit a predictor to what they come to."""

from typing import Annotated, cast, get_args

import typer

from chamnet.errors import BudgetError, ConfigError
from chamnet.lut import Store
from chamnet.predictors.acquisition import ACQUISITIONS, AcquisitionName
from chamnet.predictors.gp import KernelName
from chamnet.predictors.trainings import TrainingLog, pool_of
from chamnet.quantities import parse_budget
from chamnet.space import load_space, unit_grid
from chamnet.space.qmc import SUBSPACES
from chamnet.train import load_recipe
from chamnet_host.accuracies import check_name, keep_predictor, scratch_folder
from chamnet_host.options import DB, AsJson, Dataset, Db, Device, RecipeName, Seed, check_one_of
from chamnet_host.output import note, print_json, progress_bar
from chamnet_host.texts.accuracy import report_predictor
from chamnet_host.training.building import Build, BuildPlan, State, Until
from chamnet_host.training.executors import open_executor

__all__ = ["build"]


def build(
    space: Annotated[str, typer.Option("--space", help="Search space, or a .toml file.")],
    dataset: Dataset,
    recipe: RecipeName,
    name: Annotated[
        str, typer.Option("--as", help="Name to keep the predictor under in the store.", metavar="NAME")
    ],
    until_trainings: Annotated[
        int, typer.Option(help="Stop at this many trainings, seeds included.", min=6)
    ] = 240,
    until_mse: Annotated[
        float | None,
        typer.Option(
            help="Stop when the mean squared error of leaving one network out is this small, in points squared (the"
            " paper's 0.1 is 0.3 points).",
            show_default=False,
        ),
    ] = None,
    until_regret: Annotated[
        float | None,
        typer.Option(
            help="Stop when the network predicted best is expected to miss the best by this much, in points; a seed makes"
            " a difference of 0.1 to 0.3.",
            show_default=False,
        ),
    ] = None,
    acquisition: Annotated[
        str,
        typer.Option(
            help="What to train next: budget-ei (expected improvement at each of several MACs levels), paper (most"
            " uncertain and best per MACs by turns), random."
        ),
    ] = "budget-ei",
    pool: Annotated[int, typer.Option(help="Networks drawn to choose from.", min=16)] = 2048,
    initial: Annotated[int, typer.Option(help="Of them trained before anything is predicted.", min=8)] = 40,
    batch: Annotated[int, typer.Option(help="Results between fits of all numbers of the model.", min=1)] = 20,
    repeats: Annotated[
        float,
        typer.Option(
            help="Share of networks trained with a second seed, which tells the noise.", min=0, max=1
        ),
    ] = 0.1,
    macs: Annotated[
        str | None,
        typer.Option(
            help="Smallest and largest network, such as 0.3MMACs-4MMACs. Default: the space's.",
            show_default=False,
        ),
    ] = None,
    edges: Annotated[
        str | None,
        typer.Option(
            help="MACs at which the pool's sub-spaces end, such as 0.5MMACs,1MMACs,2MMACs. Default: 8 of equal ratio.",
            show_default=False,
        ),
    ] = None,
    quotas: Annotated[
        str | None,
        typer.Option(help="Share of each sub-space, such as 2,1,1,1. Default: equal.", show_default=False),
    ] = None,
    kernel: Annotated[
        str,
        typer.Option(
            help="Of the predictor: additive (the search proves its answers), sum (learns most from few trainings), matern,"
            " matern-ard, or rbf (the paper's). Networks are picked by sum."
        ),
    ] = "additive",
    executor: Annotated[str, typer.Option(help="Where trainings run: local or ray.")] = "local",
    workers: Annotated[
        int | None,
        typer.Option(help="Trainings at a time. Default: as many as fit.", min=1, show_default=False),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="Of a running Ray cluster (auto, HOST:PORT). Default: one of its own.", show_default=False
        ),
    ] = None,
    device: Device = "auto",
    db: Db = DB,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    r"""Train networks of a space, each chosen by what the ones before came to, and fit a predictor to them.

    Every result is stored when it arrives. Stop it with Ctrl-C whenever you like: the same command goes on, trainings cut
    off go on from their last epoch, and a larger --until-trainings adds to what is there. Built once, the predictor
    serves every device and budget. Needs chamnet\[train,fit].

    Example: `chamnet-host accuracy build --space chamnet-mobile-28 --dataset fashion-mnist --recipe fashion-quick
    --as fashion`, then `chamnet-host profile --space chamnet-mobile-28` and
    `chamnet-host search --space chamnet-mobile-28 --predictor fashion -b 40%`
    """
    check_name(name)
    check_one_of("--acquisition", acquisition, ACQUISITIONS)
    check_one_of("--kernel", kernel, get_args(KernelName))
    chosen, how = load_space(space), load_recipe(recipe)
    plan = BuildPlan(
        space=chosen,
        macs=unit_grid(chosen).macs,
        dataset=dataset,
        recipe=how,
        pool=pool,
        initial=initial,
        batch=batch,
        acquisition=cast(AcquisitionName, acquisition),
        repeats=repeats,
        range=_range(macs),
        edges=_edges(edges),
        quotas=_quotas(quotas, edges.count(",") + 2 if edges else SUBSPACES),
        until=Until(trainings=until_trainings, mse=until_mse, regret=until_regret),
        device=device,
        scratch=scratch_folder(db),
        seed=seed,
    )
    from chamnet.predictors.accuracy_fit import fit_accuracy

    with Store.open(db) as store:
        trainings = TrainingLog(store)
        with (
            open_executor(executor, how, workers=workers, ray_address=ray_address) as engine,
            progress_bar("train", unit="trainings") as show,
        ):
            running = Build(plan, trainings)
            note(
                f"training networks of {chosen.name} on {dataset} by {how.id}, {engine.slots} at a time; Ctrl-C keeps what is stored"
            )
            done = running.run(engine, lambda state: show(state.trainings, state.total or 0, _remark(state)))
        with progress_bar("fit", unit="fits"):
            predictor = fit_accuracy(pool_of(done, chosen), seed=seed, kernel=cast(KernelName, kernel))
        keep_predictor(store, name, predictor)
    if as_json:
        body = {
            "predictor": name,
            "trainings": len(done),
            "diverged": sum(each.top1 is None for each in done),
        }
        print_json("accuracy build", {**body, "recipe": how.id, "summary": predictor.summary()})
        return
    report_predictor(predictor)
    note(f"next: `chamnet-host search --space {space} --predictor {name} -b ...`")


def _remark(state: State) -> str:
    parts = [f"{state.running} running"]
    if state.rmse is not None:
        parts.append(f"error {state.rmse:.2f} points")
    if state.regret is not None:
        parts.append(f"expected regret {state.regret:.2f}")
    if state.failed:
        parts.append(f"{state.failed} failed")
    return ", ".join(parts)


def _range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    low, dash, high = text.partition("-")
    if not dash:
        raise ConfigError(f"--macs {text}: give two amounts, such as 0.3MMACs-4MMACs")
    least, most = _macs("--macs", low), _macs("--macs", high)
    if least >= most:
        raise ConfigError(f"--macs {text}: the first must be the smaller")
    return least, most


def _macs(option: str, text: str) -> float:
    try:
        amount = parse_budget(text)
    except BudgetError as error:
        raise ConfigError(f"{option}: {error}") from error
    if amount.metric != "macs":
        raise ConfigError(f"{option} {text}: give MACs, such as 300kMACs or 4MMACs")
    return amount.limit


def _edges(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    edges = tuple(_macs("--edges", each) for each in text.split(","))
    if list(edges) != sorted(set(edges)):
        raise ConfigError(f"--edges {text}: each must be larger than the one before")
    return edges


def _quotas(text: str | None, subspaces: int) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        quotas = tuple(float(each) for each in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--quotas {text}: give numbers, such as 2,1,1,1") from error
    if min(quotas) < 0 or not sum(quotas):
        raise ConfigError(f"--quotas {text}: shares are not negative, and not all zero")
    if len(quotas) != subspaces:
        raise ConfigError(f"--quotas {text}: there are {subspaces} sub-spaces, so give {subspaces} shares")
    return quotas
