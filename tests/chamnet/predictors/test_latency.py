import io
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pytest

from chamnet.errors import NotProfiledError
from chamnet.lut import LatencyTable, Row, calibration_networks
from chamnet.lut.store import ItemKind
from chamnet.networks import Network, find
from chamnet.predictors.latency import Calibration, LatencyPredictor, ResidualModel, Term, term_of
from chamnet.space import load_space, spread_sizes, unit_grid
from chamnet.units import Unit

FloatArray = npt.NDArray[np.float64]

SPACE = load_space("chamnet-res")
GRID = unit_grid(SPACE, "block")
MACS = GRID.tables([unit.macs for unit in GRID.units])
NETWORKS = calibration_networks(SPACE, MACS)
NOOP_MS = 0.008
SCALE, PER_UNIT_MS = 0.9, 0.05


def unit_ms(unit: Unit) -> float:
    return unit.macs / 3e8 + unit.activation_bytes / 4e7 + 0.002


def true_ms(network: Network) -> float:
    """Return a whole network: rows count a little less than alone, and each call costs something."""
    return SCALE * sum(map(unit_ms, network.blocks)) + PER_UNIT_MS * len(network.blocks)


def row(kind: ItemKind, key: str, *visits_ms: float) -> Row:
    return Row(kind=kind, key=key, name="", visits_ms=visits_ms, noop_ms=NOOP_MS, samples=9, preempted=0)


def drawn(count: int, seed: int) -> list[Network]:
    """Return networks of the sizes that the calibration knows."""
    low = float(min(network.macs for network in NETWORKS))
    genomes = SPACE.genomes(spread_sizes(SPACE, MACS, count, np.random.default_rng(seed), low=low))
    return [SPACE.decode(genome) for genome in genomes]


UNITS = [GRID.units[i] for i in np.random.default_rng(0).permutation(len(GRID.units))[:500]]
UNITS += [unit for unit in GRID.units if len(unit.ops) == 1 and unit not in set(UNITS)]
OTHERS = drawn(40, seed=5)


def table(networks: Mapping[str, float]) -> LatencyTable:
    """Return rows of units visited three times, and of networks by digest."""
    units = {u.key: row("unit", u.key, *(unit_ms(u) * f for f in (0.99, 1.0, 1.01))) for u in UNITS}
    whole = {digest: row("network", digest, latency_ms) for digest, latency_ms in networks.items()}
    return LatencyTable(MappingProxyType(units), MappingProxyType(whole))


WHOLE = {network.digest: true_ms(network) for network in NETWORKS}
PREDICTOR = LatencyPredictor.fit(table(WHOLE), NETWORKS, "block")


def test_calibration_finds_scale_and_cost_of_a_unit() -> None:
    assert PREDICTOR.calibration.term == "units"
    assert PREDICTOR.calibration.scale == pytest.approx(SCALE, rel=0.02)
    assert PREDICTOR.calibration.coefficient == pytest.approx(PER_UNIT_MS, rel=0.3)


def rows_of(networks: list[Network] | tuple[Network, ...]) -> list[FloatArray]:
    return [np.array([unit_ms(unit) for unit in network.blocks]) for network in networks]


@pytest.mark.parametrize("term", ["units", "macs", "weight_bytes"])
def test_calibration_chooses_the_term_that_predicts_left_out_networks(term: Term) -> None:
    chains, rows_ms = [network.blocks for network in NETWORKS], rows_of(NETWORKS)
    extra = {"units": 0.03, "macs": 8e-10, "weight_bytes": 2e-8}[term]
    truth_ms = np.array(
        [0.5 * r.sum() + extra * term_of(term, c).sum() for r, c in zip(rows_ms, chains, strict=True)]
    )
    fitted = Calibration.fit(rows_ms, chains, truth_ms, NOOP_MS)
    assert (fitted.term, fitted.scale, fitted.coefficient) == (term, pytest.approx(0.5), pytest.approx(extra))
    assert np.abs(fitted.residuals).max() < 1e-9


