"""`chamnet-host energy`: from energies that `profile --energy` measured to a predictor, and how wrong it is."""

from statistics import median
from typing import Annotated, Any

import typer

from chamnet.lut import EnergyTable, MeteredBy, metered_by
from chamnet.predictors.energy import ENERGY_MODELS, EnergyPredictor
from chamnet_host.measuring.exploring import choose_networks
from chamnet_host.options import DB, SPACE, AsJson, Backend, Db, Dtype, Profiles, Seed, SpaceName, Target
from chamnet_host.output import note, print_json, print_table, print_text
from chamnet_host.session import Session

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Predict the energy of networks, and say how wrong that is.")

Meter = Annotated[
    str | None,
    typer.Option(
        "--meter",
        help="Whose readings count from now on, such as rapl, rapl:package-0, or of several devices battery:battery@SERIAL;"
        " `energy show` lists them. Default: as chosen last, else the one with most rows.",
        show_default=False,
    ),
]
_MODELS = {
    "lut": "sum over units, idle power once",
    "network-gp": "Gaussian process over whole networks (the paper's)",
    "residual-gp": "Gaussian process on what the sum leaves over",
}


@app.command()
def build(
    target: Target = None,
    backend: Backend = None,
    dtype: Dtype = None,
    meter: Meter = None,
    count: Annotated[
        int, typer.Option("--next", help="Networks to choose for the next `profile --energy`.", min=0)
    ] = 10,
    space: SpaceName = SPACE,
    db: Db = DB,
    profiles: Profiles = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fit the energy predictor, say how far it is off on networks left out, and choose what to measure next.

    Three predictors compete: the sum over units, which an exact search can take apart; the paper's process over whole networks;
    and one on what the sum leaves over. The networks to measure next are those whose energy is least sure; they are kept,
    and the next `profile --energy` begins with them.

    Examples: `chamnet-host energy build`, `chamnet-host energy build --target pixel --meter pixel-rails --next 20`
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
    ) as session:
        if meter:
            session.choose_meter(meter)
        body = _body(session)
        body["next"] = [network.name for network in choose_networks(session, count)] if count else []
    if as_json:
        print_json("energy build", body)
        return
    _report(body)
    if body["next"]:
        print_table(("measure next",), [(name,) for name in body["next"]])
    note("next: `chamnet-host profile --energy` measures these; `chamnet-host search --budget 20ms,35mJ`")


@app.command()
def show(
    target: Target = None,
    backend: Backend = None,
    dtype: Dtype = None,
    meter: Meter = None,
    space: SpaceName = SPACE,
    db: Db = DB,
    profiles: Profiles = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Show what is known of a target's energy: meters, idle power, rows, and errors of the predictors.

    Examples: `chamnet-host energy show`, `chamnet-host energy show --target pixel --json`
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
    ) as session:
        if meter:
            session.choose_meter(meter)
        body = _body(session)
    if as_json:
        print_json("energy show", body)
        return
    _report(body)


def _body(session: Session) -> dict[str, Any]:
    lut_id, platform = session.measured
    table, energy = session.energy_table, session.require_energy()
    units = [row for row in table.units.values() if not row.is_below_noise]
    counts = metered_by(session.store, lut_id)
    calibration = energy.calibration
    return {
        "target": session.device.name,
        "platform": str(platform),
        "space": session.space.name,
        "meters": [
            _meter_body(each, rows) | {"chosen": each == table.metered_by} for each, rows in counts.items()
        ],
        "idle_w": table.idle_w,
        "idle_spread": table.idle_spread,
        "units": len(table.units),
        "below_noise": table.below_noise,
        "net_w": median(row.net_w for row in units) if units else None,
        "row_error": energy.power.left_out,
        "networks": _networks(energy, table),
        "predictor": energy.chosen,
        "errors": {model: energy.error(model) for model in ENERGY_MODELS},
        "calibration": {
            "scale": calibration.scale,
            "base_w": calibration.base_w,
            "networks": calibration.networks,
        },
    }


def _meter_body(metered: MeteredBy, rows: int) -> dict[str, Any]:
    return {
        "meter": metered.meter,
        "rails": list(metered.rails),
        "serial": metered.serial or None,
        "rows": rows,
    }


def _networks(energy: EnergyPredictor, table: EnergyTable) -> dict[str, Any]:
    return {
        "measured": len(table.networks),
        "below_noise": sum(row.is_below_noise for row in table.networks.values()),
        "left_out": [
            {
                "network": name,
                "measured_mj": energy.truth_mj[i],
                "log_errors": {model: errors[i] for model, errors in energy.errors.items()},
            }
            for i, name in enumerate(energy.names)
        ],
    }


def _report(body: dict[str, Any]) -> None:
    print_text(f"[bold]{body['target']}[/]  {body['platform']}")
    print_table(
        ("meter", "rails", "device", "rows", ""),
        [
            (
                m["meter"],
                " + ".join(m["rails"]),
                m["serial"] or "",
                str(m["rows"]),
                "chosen" if m["chosen"] else "",
            )
            for m in body["meters"]
        ],
    )
    spread = "" if body["idle_spread"] is None else f", {100 * body['idle_spread']:.1f} % between visits"
    print_text(f"  idle     {body['idle_w']:.3f} W{spread}; counted once for a network's whole time")
    usual = "" if body["net_w"] is None else f", median {body['net_w']:.3f} W above idle"
    left_out = "" if body["row_error"] is None else f"; left out, one is {_percent(body['row_error'])} off"
    print_text(f"  units    {body['units']:,}, of them {body['below_noise']:,} below noise{usual}{left_out}")
    networks, calibration = body["networks"], body["calibration"]
    fitted = (
        f"sums x {calibration['scale']:.3f}, {calibration['base_w']:.3f} W all the time"
        if calibration["networks"]
        else "too few to calibrate on, so intervals are wide"
    )
    print_text(
        f"  networks {networks['measured']:,} whole, of them {networks['below_noise']:,} below noise; {fitted}"
    )
    rows = [
        (model, _MODELS[model], _percent(error), "predicts" if model == body["predictor"] else "")
        for model, error in body["errors"].items()
    ]
    print_table(("predictor", "what it is", "error left out", ""), rows)


def _percent(share: float | None) -> str:
    return "too few networks" if share is None else f"{100 * share:.1f} %"
