from collections.abc import Sequence

import pytest

from chamnet.energy import Rail, choose, total
from chamnet.errors import ConfigError

RAILS = (
    Rail(name="package-0", nature="counter", domain="package", totals=frozenset({"compute"})),
    Rail(name="package-0/core", nature="counter", domain="cpu", within="package-0"),
    Rail(name="dram", nature="counter", domain="memory", totals=frozenset({"compute"})),
    Rail(name="psys", nature="counter", domain="device", totals=frozenset({"device"})),
)


def names(rails: Sequence[Rail]) -> list[str]:
    return [rail.name for rail in rails]


def test_rails_are_chosen_by_total_or_by_name() -> None:
    assert names(choose(RAILS)) == names(choose(RAILS, "compute")) == ["package-0", "dram"]
    assert names(choose(RAILS, "device")) == ["psys"]
    assert names(choose(RAILS[3:])) == ["psys"]
    assert names(choose(RAILS, "dram, package-0/core,dram")) == ["dram", "package-0/core"]
    assert total(RAILS[1:2], "compute") == ()


def test_a_rail_is_never_counted_twice() -> None:
    with pytest.raises(ConfigError, match="'package-0' contains 'package-0/core'"):
        choose(RAILS, "package-0,package-0/core")
    with pytest.raises(ConfigError, match="'gpu' is not known here; known: compute, device, package-0"):
        choose(RAILS, "gpu")
    with pytest.raises(ConfigError, match="'device' is not known here; known: compute, package-0"):
        choose(RAILS[:2], "device")
