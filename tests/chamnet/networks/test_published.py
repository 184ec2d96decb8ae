"""MACs, weights and parameters equal the published figures to the last digit."""

import json
from pathlib import Path

import pytest

from chamnet.errors import ConfigError
from chamnet.networks import find, load_all

ORACLES = json.loads((Path(__file__).parents[2] / "data" / "network_oracles.json").read_text())


def test_every_published_network_is_here() -> None:
    assert set(load_all()) == set(ORACLES)


@pytest.mark.parametrize("name", ORACLES)
def test_counts_are_exact(name: str) -> None:
    network = find(name).build()
    counted = {"macs": network.macs, "weights": network.weights, "params": network.params}
    assert counted | ORACLES[name] == counted


def test_macs_scale_with_the_batch() -> None:
    from dataclasses import replace

    arch = find("chamnet-c").architecture
    assert replace(arch, batch=4).build().macs == 4 * arch.build().macs


def test_unknown_network_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="chamnet-a"):
        find("chamnet_a")
