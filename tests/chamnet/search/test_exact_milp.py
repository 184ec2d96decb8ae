"""The exact search against HiGHS, on the networks of ChamNet-Mobile at one resolution with filters by 32.

With all filters (3.67e16 networks) the two agree as well, but HiGHS takes a minute.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array, hstack

from chamnet.predictors import AccuracyPredictor
from chamnet.predictors.separable import Separable
from chamnet.quantities import Budget
from chamnet.search import Constraint, ExactSearch, Metric
from chamnet.search.trellis import Trellis

if TYPE_CHECKING:
    from conftest import Synthetic

FloatArray = npt.NDArray[np.float64]
TANGENTS = 400  # of the logarithm: 1.3 % of MACs apart, so that they lie above it by 2e-5 at most


def best_by_milp(accuracy: Separable, constraints: list[Constraint]) -> float:
    """Return the largest sum: one unit of flow from source to sink, each budget a row, tangents for the logarithm."""
    trellis = Trellis.build(accuracy, [each.metric.tables for each in constraints]).undominated()
    layers, firsts = trellis.layers, np.cumsum([0, *(len(layer.tail) for layer in trellis.layers)])
    score, macs = (np.concatenate([getattr(layer, name) for layer in layers]) for name in ("score", "macs"))
    costs = np.concatenate([layer.costs for layer in layers], axis=1)
    nodes = np.cumsum([0, *(layer.tails for layer in layers), layers[-1].heads])
    arcs = np.arange(firsts[-1])
    tails = np.concatenate([layer.tail + first for layer, first in zip(layers, nodes, strict=False)])
    heads = np.concatenate([layer.head + first for layer, first in zip(layers, nodes[1:], strict=False)])
    ones = np.ones(len(arcs))
    flow = coo_array(
        (np.concatenate([ones, -ones]), (np.concatenate([tails, heads]), np.tile(arcs, 2))),
        shape=(nodes[-1], len(arcs)),
    ).tocsr()
    balance = np.zeros(flow.shape[0])
    balance[0], balance[-1] = 1, -1
    scale = macs.max()
    at = np.geomspace(accuracy.macs.bounds()[0][0], accuracy.macs.bounds()[1][0], TANGENTS)
    below = np.column_stack(
        [-accuracy.slope / at * scale, np.ones(TANGENTS)]
    )  # of MACs, and of the logarithm's part
    limits = np.array([each.limit - each.metric.constant for each in constraints])
    rows = [
        LinearConstraint(_wide(flow), balance, balance),
        LinearConstraint(_wide(csr_array(costs / limits[:, None])), -np.inf, 1),
        LinearConstraint(hstack([csr_array(macs[None] / scale), csr_array([[-1.0, 0.0]])]), 0, 0),
        LinearConstraint(
            hstack([csr_array((TANGENTS, len(arcs))), csr_array(below)]),
            -np.inf,
            accuracy.slope * (np.log(at) - 1),
        ),
    ]
    found = milp(
        -np.concatenate([score, [0.0, 1.0]]),
        constraints=rows,
        integrality=np.concatenate([ones, [0, 0]]),
        bounds=Bounds(np.concatenate([0 * ones, [0, -np.inf]]), np.concatenate([ones, [np.inf, np.inf]])),
        options={"mip_rel_gap": 1e-7},
    )
    assert found.success, found.message
    return float(-found.fun)


def _wide(rows: csr_array) -> csr_array:
    return hstack([rows, csr_array((rows.shape[0], 2))])


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_highs_finds_nothing_better(mobile: "Synthetic", share: float) -> None:
    part = mobile.space.restricted({"resolution": 160}, channel_multiple=32)
    macs, latency, params = (
        mobile.metrics[name].tables.restricted(part) for name in ("macs", "latency_ms", "params")
    )
    accuracy = AccuracyPredictor.load().for_space(part, macs).separable
    assert accuracy is not None
    assert accuracy.slope > 0
    metric, other = Metric("latency_ms", latency), Metric("params", params)
    constraints = [
        Constraint(m, Budget(m.name, m.lowest + s * (m.highest - m.lowest), "x"))
        for m, s in ((metric, share), (other, 0.9 * share))
    ]
    proven = ExactSearch(accuracy, [metric, other]).best(constraints)
    assert proven.gap == 0
    value = float(accuracy.value(proven.levels)[0])
    assert value == pytest.approx(best_by_milp(accuracy, constraints), abs=1e-4)
