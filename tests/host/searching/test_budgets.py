from types import SimpleNamespace
from typing import Any, cast

import pytest

from chamnet.errors import BudgetError, NotProfiledError
from chamnet.networks import find
from chamnet.space import UnitGrid, load_space, unit_grid
from chamnet_host.searching.budgets import resolve_budgets
from chamnet_host.workspace import Workspace

GRID: UnitGrid = unit_grid(load_space("chamnet-res"), "block")
LIKE = find("resnet-50").build()


def workspace(measured: bool = True, metered: bool = True) -> Workspace:
    """A workspace where every MAC takes a nanosecond, and 2 W above idle."""
    energy = SimpleNamespace(predict=lambda network: SimpleNamespace(value=21.0))
    row = SimpleNamespace(visits=3, is_below_noise=False)

    def require_energy() -> Any:
        if not metered:
            raise NotProfiledError("no energy was measured on board")
        return energy

    rows = {LIKE.digest: SimpleNamespace(latency_ms=7.5, visits=20)} if measured else {}
    costs = {
        "latency_ms": GRID.tables([unit.macs / 1e6 for unit in GRID.units]),
        "macs": GRID.tables([unit.macs for unit in GRID.units]),
    }
    if metered:
        costs["energy_mj"] = GRID.tables([unit.macs / 5e5 for unit in GRID.units])
    made: Any = SimpleNamespace(
        cost_tables=costs,
        device=SimpleNamespace(name="board"),
        space=GRID.space,
        store=SimpleNamespace(get=lambda key: None),
        network_rows=rows,
        require_energy=require_energy,
        energy_table=SimpleNamespace(
            networks={LIKE.digest: row} if measured else {}, network_mj=lambda digest: 19.0
        ),
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
    "text",
    [
        "",
        "20",
        "ms",
        "20ms,",
        "0ms",
        "0%",
        "20ms,40%",
        "0%mJ",
        "35mJ,40%mJ",
        "20ms,like:resnet-50",
        "-5ms",
        "nanms",
    ],
)
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(BudgetError):
        resolve_budgets(text, workspace())


def test_energy_beside_latency() -> None:
    assert limits("20ms,35mJ") == {"latency_ms": 20.0, "energy_mj": 35.0}
    most_mj = workspace().cost_tables["energy_mj"].bounds()[1].max()
    assert limits("40%mJ, 40%")["energy_mj"] == pytest.approx(0.4 * most_mj)


def test_as_little_energy_as_a_network() -> None:
    assert limits("like:resnet-50:mJ, like:resnet-50") == {"energy_mj": 19.0, "latency_ms": 7.5}
    assert "measured over 3 visits" in resolve_budgets("like:resnet-50:mJ", workspace()).notes[0]
    assert limits("like:resnet-50:mJ", measured=False) == {"energy_mj": 21.0}


@pytest.mark.parametrize("text", ["35mJ", "20ms,35mJ", "40%mJ", "like:resnet-50:mJ"])
def test_energy_is_refused_where_none_was_measured(text: str) -> None:
    with pytest.raises(NotProfiledError, match="no energy was measured on board"):
        resolve_budgets(text, workspace(metered=False))
