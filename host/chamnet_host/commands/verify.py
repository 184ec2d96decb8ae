"""`chamnet-host verify`: networks measured whole, beside their predictions."""

import json
from statistics import mean
from typing import Annotated

import typer

from chamnet.networks import Architecture
from chamnet_host.measuring.verification import Verification, verify
from chamnet_host.options import (
    DB,
    SPACE,
    AsJson,
    Backend,
    Db,
    Dtype,
    Mismatch,
    Networks,
    Predictor,
    Profiles,
    Seed,
    Serial,
    SpaceName,
    Target,
)
from chamnet_host.output import print_json, print_table, print_text, progress_bar
from chamnet_host.session import Session
from chamnet_host.subjects import LAST_SEARCH, read_networks

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(name="verify")(verify_command)


def verify_command(
    networks: Networks,
    target: Target = None,
    serial: Serial = None,
    backend: Backend = None,
    dtype: Dtype = None,
    allow_version_mismatch: Mismatch = False,
    visits: Annotated[
        int, typer.Option(help="Visits of each network, spread in time, 8 runs each.", min=2)
    ] = 20,
    space: SpaceName = SPACE,
    db: Db = DB,
    profiles: Profiles = None,
    predictor: Predictor = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure whole networks on the device and show predicted beside measured.

    Networks take turns over many short visits, so that drift hits all alike; the noise column says how far the
    odd visits' median is from the even visits'.

    Examples: `chamnet-host verify best`, `chamnet-host verify chamnet-a mobilenet-v2-1.0-224`
    """
    with Session.open(
        db,
        target=target,
        serial=serial,
        space=space,
        profiles=profiles,
        seed=seed,
        backend=backend,
        dtype=dtype,
        predictor=predictor,
        allow_version_mismatch=allow_version_mismatch,
    ) as session:
        chosen = read_networks(networks, session.space, session.store.get(LAST_SEARCH))
        with progress_bar("verify") as show:
            limits_ms = _budgets(session)
            results = verify(
                session, chosen, visits=visits, progress=lambda done, total: show(done, total, "")
            )
        platform = results[0].platform
        errors = [abs(result.error) for result in results if result.error is not None]
        summary = {"mean_absolute_error": mean(errors) if errors else None}
        if as_json:
            body = {"target": session.device.name, "platform": str(platform), **summary}
            networks_body = [
                {**result.to_json(), "budget_ms": limits_ms.get(result.prediction.network.digest)}
                for result in results
            ]
            print_json("verify", {**body, "networks": networks_body})
            return
        _report(results)
        for result in results:
            _warn_over(result, limits_ms.get(result.prediction.network.digest))
        if errors:
            print_text(
                f"mean absolute error {100 * mean(errors):.1f} % over {len(errors)} networks on {platform}"
            )


def _budgets(session: Session) -> dict[str, float]:
    """Return the latency budget in ms of each winner of the last search, by network digest."""
    last = session.store.get(LAST_SEARCH)
    if last is None:
        return {}
    limits_ms = {}
    for answer in json.loads(last)["answers"]:
        if limit_ms := answer["budgets"].get("latency_ms"):
            limits_ms[Architecture.from_dict(answer["architecture"]).build().digest] = limit_ms
    return limits_ms


def _warn_over(result: Verification, limit_ms: float | None) -> None:
    measured_ms = result.row.latency_ms
    if limit_ms is not None and measured_ms > limit_ms:
        retry_ms = limit_ms * limit_ms / measured_ms
        print_text(
            f"  {result.prediction.network.name} took {measured_ms:.2f} ms, {100 * (measured_ms / limit_ms - 1):.1f} %"
            f" over its budget of {limit_ms:.2f} ms; next: `chamnet-host search --budget {retry_ms:.2f}ms`"
        )


def _report(results: list[Verification]) -> None:
    rows = []
    for result in results:
        latency, top1 = result.prediction.latency, result.prediction.top1
        rows.append(
            (
                result.prediction.network.name,
                f"{latency.value:.2f}" if latency else "",
                f"{latency.low:.2f} - {latency.high:.2f}" if latency else "not profiled",
                f"{result.row.latency_ms:.2f}",
                f"{100 * result.error:+.1f} %" if result.error is not None else "",
                f"{100 * result.split_half:.1f} %",
                f"{top1.value:.1f}" if top1 else "",
            )
        )
    print_table(("network", "predicted ms", "90 %", "measured ms", "error", "noise", "top-1 %"), rows)
    if basis := next((r.prediction.top1.basis for r in results if r.prediction.top1), None):
        print_text(f"  top-1 is predicted, for {basis}")
