"""`chamnet-host predict`: what a network would take and reach, without running it."""

from typing import Annotated, Any

import typer

from chamnet.predictors.energy import EnergyPrediction
from chamnet.quantities import format_count
from chamnet_host.options import (
    DB,
    SPACE,
    AsJson,
    Backend,
    Db,
    Dtype,
    Networks,
    Predictor,
    Profiles,
    Seed,
    SpaceName,
    Target,
)
from chamnet_host.output import print_json, print_table, print_text
from chamnet_host.prediction import Prediction
from chamnet_host.session import Session
from chamnet_host.subjects import LAST_SEARCH, read_networks

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(predict)


def predict(
    networks: Networks,
    target: Target = None,
    backend: Backend = None,
    dtype: Dtype = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show every unit's share.")] = False,
    space: SpaceName = SPACE,
    db: Db = DB,
    profiles: Profiles = None,
    predictor: Predictor = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Predict latency, top-1 and, where it was measured, energy of networks, with intervals and where the figures come from.

    Example: `chamnet-host predict chamnet-c --explain`
    """
    with Session.open(
        db,
        target=target,
        space=space,
        profiles=profiles,
        seed=seed,
        create=False,
        backend=backend,
        dtype=dtype,
        predictor=predictor,
    ) as session:
        chosen = read_networks(networks, session.space, session.store.get(LAST_SEARCH))
        predictions = [session.predict(network) for network in chosen]
        if as_json:
            print_json(
                "predict",
                {"target": session.device.name, "networks": [_body(p, explain) for p in predictions]},
            )
            return
        for prediction in predictions:
            _report(prediction, session.device.name, explain)


def _body(prediction: Prediction, explain: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"network": prediction.network.name, "predicted": prediction.to_json()}
    if explain and prediction.latency:
        body["units"] = [
            {
                "unit": cost.unit.key,
                "latency_ms": cost.latency_ms,
                "row_ms": cost.row_ms,
                "source": cost.source,
            }
            for cost in prediction.latency.units
        ]
        for unit, cost in zip(
            body["units"], prediction.energy.units if prediction.energy else (), strict=False
        ):
            unit |= {"energy_mj": cost.energy_mj, "net_w": cost.net_w, "energy_source": cost.source}
    return body


def _report(prediction: Prediction, target: str, explain: bool) -> None:
    network, latency, top1 = prediction.network, prediction.latency, prediction.top1
    print_text(
        f"[bold]{network.name}[/]  {format_count(network.macs)} MACs, {format_count(network.params)} params"
    )
    if latency:
        shares = ", ".join(
            f"{100 * share:.0f} % {source}" for source, share in latency.coverage.items() if share > 0
        )
        print_text(
            f"  latency  {latency.value:.3f} ms on {target}, 90 % {latency.low:.3f} - {latency.high:.3f} ({shares})"
        )
    else:
        print_text(f"  latency  unknown: {target} has not been profiled")
    if prediction.measured:
        print_text(
            f"  measured {prediction.measured.latency_ms:.3f} ms over {prediction.measured.visits} visits"
        )
    if prediction.energy:
        print_text(f"  energy   {_energy(prediction.energy)}")
    if prediction.measured_mj is not None and prediction.metered:
        print_text(f"  measured {prediction.measured_mj:.3f} mJ over {prediction.metered.visits} visits")
    if top1:
        flag = ", extrapolated" if top1.extrapolated else ""
        print_text(
            f"  top-1    {top1.value:.1f} %, 90 % {top1.low:.1f} - {top1.high:.1f} ({top1.basis}{flag})"
        )
    else:
        print_text("  top-1    not predicted: the structure is outside what the predictor knows")
    if explain and latency:
        rows: list[tuple[str, ...]] = [
            (c.unit.key, f"{c.latency_ms:.4f}", f"{100 * c.latency_ms / latency.value:.1f} %", c.source)
            for c in latency.units
        ]
        columns: tuple[str, ...] = ("unit", "ms", "share", "row")
        if prediction.energy:
            columns += ("mJ", "net W", "power")
            told = (
                (f"{e.energy_mj:.4f}", f"{e.net_w:.3f}", e.source.replace("_", " "))
                for e in prediction.energy.units
            )
            rows = [(*row, *more) for row, more in zip(rows, told, strict=True)]
        print_table(columns, rows)


def _energy(energy: EnergyPrediction) -> str:
    shares = ", ".join(
        f"{100 * share:.0f} % {source.replace('_', ' ')}"
        for source, share in energy.coverage.items()
        if share > 0
    )
    how = "sum over units" if energy.model == "lut" else f"{energy.model}; sum over units {energy.lut_mj:.3f}"
    return f"{energy.value:.3f} mJ, 90 % {energy.low:.3f} - {energy.high:.3f} ({how}; {shares})"
