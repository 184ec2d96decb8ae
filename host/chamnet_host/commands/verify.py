"""`chamnet-host verify`: networks measured whole, beside their predictions."""

import json
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Annotated, Any

import typer

from chamnet.errors import ConfigError
from chamnet.networks import Architecture
from chamnet.records import EnergyPolicy
from chamnet_host.measuring.energy_campaign import ENERGY_ROUNDS, EnergyPlan
from chamnet_host.measuring.energy_verification import (
    EnergyVerification,
    plan_verification,
    policy_of,
    verify_energy,
)
from chamnet_host.measuring.verification import Verification, verify
from chamnet_host.options import (
    DB,
    SPACE,
    AsJson,
    Backend,
    Db,
    Dtype,
    EnergyRounds,
    MeterName,
    Mismatch,
    Networks,
    Predictor,
    Profiles,
    Rails,
    Seed,
    Serial,
    SpaceName,
    Target,
)
from chamnet_host.output import note, plain, print_json, print_table, print_text, progress_bar
from chamnet_host.session import Session
from chamnet_host.subjects import LAST_SEARCH, read_networks
from chamnet_host.texts.energy import announcement
from chamnet_host.texts.fleet import remark_text
from chamnet_host.texts.verification import energy_remarks, energy_table, mean_error, over_budget

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
    energy: Annotated[
        bool, typer.Option("--energy", help="Measure the energy of the networks, too, after their latencies.")
    ] = False,
    meter: MeterName = "",
    rails: Rails = "",
    energy_rounds: EnergyRounds = ENERGY_ROUNDS,
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

    With --energy, they then run in windows as those of `profile --energy`, with idling between: what they add to the power of
    the idling device (net), and all that it took (gross, which is predicted). Noise is what idle power changes by, over what the
    network adds: from a fifth on it is `below noise`, and no figure is given. How long that takes is said first. Without
    --meter, the meter and rails that the predictions are of are read. Windows are stored, and later predictions learn from them.

    Examples: `chamnet-host verify best`, `chamnet-host verify chamnet-a mobilenet-v2-1.0-224`, `chamnet-host verify best --energy`
    """
    if (meter or rails) and not energy:
        raise ConfigError("--meter and --rails say how to measure energy: add --energy")
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
        limits = _budgets(session)
        policy, plan = EnergyPolicy(), None
        if energy:
            policy = policy_of(session, meter, rails)
            plan = plan_verification(session, chosen, policy, rounds=energy_rounds)
            note(announcement(plan))
        with progress_bar("verify") as show:
            results = verify(
                session, chosen, visits=visits, progress=lambda done, total: show(done, total, "")
            )
        if not as_json:  # told before windows take their time
            _report(results)
        energies = _measure_energies(session, results, policy, plan) if plan else []
    if as_json:
        print_json("verify", _body(session, results, limits, plan, energies))
        return
    if energies:
        print_table(*energy_table(energies))
        for remark in energy_remarks(energies):
            print_text(f"  {plain(remark)}")
    _warn_over(results, energies, limits)
    _report_error(results)


def _measure_energies(
    session: Session, results: Sequence[Verification], policy: EnergyPolicy, plan: EnergyPlan
) -> list[EnergyVerification]:
    with progress_bar("energy", "windows") as show:
        return verify_energy(
            session,
            [result.prediction for result in results],
            policy,
            plan,
            progress=lambda tally: show(tally.stored, tally.total, remark_text(tally)),
        )


def _body(
    session: Session,
    results: Sequence[Verification],
    limits: Mapping[str, Mapping[str, float]],
    plan: EnergyPlan | None,
    energies: Sequence[EnergyVerification],
) -> dict[str, Any]:
    """Return the documented JSON."""
    networks = []
    for i, result in enumerate(results):
        held = limits.get(result.prediction.network.digest, {})
        told = {"budget_ms": held.get("latency_ms"), "budget_mj": held.get("energy_mj")}
        networks.append({**result.to_json(), **told, "energy": energies[i].to_json() if energies else None})
    return {
        "target": session.device.name,
        "platform": str(results[0].platform),
        "mean_absolute_error": _mean_error(results),
        "mean_absolute_energy_error": mean_error(energies),
        "energy_seconds": plan.seconds if plan else None,
        "networks": networks,
    }


def _mean_error(results: Sequence[Verification]) -> float | None:
    errors = [abs(result.error) for result in results if result.error is not None]
    return mean(errors) if errors else None


def _budgets(session: Session) -> dict[str, dict[str, float]]:
    """Return the budgets of each winner of the last search, metric to limit, by network digest."""
    last = session.store.get(LAST_SEARCH)
    answers = json.loads(last)["answers"] if last else ()
    return {
        Architecture.from_dict(answer["architecture"]).build().digest: answer["budgets"] for answer in answers
    }


def _warn_over(
    results: Sequence[Verification],
    energies: Sequence[EnergyVerification],
    limits: Mapping[str, Mapping[str, float]],
) -> None:
    for i, result in enumerate(results):
        network = result.prediction.network
        took = {
            "latency_ms": result.row.latency_ms,
            "energy_mj": energies[i].measured_mj if energies else None,
        }
        if said := over_budget(network.name, took, limits.get(network.digest, {})):
            print_text(f"  {said}")


def _report(results: Sequence[Verification]) -> None:
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


def _report_error(results: Sequence[Verification]) -> None:
    if (error := _mean_error(results)) is not None:
        count = sum(result.error is not None for result in results)
        print_text(f"mean absolute error {100 * error:.1f} % over {count} networks on {results[0].platform}")
