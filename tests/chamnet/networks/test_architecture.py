import json
from dataclasses import replace

import pytest

from chamnet.errors import ConfigError
from chamnet.networks import find
from chamnet.networks.architecture import Architecture

FLOAT = find("chamnet-c").build()
QUANTIZED = FLOAT.cast("int8")


def test_a_cast_network_is_the_same_but_for_its_element_type() -> None:
    assert {op.dtype for block in QUANTIZED.blocks for op in block.all_ops} == {"int8"}
    assert QUANTIZED.architecture == replace(FLOAT.architecture, dtype="int8")
    assert QUANTIZED.name == FLOAT.name
    assert (QUANTIZED.macs, QUANTIZED.weights, QUANTIZED.params) == (FLOAT.macs, FLOAT.weights, FLOAT.params)
    assert QUANTIZED.weight_bytes < 0.3 * FLOAT.weight_bytes
    assert QUANTIZED.peak_activation_bytes == FLOAT.peak_activation_bytes / 4


def test_building_gives_what_casting_gives() -> None:
    assert replace(FLOAT.architecture, dtype="int8").build(FLOAT.name) == QUANTIZED


def test_casting_there_and_back_changes_nothing() -> None:
    assert QUANTIZED.cast("f32") == FLOAT
    assert FLOAT.cast("f32") is FLOAT


def test_element_types_have_digests_and_units_of_their_own() -> None:
    assert QUANTIZED.digest != FLOAT.digest
    assert not {unit.key for unit in QUANTIZED.units("op")} & {unit.key for unit in FLOAT.units("op")}
    assert not {unit.signature for unit in QUANTIZED.units("op")} & {
        unit.signature for unit in FLOAT.units("op")
    }


def test_shortcuts_are_cast_too() -> None:
    shortcuts = [block.shortcut for block in find("resnet-50").build().cast("int8").blocks if block.shortcut]
    assert len(shortcuts) == 4
    assert {op.dtype for op in shortcuts} == {"int8"}


def test_an_architecture_comes_back_from_json_with_its_element_type() -> None:
    for architecture in (FLOAT.architecture, QUANTIZED.architecture):
        assert Architecture.from_dict(json.loads(json.dumps(architecture.to_dict()))) == architecture


def test_without_an_element_type_it_is_f32() -> None:
    data = FLOAT.architecture.to_dict()
    del data["dtype"]
    assert Architecture.from_dict(data) == FLOAT.architecture


def test_an_unknown_element_type_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"net\.json: not an architecture .*f16"):
        Architecture.from_dict({**FLOAT.architecture.to_dict(), "dtype": "f16"}, "net.json")