def test_residuals_are_those_of_networks_left_out() -> None:
    rng = np.random.default_rng(0)
    chains, rows_ms = [network.blocks for network in NETWORKS], rows_of(NETWORKS)
    sums_ms = np.array([rows.sum() for rows in rows_ms])
    truth_ms = sums_ms * np.exp(rng.normal(0, 0.1, len(rows_ms)))
    fitted = Calibration.fit(rows_ms, chains, truth_ms, NOOP_MS)
    terms = [term_of(fitted.term, chain).sum() for chain in chains]
    design = np.column_stack([sums_ms, terms]) / truth_ms[:, None]
    assert fitted.term == "units"
    free = np.linalg.lstsq(design, np.ones(len(chains)), rcond=None)
    noise = np.sqrt(free[1][0] / (len(chains) - 2))
    expected, sure = np.array([1.0, 0.1 * NOOP_MS]), np.array([0.1, 0.05 * NOOP_MS])
    for out in range(len(chains)):
        kept = np.arange(len(chains)) != out
        precision = design[kept].T @ design[kept] / noise**2 + np.diag(sure**-2)
        solution = np.linalg.solve(precision, design[kept].sum(axis=0) / noise**2 + expected / sure**2)
        assert fitted.residuals[out] == pytest.approx(design[out] @ solution - 1)


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_networks_calibrate_nothing_but_leave_wide_intervals(count: int) -> None:
    some = dict(list(WHOLE.items())[:count])
    plain = LatencyPredictor.fit(table(some), NETWORKS, "block")
    assert (plain.calibration.scale, plain.calibration.coefficient, plain.calibration.residuals) == (1, 0, ())
    prediction = plain.predict(OTHERS[3])
    assert prediction.value == pytest.approx(sum(map(unit_ms, OTHERS[3].blocks)), rel=0.05)
    assert prediction.high / prediction.value > 1.2


def test_networks_never_measured_are_predicted() -> None:
    errors = [PREDICTOR.predict(network).value / true_ms(network) - 1 for network in OTHERS]
    assert np.abs(errors).mean() < 0.01
    assert np.abs(errors).max() < 0.05


def test_only_networks_with_a_row_calibrate() -> None:
    fewer = LatencyPredictor.fit(table(dict(list(WHOLE.items())[:6])), NETWORKS, "block")
    assert len(fewer.calibration.residuals) == 6
    assert len(PREDICTOR.calibration.residuals) == len(NETWORKS)


def test_interval_holds_the_value_and_coverage_sums_to_one() -> None:
    prediction = PREDICTOR.predict(find("resnet-50").build())
    assert prediction.low < prediction.value < prediction.high
    assert sum(prediction.coverage.values()) == pytest.approx(1)
    assert sum(cost.latency_ms for cost in prediction.units) == pytest.approx(prediction.value)


def test_nine_in_ten_networks_lie_in_their_intervals() -> None:
    # 400 calibrations on ten networks, each tried on four others. How wide an interval is varies with the ten: that
    # and the number of tries make a standard error of some 1.1 points, of which the bounds allow more than four.
    rng = np.random.default_rng(7)
    chains, rows_ms = [network.blocks for network in NETWORKS], rows_of(NETWORKS)
    whole_ms = np.array([true_ms(network) for network in NETWORKS])
    values = {network.digest: PREDICTOR.rows_ms(network.blocks)[0] for network in OTHERS}
    inside = []
    for _ in range(400):
        truth_ms = whole_ms * np.exp(rng.normal(0, 0.05, len(whole_ms)))
        calibration = Calibration.fit(rows_ms, chains, truth_ms, NOOP_MS)
        predictor = replace(PREDICTOR, calibration=calibration)
        for network in rng.choice(np.array(OTHERS, dtype=object), 4, replace=False):
            value = predictor.costs_ms(network.blocks, values[network.digest]).sum()
            spread = calibration.spread
            width = spread.quantile * spread.deviation(len(network.blocks), value)
            measured_ms = true_ms(network) * np.exp(rng.normal(0, 0.05))
            inside.append(abs(np.log(measured_ms / value)) < width)
    assert 0.85 < np.mean(inside) < 0.95


def test_intervals_follow_the_residual_model() -> None:
    network = OTHERS[10]
    spread = ResidualModel(flat=0.04, call_ms=0.1, quantile=1.9)
    predictor = replace(PREDICTOR, calibration=replace(PREDICTOR.calibration, spread=spread))
    prediction = predictor.predict(network)
    assert prediction.coverage["missing"] == 0
    width = 1.9 * np.hypot(0.04, 0.1 * len(network.blocks) / prediction.value)
    assert np.log([prediction.high / prediction.value, prediction.value / prediction.low]) == pytest.approx(
        width
    )


def test_intervals_widen_beyond_the_latencies_that_were_tested() -> None:
    spread = ResidualModel(flat=0.03, call_ms=0.0, quantile=1.9, tested_ms=(2.0, 20.0))
    inside, smaller, larger = (spread.deviation(30, each_ms) for each_ms in (5.0, 0.5, 80.0))
    assert inside == pytest.approx(0.03)
    assert smaller == pytest.approx(larger) == pytest.approx(np.hypot(0.03, 0.1 * np.log(4)))


SIZES_MS = np.geomspace(1, 300, 24)
COUNTS = np.full(24, 20.0)


