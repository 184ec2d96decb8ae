"""`chamnet-host search`: the most accurate network within a budget."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from chamnet.clock import SystemClock
from chamnet.errors import ConfigError
from chamnet.quantities import ns_to_ms
from chamnet.search import SearchSettings, SolverChoice
from chamnet_host.commands.search_options import (
    Against,
    Alpha,
    Budgets,
    Confidence,
    Exponent,
    Fix,
    Generations,
    Html,
    Multiple,
    Output,
    Pareto,
    Points,
    Population,
    Recipe,
    Solver,
    Targets,
    Top,
    Verify,
    check_together,
    read_fixed,
    read_solver,
    read_swept,
)
from chamnet_host.options import DB, SPACE, AsJson, Backend, Db, Dtype, Predictor, Profiles, Seed, SpaceName
from chamnet_host.output import note, print_json, print_table, print_text, progress_bar, write_text
from chamnet_host.pages.front import front_html
from chamnet_host.searching.answer import Answer, search
from chamnet_host.searching.front import Front, find_front
from chamnet_host.searching.scope import Scope
from chamnet_host.searching.verified import Verified, search_verified
from chamnet_host.session import Session
from chamnet_host.subjects import LAST_SEARCH
from chamnet_host.texts.search import (
    answer_remarks,
    answer_table,
    front_remarks,
    front_table,
    verified_remark,
    verified_table,
)

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(name="search")(search_command)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What holds for all answers of one call."""

    settings: SearchSettings
    solver: SolverChoice
    fixed: dict[str, int]
    channel_multiple: int
    confidence: float | None
    top: int
    verify: bool

    def scope(self, session: Session) -> Scope:
        """Return what of a session's space may be searched."""
        scope = Scope.of(
            session, self.fixed, channel_multiple=self.channel_multiple, confidence=self.confidence
        )
        if not session.latency.calibration.residuals:
            note(
                f"no network of {session.space.name} was measured on {session.device.name}, so its latencies are guessed"
                " from other networks' operators; `chamnet-host profile` with the same --space measures them"
            )
        return scope


