from types import MappingProxyType

import numpy as np
import pytest

from chamnet.errors import NotProfiledError
from chamnet.lut import EFFORTS, LatencyTable, Row, calibration_networks, make_plan
from chamnet.networks import find
from chamnet.predictors.latency import Calibration, LatencyPredictor, Term, term_of
from chamnet.space import load_space, unit_grid
from chamnet.units import Unit

SPACE = load_space("chamnet-mobile")
GRID = unit_grid(SPACE, "block")
PLAN = make_plan(GRID, EFFORTS["quick"])
NETWORKS = calibration_networks(SPACE)
NOOP_MS = 0.008


def unit_ms(unit: Unit) -> float:
    return unit.macs / 3e7 + unit.activation_bytes / 4e7 + 0.002


def row(kind: str, key: str, latency_ms: float) -> Row:
    facts = {"name": "", "noop_ms": NOOP_MS, "visits": 8, "spread": 0.02, "samples": 160, "preempted": 0}
    return Row(kind=kind, key=key, latency_ms=latency_ms, **facts)  # type: ignore[arg-type]


def table(scale: float = 0.9) -> LatencyTable:
    """Units in a ring cost a no-op more than in a network, where all run `scale` times as long."""
    units = {u.key: row("unit", u.key, unit_ms(u) + NOOP_MS) for u in PLAN.units}
    whole = {n.digest: row("network", n.digest, scale * sum(map(unit_ms, n.blocks))) for n in NETWORKS}
    return LatencyTable(MappingProxyType(units), MappingProxyType(whole))


PREDICTOR = LatencyPredictor.fit(table(), NETWORKS, "block")


def test_calibration_finds_scale_and_overhead() -> None:
    assert PREDICTOR.calibration.term == "units"
    assert PREDICTOR.calibration.scale == pytest.approx(0.9, rel=0.03)
    assert PREDICTOR.calibration.coefficient == pytest.approx(-0.9 * NOOP_MS, abs=0.004)


@pytest.mark.parametrize("term", ["units", "macs", "weight_bytes"])
def test_calibration_chooses_the_term_that_predicts_left_out_networks(term: Term) -> None:
    chains = [network.blocks for network in NETWORKS]
    rows_ms = [np.array([unit_ms(unit) for unit in chain]) for chain in chains]
    extra = {"units": 0.03, "macs": 8e-9, "weight_bytes": 2e-8}[term]
    truth_ms = np.array(
        [0.5 * r.sum() + extra * term_of(term, c).sum() for r, c in zip(rows_ms, chains, strict=True)]
    )
    fitted = Calibration.fit(rows_ms, chains, truth_ms, NOOP_MS)
    assert (fitted.term, fitted.scale, fitted.coefficient) == (term, pytest.approx(0.5), pytest.approx(extra))
    assert np.abs(fitted.residuals).max() < 1e-9


def test_residuals_are_those_of_networks_left_out() -> None:
    rng = np.random.default_rng(0)
    chains = [network.blocks for network in NETWORKS]
    rows_ms = [np.array([unit_ms(unit) for unit in chain]) for chain in chains]
    truth_ms = np.array([rows.sum() for rows in rows_ms]) * np.exp(rng.normal(0, 0.1, len(rows_ms)))
    fitted = Calibration.fit(rows_ms, chains, truth_ms, NOOP_MS)
    sums_ms = np.array([rows.sum() for rows in rows_ms])
    design = (
        np.column_stack([sums_ms, [term_of(fitted.term, chain).sum() for chain in chains]])
        / truth_ms[:, None]
    )
    without_first = np.linalg.lstsq(design[1:], np.ones(len(design) - 1), rcond=None)[0]
    assert fitted.residuals[0] == pytest.approx(design[0] @ without_first - 1)


def test_networks_never_measured_are_predicted() -> None:
    genomes = SPACE.genomes(SPACE.sample(30, np.random.default_rng(5)))
    networks = [SPACE.decode(genome) for genome in genomes]
    errors = [PREDICTOR.predict(n).value / (0.9 * sum(map(unit_ms, n.blocks))) - 1 for n in networks]
    assert np.abs(errors).mean() < 0.02


def test_interval_holds_the_value_and_coverage_sums_to_one() -> None:
    prediction = PREDICTOR.predict(find("chamnet-c").build())
    assert prediction.low < prediction.value < prediction.high
    assert sum(prediction.coverage.values()) == pytest.approx(1)
    assert sum(cost.latency_ms for cost in prediction.units) == pytest.approx(prediction.value)


def test_units_of_another_kind_are_counted_as_missing() -> None:
    plain, foreign = (
        PREDICTOR.predict(find("chamnet-c").build()),
        PREDICTOR.predict(find("mnasnet-a1-224").build()),
    )
    assert plain.coverage["missing"] == 0
    assert foreign.coverage["missing"] > 0
    assert all(cost.latency_ms > 0 for cost in foreign.units)
    assert foreign.high / foreign.value > plain.high / plain.value


def test_a_measured_unit_is_not_interpolated() -> None:
    network = SPACE.decode(SPACE.extreme(largest=True))
    measured = {unit.key for unit in PLAN.units}
    for cost in PREDICTOR.predict(network).units:
        assert cost.source == ("measured" if cost.unit.key in measured else "interpolated")


def test_tables_equal_predictions_one_by_one() -> None:
    levels = SPACE.sample(20, np.random.default_rng(1))
    totals = PREDICTOR.tables(GRID).total(levels)
    assert totals == pytest.approx([PREDICTOR.predict(SPACE.decode(g)).value for g in SPACE.genomes(levels)])


def test_without_networks_the_overhead_of_a_call_is_taken_off() -> None:
    plain = LatencyPredictor.fit(LatencyTable(table().units, {}), NETWORKS, "block")
    assert plain.calibration == Calibration(scale=1.0, term="units", coefficient=-NOOP_MS, residuals=())
    prediction = plain.predict(find("chamnet-c").build())
    assert prediction.high / prediction.value > 1.2


def test_operators_are_not_mistaken_for_blocks() -> None:
    with pytest.raises(NotProfiledError):
        LatencyPredictor.fit(
            LatencyTable({u.key: row("unit", u.key, 1.0) for u in GRID.units if len(u.all_ops) > 1}, {}),
            [],
            "op",
        )
