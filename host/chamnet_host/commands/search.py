"""`chamnet-host search`: the most accurate network within a budget."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from chamnet.clock import SystemClock
from chamnet.errors import ConfigError
from chamnet.quantities import format_count, ns_to_ms
from chamnet.search import SearchSettings, format_amount
from chamnet_host.answer import Answer, search
from chamnet_host.options import DB, SPACE, AsJson, Backend, Db, Dtype, Profiles, Seed, SpaceName, Target
from chamnet_host.output import note, print_json, print_table, print_text
from chamnet_host.session import Session
from chamnet_host.subjects import LAST_SEARCH

__all__ = ["register"]


Budgets = Annotated[
    list[str],
    typer.Option(
        "--budget",
        "-b",
        help="20ms, 300MMACs, 4Mparams, 5MB (weights), like:NETWORK (as fast as that network here), 40% (of the"
        " slowest network's latency). Commas hold together (8ms,300MMACs); repeat the option for separate answers.",
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(help="Weight of an overrun in 1/unit. Default: 10 / budget.", show_default=False),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        help="Training recipe that accuracies are predicted for; see `accuracy show`.", show_default=False
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(name="search")(search_command)


def search_command(
    budget: Budgets,
    target: Target = None,
    backend: Backend = None,
    dtype: Dtype = None,
    space: SpaceName = SPACE,
    population: Annotated[int, typer.Option(help="Networks in a generation.", min=2)] = 96,
    generations: Annotated[int, typer.Option(help="Generations.", min=0)] = 100,
    alpha: Alpha = None,
    exponent: Annotated[float, typer.Option(help="Power of the weighted overrun.")] = 2.0,
    recipe: Recipe = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the JSON to a file as well.")
    ] = None,
    db: Db = DB,
    profiles: Profiles = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Find the most accurate network that runs on a device within a budget.

    Latency comes from what `profile` measured, accuracy from the predictor that ships (published ImageNet
    networks). The evolutionary search is the paper's: population 96, 100 generations.

    Examples: `chamnet-host search --budget 8ms`, `chamnet-host search -b 4ms -b 8ms,300MMACs --json`
    """
    clock = SystemClock()
    start_ns = clock.now_ns()
    settings = SearchSettings(
        population=population, generations=generations, alpha=alpha, exponent=exponent, seed=seed
    )
    with Session.open(
        db,
        target=target,
        space=space,
        profiles=profiles,
        seed=seed,
        recipe=recipe,
        create=False,
        backend=backend,
        dtype=dtype,
    ) as session:
        answers: list[Answer] = []
        for text in budget:
            if not (answers and answers[-1].result.interrupted):
                answers.append(search(session, text, settings))
        body = _body(session, answers, elapsed_s=ns_to_ms(clock.now_ns() - start_ns) / 1_000)
        session.store.put(LAST_SEARCH, json.dumps(body))
    if output:
        _write(output, body)
    if as_json:
        print_json("search", body)
    else:
        _report(answers)
        _next_step(body)
    if answers[-1].result.interrupted:
        raise typer.Exit(1)


def _next_step(body: dict[str, Any]) -> None:
    note(
        f"on {body['platform']}, in {body['elapsed_s']:.1f} s;"
        " next: `chamnet-host verify best`, `chamnet-host export best:1 -o best.onnx`"
    )


def _body(session: Session, answers: list[Answer], *, elapsed_s: float) -> dict[str, Any]:
    return {
        "target": session.device.name,
        "platform": str(session.measured[1]),
        "space": session.space.name,
        "recipe": session.space_accuracy.recipe,
        "answers": [answer.to_json() for answer in answers],
        **({"best": answers[0].to_json()} if len(answers) == 1 else {}),
        "elapsed_s": elapsed_s,
        "evaluations": sum(answer.result.evaluations for answer in answers),
    }


def _write(path: Path, body: object) -> None:
    try:
        path.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written ({error})") from error


def _report(answers: list[Answer]) -> None:
    rows = []
    for answer in answers:
        latency, top1, network = answer.prediction.latency, answer.prediction.top1, answer.prediction.network
        assert latency is not None
        assert top1 is not None
        rows.append(
            (
                answer.budgets.text,
                f"{top1.value:.1f} %",
                f"{top1.low:.1f} - {top1.high:.1f}{' (extrapolated)' if top1.extrapolated else ''}",
                f"{latency.value:.2f}",
                f"{latency.low:.2f} - {latency.high:.2f}",
                format_count(network.macs),
                format_count(network.params),
                network.name,
            )
        )
    columns = ("budget", "top-1", "90 %", "ms", "90 %", "MACs", "params", "network")
    print_table(columns, rows)
    if answers[0].prediction.top1:
        print_text(f"  top-1 is for {answers[0].prediction.top1.basis}")
    for answer in answers:
        for remark in answer.budgets.notes:
            print_text(f"  {remark}")
        for constraint in answer.budgets.constraints:
            if not answer.result.binding[constraint.metric.name]:
                highest = format_amount(constraint.metric.name, constraint.metric.highest)
                print_text(
                    f"  {constraint.budget.text} binds nothing: no network of the space needs more than {highest}"
                )
        if answer.result.interrupted:
            print_text(f"  {answer.budgets.text}: interrupted, the best found until then")
