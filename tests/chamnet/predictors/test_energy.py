"""Energies of networks of a device whose true energies are a formula."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic_energy as synthetic

from chamnet.errors import NotProfiledError
from chamnet.lut import EnergyTable, LatencyTable, Store
from chamnet.networks import Network, find
from chamnet.predictors.energy import EnergyPredictor
from chamnet.predictors.features import Structure
from chamnet.predictors.latency import LatencyPredictor
from chamnet.predictors.network_process import ENERGY, RESIDUAL, explore, fit_process, prior_process
from chamnet.predictors.power import PowerModel, PowerRows
from chamnet.predictors.space_energy import SpaceEnergy
from chamnet.space import load_space, unit_grid
from chamnet.units import Unit

SPACE = load_space(str(synthetic.TINY))
NETWORKS = synthetic.all_networks(SPACE)
UNITS = unit_grid(SPACE, "op").units
TRUTH = np.array([synthetic.true_mj(network) for network in NETWORKS])
Fit = Callable[..., EnergyPredictor]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """Return a function that writes a store and fits a predictor to it; options as of `write_store`."""
    made: dict[str, EnergyPredictor] = {}
    folder = tmp_path_factory.mktemp("stores")

    def fit(**options: object) -> EnergyPredictor:
        name = repr(options)
        if name not in made:
            path = folder / f"{len(made)}.db"
            synthetic.write_store(path, **options)  # type: ignore[arg-type]
            with Store.open(path) as store:
                table, energies = LatencyTable.load(store, 1), EnergyTable.load(store, 1)
            latency = LatencyPredictor.fit(table, NETWORKS[::25], "op")
            made[name] = EnergyPredictor.fit(energies, latency, NETWORKS, Structure.of(SPACE))
        return made[name]

    return fit


def errors(predictor: EnergyPredictor) -> np.ndarray:
    return np.array([predictor.predict(network).value for network in NETWORKS]) / TRUTH - 1


def test_networks_are_predicted_within_tolerance(fitted: Fit) -> None:
    predictor = fitted()
    off = np.abs(errors(predictor))
    assert off.mean() < 0.01
    assert off.max() < 0.05
    found = [predictor.predict(network) for network in NETWORKS]
    inside = np.mean([each.low <= mj <= each.high for each, mj in zip(found, TRUTH, strict=True)])
    assert inside > 0.85


def test_idle_power_is_accounted_once(fitted: Fit) -> None:
    """Without networks nothing is calibrated: the sum is net energies plus idle power times latency, to the digit."""
    predictor = fitted(networks=())
    network = NETWORKS[77]
    units = list(network.units("op"))
    times_ms = np.array([cost.latency_ms for cost in predictor.latency.predict(network).units])
    net_mj = float((predictor.power.predict(units).net_w * times_ms).sum())
    found = predictor.predict(network)
    assert found.value == pytest.approx(net_mj + predictor.idle_w * times_ms.sum(), rel=1e-9)
    assert found.coverage["idle"] == pytest.approx(predictor.idle_w * times_ms.sum() / found.value)
    assert sum(found.coverage.values()) == pytest.approx(1.0)
    assert sum(unit.energy_mj for unit in found.units) == pytest.approx(found.value)
    assert found.value == pytest.approx(synthetic.true_mj(network), rel=0.06)
    assert found.high / found.value > 1.3, "nothing was calibrated, and the interval says so"


def test_tables_add_up_to_the_sum_over_units(fitted: Fit) -> None:
    predictor = fitted()
    levels = SPACE.levels(SPACE.genome(network.architecture) for network in NETWORKS)
    totals = predictor.tables(unit_grid(SPACE, "op")).total(levels)
    assert totals[::17] == pytest.approx([predictor.predict(n).lut_mj for n in NETWORKS[::17]])


def test_the_predictors_compete_on_networks_left_out(fitted: Fit) -> None:
    many = fitted()
    assert set(many.errors) == {"lut", "network-gp", "residual-gp"}
    told = {model: many.error(model) for model in many.errors}
    assert all(error is not None and error < 0.03 for error in told.values())
    assert many.chosen == min(told, key=lambda model: told[model] or 0.0)
    few = fitted(networks=NETWORKS[::50])  # too few for a process
    assert (set(few.errors), few.chosen, len(few.names)) == ({"lut"}, "lut", 6)
    assert np.abs(errors(few)).mean() < 0.03
    none = fitted(networks=())
    assert (none.errors, none.chosen, none.calibration.networks) == ({}, "lut", 0)


def test_a_process_that_is_hardly_better_is_not_chosen(fitted: Fit) -> None:
    level = {"lut": (0.02,) * 9, "network-gp": (0.019,) * 9, "residual-gp": (0.021,) * 9}
    assert replace(fitted(), errors=level).chosen == "lut"
    assert replace(fitted(), errors={**level, "network-gp": (0.015,) * 9}).chosen == "network-gp"


def test_the_paper_needs_no_units(fitted: Fit) -> None:
    predictor = fitted(measured_units=0.0)
    found = predictor.predict(NETWORKS[3])
    assert found.coverage["missing"] > 0.3
    assert found.coverage["measured"] == found.coverage["interpolated"] == 0.0
    assert np.abs(errors(predictor)).mean() < 0.02


def test_a_row_below_noise_counts_with_the_power_of_its_kind(fitted: Fit) -> None:
    kind = "conv1x1_relu"
    named = [unit for unit in UNITS if unit.signature == kind]
    loud = frozenset(unit.key for unit in named[::2])
    predictor = fitted(networks=(), measured_units=1.0, hidden=loud)
    network = next(n for n in NETWORKS if loud & {unit.key for unit in n.units("op")})
    found = predictor.predict(network)
    below = [unit for unit in found.units if unit.unit.key in loud]
    assert below
    assert {unit.source for unit in below} == {"below_noise"}
    for unit in below:
        assert unit.net_w == pytest.approx(synthetic.unit_w(unit.unit), rel=0.2)
    known = predictor.power.predict([unit.unit for unit in below])
    assert (known.deviation > 0.4).all()
    plain = fitted(networks=(), measured_units=1.0).predict(network)
    assert found.high / found.value > plain.high / plain.value
    assert found.coverage["below_noise"] > 0


def test_units_without_a_relative_are_missing_and_never_free(fitted: Fit) -> None:
    predictor = fitted()
    known = predictor.power.predict([Unit.parse("conv:f32:1x64x28x28:o64:k5:relu6")])
    assert (known.known[0], known.measured[0]) == (False, False)
    assert known.net_w[0] > 0.3
    assert known.deviation[0] > predictor.power.predict(UNITS).deviation.max() * 0.99
    found = predictor.predict(find("mobilenet-v2-1.0-224").build())
    assert found.model == "lut" or found.coverage["missing"] < 0.5


def test_networks_of_another_structure_are_summed(fitted: Fit) -> None:
    found = fitted().predict(find("resnet-50").build())
    assert found.model == "lut"
    assert found.coverage["missing"] > 0.1
    assert found.high / found.value > 1.2


def test_power_is_smoothed_by_its_noise() -> None:
    few = UNITS[10:40]
    rng = np.random.default_rng(0)
    truth = np.array([synthetic.unit_w(unit) for unit in few])
    noisy = truth * np.exp(0.2 * rng.standard_normal(len(few)))
    model = PowerModel.fit(PowerRows(few, noisy, 0.2 * noisy), usual_w=1.0)
    smoothed = model.predict(few).net_w
    assert np.abs(np.log(smoothed / truth)).mean() < 0.7 * np.abs(np.log(noisy / truth)).mean()
    exact = PowerModel.fit(PowerRows(few, truth, 1e-3 * truth), usual_w=1.0)
    assert exact.predict(few).net_w == pytest.approx(truth, rel=0.01)
    assert exact.left_out is not None
    assert exact.left_out < 0.1


def test_everything_below_noise_is_no_predictor(tmp_path: Path) -> None:
    synthetic.write_store(tmp_path / "s.db", networks=(), hidden={unit.key for unit in UNITS})
    with Store.open(tmp_path / "s.db") as store:
        table, energies = LatencyTable.load(store, 1), EnergyTable.load(store, 1)
    latency = LatencyPredictor.fit(table, NETWORKS[::25], "op")
    with pytest.raises(NotProfiledError, match="every energy row measured with fake:fake is below the noise"):
        EnergyPredictor.fit(energies, latency, (), Structure.of(SPACE))


def test_what_is_kept_predicts_the_same(fitted: Fit) -> None:
    for predictor in (fitted(), fitted(networks=())):
        again = EnergyPredictor.unpack(predictor.pack(), predictor.latency)
        for network in NETWORKS[::60]:
            assert again.predict(network) == predictor.predict(network)
        assert (again.chosen, again.names) == (predictor.chosen, predictor.names)


def test_a_budget_kept_with_confidence_allows_for_the_interval(fitted: Fit) -> None:
    predictor = fitted(networks=NETWORKS[::50])
    found = predictor.predict(NETWORKS[100])
    assert found.upper_mj(None) == found.upper_mj(0.5) == pytest.approx(found.value)
    assert found.upper_mj(0.95) == pytest.approx(found.high)
    assert predictor.upper_factor(0.95) == pytest.approx(found.high / found.value, rel=0.2)


def features_of(networks: list[Network]) -> tuple[np.ndarray, np.ndarray]:
    structure = Structure.of(SPACE)
    values = structure.values([network.architecture for network in networks])
    return structure.scale(values), np.log([network.macs for network in networks])


def test_exploration_goes_where_least_is_known() -> None:
    features, log_macs = features_of(NETWORKS)
    rows = list(range(0, 256, 20))
    process = fit_process(features[rows], log_macs[rows], np.log(TRUTH[rows]), ENERGY)
    known = np.zeros(len(NETWORKS), dtype=bool)
    known[rows] = True
    picked = explore(process, features, log_macs, 8, known=known)
    assert len(set(picked)) == 8
    assert not set(picked) & set(rows)
    assert explore(process, features, log_macs, 8, known=known) == picked
    _, before = process.posterior(features, log_macs)
    assert before[picked[0]] == pytest.approx(before[~known].max())
    learned = process.believing(features[picked], log_macs[picked], 0)
    others = [i for i in range(256) if i not in rows and i not in picked][:8]
    random = process.believing(features[others], log_macs[others], 0)
    _, explored = learned.posterior(features, log_macs)
    assert explored.max() < random.posterior(features, log_macs)[1].max()
    assert len(explore(process, features[:3], log_macs[:3], 9, known=known[:3])) == 2


def test_exploring_begins_before_anything_is_measured() -> None:
    features, log_macs = features_of(NETWORKS)
    process = prior_process(features[:1], log_macs[:1], RESIDUAL)
    picked = explore(process, features, log_macs, 5, known=np.zeros(len(NETWORKS), dtype=bool))
    apart = [np.abs(features[a] - features[b]).sum() for a in picked for b in picked if a < b]
    assert min(apart) >= 2


@pytest.mark.parametrize("confidence", [None, 0.9])
@pytest.mark.parametrize("model", ["lut", "network-gp", "residual-gp"])
def test_many_genomes_are_predicted_as_one_by_one(fitted: Fit, model: str, confidence: float | None) -> None:
    told = {"lut": (1.0,) * 9, model: (0.0,) * 9}
    predictor = replace(fitted(), errors=told)
    assert predictor.chosen == model
    grid = unit_grid(SPACE, "op")
    for space in (SPACE, SPACE.restricted({"head": 1280, "irf2.expansion": 4})):
        sums, macs = predictor.tables(grid).restricted(space), grid.macs.restricted(space)
        levels = space.sample(9, np.random.default_rng(0))
        found = SpaceEnergy(predictor, sums, macs, confidence).mj(levels)
        single = [predictor.predict(space.decode(genome)) for genome in space.genomes(levels)]
        assert found == pytest.approx([each.upper_mj(confidence) for each in single])