def test_where_calls_make_the_noise_small_networks_have_wider_intervals() -> None:
    rng = np.random.default_rng(0)
    per_network_ms = 0.1 * NOOP_MS * COUNTS  # each call off by a tenth of an empty one, all alike
    residuals = rng.normal(0, np.hypot(0.01, per_network_ms / SIZES_MS * 10))
    model = ResidualModel.fit(residuals, COUNTS, SIZES_MS, 10 * NOOP_MS)
    assert model.call_ms > 0
    assert model.deviation(20, 2.0) > 3 * model.deviation(20, 200.0)
    assert model.deviation(20, 2.0) == pytest.approx(0.08, rel=0.7)


def test_noise_of_one_share_at_any_size_is_flat() -> None:
    residuals = np.random.default_rng(1).normal(0, 0.06, 24)
    model = ResidualModel.fit(residuals, COUNTS, SIZES_MS, 0.0)
    assert model.flat == pytest.approx(float(np.sqrt((residuals**2).mean())), rel=0.15)
    assert model.deviation(20, 2.0) == model.deviation(20, 200.0)


def test_fewer_networks_make_wider_intervals() -> None:
    quantiles = [
        ResidualModel.fit(np.full(n, 0.03), COUNTS[:n], SIZES_MS[:n], NOOP_MS).quantile for n in range(4, 14)
    ]
    assert quantiles == sorted(quantiles, reverse=True)
    assert quantiles[0] == pytest.approx(2.92)  # Student's t with two degrees of freedom
    assert quantiles[6] == pytest.approx(1.86)  # with eight
    assert quantiles[-1] > 1.645


def test_units_of_another_kind_are_counted_as_missing() -> None:
    plain, foreign = (PREDICTOR.predict(find(name).build()) for name in ("resnet-50", "mnasnet-a1-224"))
    assert plain.coverage["missing"] == 0
    assert foreign.coverage["missing"] > 0
    assert all(cost.latency_ms > 0 for cost in foreign.units)
    assert foreign.high / foreign.value > plain.high / plain.value


def test_a_measured_unit_says_so() -> None:
    measured = {unit.key for unit in UNITS}
    sources = {cost.source for network in OTHERS[:5] for cost in PREDICTOR.predict(network).units}
    assert sources == {"measured", "interpolated"}
    for cost in PREDICTOR.predict(OTHERS[0]).units:
        assert cost.source == ("measured" if cost.unit.key in measured else "interpolated")


def test_no_unit_costs_zero_or_less() -> None:
    rows_ms = np.geomspace(1e-4, 10, len(UNITS))
    for coefficient in (-0.5, 0.0):
        calibration = replace(PREDICTOR.calibration, scale=0.9, coefficient=coefficient)
        costs_ms = replace(PREDICTOR, calibration=calibration).costs_ms(UNITS, rows_ms)
        assert (costs_ms > 0).all()
        assert (np.diff(costs_ms) > 0).all()


def test_visits_that_agree_less_are_trusted_less() -> None:
    # one unit off by a third, once by visits that agree, once by visits that do not
    unit = max(UNITS, key=unit_ms)
    tables = [table(WHOLE) for _ in range(2)]
    found = []
    for spread, held in zip((0.001, 0.5), tables, strict=True):
        visits_ms = (1.33 * unit_ms(unit) * (1 + spread * step) for step in (-1, 0, 1))
        units = {**held.units, unit.key: row("unit", unit.key, *visits_ms)}
        predictor = LatencyPredictor.fit(replace(held, units=units), NETWORKS, "block")
        found.append(float(predictor.rows_ms([unit])[0][0]))
    assert found[0] > found[1]
    assert found[1] == pytest.approx(unit_ms(unit), rel=0.15)


def test_tables_equal_predictions_one_by_one() -> None:
    levels = SPACE.sample(10, np.random.default_rng(1))
    totals = PREDICTOR.tables(GRID).total(levels)
    assert totals == pytest.approx([PREDICTOR.predict(SPACE.decode(g)).value for g in SPACE.genomes(levels)])


def test_it_comes_back_from_arrays_as_it_was() -> None:
    file = io.BytesIO()
    np.savez(file, **PREDICTOR.pack())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        again = LatencyPredictor.unpack(arrays)
    assert (again.calibration, again.granularity, again.regimes) == (
        PREDICTOR.calibration,
        PREDICTOR.granularity,
        PREDICTOR.regimes,
    )
    for network in (OTHERS[0], find("mnasnet-a1-224").build()):
        assert again.predict(network) == PREDICTOR.predict(network)


def test_operators_are_not_mistaken_for_blocks() -> None:
    blocks = {u.key: row("unit", u.key, 1.0) for u in UNITS if len(u.all_ops) > 1}
    with pytest.raises(NotProfiledError):
        LatencyPredictor.fit(LatencyTable(blocks, {}), [], "op")
