from types import SimpleNamespace
from typing import Any, cast

import pytest

from chamnet.errors import BudgetError, NotProfiledError
from chamnet.networks import find
from chamnet.space import UnitGrid, load_space, unit_grid
from chamnet_host.budgets import resolve_budgets
from chamnet_host.workspace import Workspace

GRID: UnitGrid = unit_grid(load_space("chamnet-res"), "block")
LIKE = find("resnet-50").build()


def workspace(measured: bool = True) -> Workspace:
    """A workspace where every MAC takes a nanosecond."""
    rows = {LIKE.digest: SimpleNamespace(latency_ms=7.5, visits=20)} if measured else {}
    costs = {
        "latency_ms": GRID.tables([unit.macs / 1e6 for unit in GRID.units]),
        "macs": GRID.tables([unit.macs for unit in GRID.units]),
    }
    made: Any = SimpleNamespace(
        cost_tables=costs,
        device=SimpleNamespace(name="board"),
        space=GRID.space,
        store=SimpleNamespace(get=lambda key: None),
        network_rows=rows,
        latency=SimpleNamespace(predict=lambda network: SimpleNamespace(value=9.0)),
    )
    return cast(Workspace, made)


def limits(text: str, **options: bool) -> dict[str, float]:
    return {c.metric.name: c.limit for c in resolve_budgets(text, workspace(**options)).constraints}


def test_amounts() -> None:
    assert limits("20ms") == {"latency_ms": 20.0}
    assert limits("900us, 300MMACs") == {"latency_ms": 0.9, "macs": 3e8}


def test_like_a_network_measured_there() -> None:
    assert limits("like:resnet-50") == {"latency_ms": 7.5}
    assert "measured over 20 visits" in resolve_budgets("like:resnet-50", workspace()).notes[0]


def test_like_a_network_never_measured_is_predicted_and_says_so() -> None:
    assert limits("like:resnet-50", measured=False) == {"latency_ms": 9.0}
    assert "predicted" in resolve_budgets("like:resnet-50", workspace(measured=False)).notes[0]


def test_a_share_of_the_slowest_network() -> None:
    slowest = workspace().cost_tables["latency_ms"].bounds()[1].max()
    assert limits("40%")["latency_ms"] == pytest.approx(0.4 * slowest)


@pytest.mark.parametrize(
    "text", ["", "20", "ms", "20ms,", "0ms", "0%", "20ms,40%", "20ms,like:resnet-50", "-5ms", "nanms"]
)
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(BudgetError):
        resolve_budgets(text, workspace())


def test_energy_is_understood_and_refused() -> None:
    with pytest.raises(NotProfiledError, match="no energy was measured on board"):
        resolve_budgets("35mJ", workspace())
