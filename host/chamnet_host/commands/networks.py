"""`chamnet-host networks`: the published networks by name."""

from typing import Annotated, Any

import typer

from chamnet.networks import PublishedNetwork, load_all
from chamnet.quantities import format_count
from chamnet_host.options import AsJson
from chamnet_host.output import print_json, print_table

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command()(networks)


def networks(
    match: Annotated[
        str, typer.Argument(help="Only names that contain this.", metavar="[TEXT]", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List the published networks that can be predicted, measured and exported by name."""
    chosen = [network for network in load_all().values() if match in network.name]
    if as_json:
        print_json("networks", {"networks": [_body(network) for network in chosen]})
        return
    rows = [
        (
            network.name,
            str(network.architecture.resolution),
            format_count(network.build().macs),
            format_count(network.build().params),
            f"{network.top1:.1f}" if network.top1 else "",
            network.source,
        )
        for network in chosen
    ]
    print_table(("network", "input", "MACs", "params", "top-1 %", "accuracy from"), rows)


def _body(published: PublishedNetwork) -> dict[str, Any]:
    network = published.build()
    return {
        "name": published.name,
        "family": published.family,
        "macs": network.macs,
        "conv_fc_weights": network.weights,
        "params": network.params,
        "weight_bytes": network.weight_bytes,
        "top1": published.top1,
        "top1_int8": published.top1_int8,
        "source": published.source,
        "published_latency_ms": dict(published.published_latency_ms),
        "architecture": published.architecture.to_dict(),
    }
