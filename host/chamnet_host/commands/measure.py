"""`chamnet-host measure`: a user's own model on the device."""

from pathlib import Path
from typing import Annotated

import typer

from chamnet.errors import ConfigError
from chamnet_host.measuring.verification import measure_model
from chamnet_host.options import DB, AsJson, Backend, Db, Profiles, Serial, Target
from chamnet_host.output import print_json, print_text, progress_bar
from chamnet_host.session import Session

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(measure)


def measure(
    model: Annotated[
        Path,
        typer.Argument(
            help="A model with fixed input shapes: .onnx for onnxruntime, .tflite for litert.", metavar="FILE"
        ),
    ],
    target: Target = None,
    serial: Serial = None,
    backend: Backend = None,
    visits: Annotated[int, typer.Option(help="Visits, spread in time, 8 runs each.", min=2)] = 20,
    db: Db = DB,
    profiles: Profiles = None,
    as_json: AsJson = False,
) -> None:
    """Measure your own model on a device, as `verify` measures networks.

    Example: `chamnet-host measure model.onnx --target local`
    """
    try:
        data = model.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{model}: cannot be read ({error.strerror}); give the path of a model file"
        ) from error
    with (
        Session.open(db, target=target, serial=serial, profiles=profiles, backend=backend) as session,
        progress_bar("measure") as show,
    ):
        row, split_half, platform = measure_model(
            session, model.name, data, visits=visits, progress=lambda done, total: show(done, total, "")
        )
    if as_json:
        body = {"target": session.device.name, "platform": str(platform), "model": str(model)}
        figures = {
            "measured_ms": row.latency_ms,
            "visits": row.visits,
            "spread": row.spread,
            "split_half": split_half,
        }
        print_json("measure", {**body, **figures})
        return
    print_text(
        f"{model.name}: {row.latency_ms:.3f} ms, median of {row.visits} visits ({row.samples} runs), noise"
        f" {100 * split_half:.1f} %, on {platform}"
    )