def search_command(
    context: typer.Context,
    budget: Budgets = None,
    target: Targets = None,
    backend: Backend = None,
    dtype: Dtype = None,
    space: SpaceName = SPACE,
    solver: Solver = "auto",
    fix: Fix = None,
    channel_multiple: Multiple = 1,
    confidence: Confidence = None,
    top: Top = 1,
    verify: Verify = False,
    pareto: Pareto = False,
    against: Against = "latency",
    points: Points = 64,
    html: Html = None,
    population: Population = 96,
    generations: Generations = 100,
    alpha: Alpha = None,
    exponent: Exponent = 2.0,
    predictor: Predictor = None,
    recipe: Recipe = None,
    output: Output = None,
    db: Db = DB,
    profiles: Profiles = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Find the most accurate network that runs on a device within a budget, and prove it.

    Latency comes from what `profile` measured, accuracy from the predictor that ships (published ImageNet networks) or
    the one given. Under both, the exact search proves that no network of the space is better; the paper's evolutionary
    search takes any predictor and proves nothing.

    Examples: `chamnet-host search --budget 8ms`, `chamnet-host search -b 4ms -b 8ms,300MMACs --fix resolution=192`,
    `chamnet-host search --pareto --html front.html`, and where energy was measured `chamnet-host search -b 20ms,35mJ`,
    `chamnet-host search --pareto --against energy`
    """
    chosen = read_solver(solver)
    check_together(context, pareto=pareto, budget=bool(budget), solver=chosen)
    settings = SearchSettings(
        population=population, generations=generations, alpha=alpha, exponent=exponent, seed=seed
    )
    asked = _Asked(settings, chosen, read_fixed(fix or ()), channel_multiple, confidence, top, verify)
    clock = SystemClock()
    start_ns = clock.now_ns()
    targets: list[str | None] = [*target] if target else [None]
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(
                Session.open(
                    db,
                    target=name,
                    space=space,
                    profiles=profiles,
                    seed=seed,
                    recipe=recipe,
                    create=False,
                    backend=backend,
                    dtype=dtype,
                    predictor=predictor,
                )
            )
            for name in targets
        ]
        if pareto:
            body = _fronts(sessions, asked, budget or [], read_swept(against), points, html, as_json)
        else:
            body = _answers(sessions, asked, budget or [], as_json)
        body["elapsed_s"] = ns_to_ms(clock.now_ns() - start_ns) / 1_000
        if not pareto:
            sessions[0].store.put(LAST_SEARCH, json.dumps(body))
    if output:
        write_text("--output", output, json.dumps(body, indent=1) + "\n")
    if as_json:
        print_json("search", body)
    else:
        _next_step(body)
    if any(_unfinished(answer) for answer in body.get("answers", ())):
        raise typer.Exit(1)


def _unfinished(answer: dict[str, Any]) -> bool:
    """Whether an answer was interrupted, or nothing kept its budget as measured."""
    return bool(answer["interrupted"] or ("verified" in answer and answer["verified"]["winner"] is None))


def _answers(
    sessions: Sequence[Session], asked: _Asked, budgets: Sequence[str], quiet: bool
) -> dict[str, Any]:
    """Answer every budget on every target; print a table unless asked for JSON."""
    found: list[tuple[Answer, Verified | None]] = []
    for session in sessions:
        scope = asked.scope(session)
        for text in budgets:
            if not (found and found[-1][0].result.interrupted):
                found.append(_found(session, text, asked, scope))
    answers = [answer for answer, _ in found]
    if not quiet:
        print_table(*answer_table(answers))
        for remark in answer_remarks(answers):
            print_text(f"  {remark}")
        for answer, verified in found:
            if verified:
                print_table(*verified_table(verified), f"{answer.target}, {answer.budgets.text}: as measured")
                print_text(f"  {verified_remark(verified)}")
    shown = [
        answer.to_json() | ({"verified": verified.to_json()} if verified else {})
        for answer, verified in found
    ]
    return {
        **_head(sessions),
        "answers": shown,
        **({"best": shown[0]} if len(shown) == 1 else {}),
        "evaluations": sum(answer.result.evaluations for answer in answers),
    }


def _found(session: Session, text: str, asked: _Asked, scope: Scope) -> tuple[Answer, Verified | None]:
    """Search once; with `--verify`, measure and search again."""
    if not asked.verify:
        return search(session, text, asked.settings, solver=asked.solver, scope=scope, top=asked.top), None
    with progress_bar("verify") as show:
        verified = search_verified(
            session,
            text,
            asked.settings,
            solver=asked.solver,
            scope=scope,
            progress=lambda number, done, total: show(done, total, f"search {number}"),
        )
    return verified.answer, verified


def _fronts(
    sessions: Sequence[Session],
    asked: _Asked,
    budgets: Sequence[str],
    metric: str,
    points: int,
    html: Path | None,
    quiet: bool,
) -> dict[str, Any]:
    """Return the front on every target; print a table unless asked for JSON."""
    if len(budgets) > 1:
        raise ConfigError(
            "with --pareto, give budgets that hold together in one --budget, separated by commas"
        )
    fronts: list[Front] = []
    for session in sessions:
        with progress_bar("search") as show:
            front = find_front(
                session,
                metric=metric,
                held="".join(budgets),
                points=points,
                scope=asked.scope(session),
                progress=lambda done, total: show(done, total, ""),
            )
        fronts.append(front)
        if not quiet:
            print_table(*front_table(front), session.device.name)
            for remark in front_remarks(front):
                print_text(f"  {remark}")
    if html:
        write_text("--html", html, front_html(fronts, f"{sessions[0].measured[1]}"))
    return {**_head(sessions), "fronts": [front.to_json() for front in fronts]}


def _head(sessions: Sequence[Session]) -> dict[str, Any]:
    first = sessions[0]
    return {
        "target": first.device.name,
        "platform": str(first.measured[1]),
        "targets": {session.device.name: str(session.measured[1]) for session in sessions},
        "space": first.space.name,
        "recipe": first.accuracy.resolve_recipe(first.recipe)[0],
    }


def _next_step(body: dict[str, Any]) -> None:
    after = "`chamnet-host verify best`, `chamnet-host export best:1 -o best.onnx`"
    if "fronts" in body:
        after = "`chamnet-host search --budget 8ms` for one of them"
    note(f"on {body['platform']}, in {body['elapsed_s']:.1f} s; next: {after}")
