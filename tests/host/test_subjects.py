import json
from dataclasses import replace
from pathlib import Path

import pytest

from chamnet.errors import ConfigError
from chamnet.networks import find
from chamnet.space import load_space
from chamnet_host.subjects import is_published, read_network, read_networks

SPACE = load_space("chamnet-mobile")
GENOME = SPACE.genome(find("chamnet-c").architecture)
TEXT = "-".join(map(str, GENOME))


def test_names_and_genomes_of_one_network_are_one() -> None:
    networks = read_networks(["chamnet-c", TEXT, TEXT.replace("-", ","), "chamnet-d"], SPACE, None)
    assert [network.name for network in networks] == ["chamnet-c", "chamnet-d"]


def test_best_is_what_was_last_searched() -> None:
    answer = {"network": "winner", "architecture": find("chamnet-c").architecture.to_dict()}
    (network,) = read_networks(["best"], SPACE, json.dumps({"answers": [answer]}))
    assert (network.name, network.macs) == ("winner", 211_553_600)


def test_a_file_holds_an_architecture(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(find("mnasnet-a1-224").architecture.to_dict()))
    (network,) = read_networks([str(path)], SPACE, None)
    assert (network.name, network.macs) == ("mine", 311_579_072)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("best", "nothing was searched"),
        ("chamnet-z", "did you mean chamnet-"),
        ("224-32", "has 21 numbers, not 2"),
        (TEXT.replace("224", "223", 1), "resolution = 223 is not one of 96, 128"),
        ("missing.json", "cannot be read as JSON"),
    ],
)
def test_a_word_that_means_nothing_is_explained(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_networks([word], SPACE, None)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"stages": []}', '{"answers": [{}]}', '{"stages": [{"a": 1}]}']
)
def test_a_file_that_holds_no_network_is_explained(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"x\.json"):
        read_networks([str(path)], SPACE, None)


def test_one_network_is_one(tmp_path: Path) -> None:
    assert read_network("chamnet-c", SPACE, tmp_path / "none.db").name == "chamnet-c"
    answers = [
        {"network": name, "architecture": find(name).architecture.to_dict()}
        for name in ("chamnet-c", "chamnet-d")
    ]
    found = tmp_path / "found.json"
    found.write_text(json.dumps({"answers": answers}))
    with pytest.raises(ConfigError, match=r"holds 2 networks, one is wanted, .*: chamnet-c, chamnet-d"):
        read_network(str(found), SPACE, tmp_path / "none.db")


def test_a_published_network_is_one_by_name_and_structure() -> None:
    network = find("chamnet-c").build()
    assert is_published(network)
    assert is_published(network.cast("int8"))
    assert not is_published(SPACE.decode(GENOME))
    assert not is_published(replace(find("chamnet-d").build(), name="chamnet-c"))
