"""Energy in a workspace: budgets that are kept, what to measure next, and what is said where nothing was measured."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic_energy as synthetic

from chamnet.errors import ConfigError, InfeasibleBudgetError, NotProfiledError
from chamnet.lut import Store
from chamnet.networks import Network
from chamnet.predictors.space_energy import SpaceEnergy
from chamnet.records import Component, EnergyPolicy
from chamnet.space import load_space
from chamnet.testing import make_device, make_visit
from chamnet_host.breakdown import break_down
from chamnet_host.measuring.energy_campaign import EnergyPlan, plan_energy
from chamnet_host.measuring.exploring import choose_networks, planned_networks
from chamnet_host.metered import keep_meters
from chamnet_host.profiles import DeviceProfile
from chamnet_host.searching.answer import search
from chamnet_host.searching.comparison import compare
from chamnet_host.searching.front import find_front
from chamnet_host.searching.scope import Scope
from chamnet_host.session import Session
from chamnet_host.tablefile import export_visits, import_visits
from chamnet_host.texts.energy import announcement
from chamnet_host.texts.search import front_remarks

NETWORKS = synthetic.all_networks(load_space(str(synthetic.TINY)))
BY_NAME = {network.name: network for network in NETWORKS}
Opener = Callable[..., AbstractContextManager[Session]]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with so many networks that a process predicts best."""
    path = tmp_path_factory.mktemp("many") / "s.db"
    synthetic.write_store(path)
    return path


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with so few networks that the sum over units predicts."""
    path = tmp_path_factory.mktemp("few") / "s.db"
    synthetic.write_store(path, networks=NETWORKS[::50])
    return path


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    """Return a function that writes a store of its own and opens it."""
    sessions: list[Session] = []

    def start(**options: object) -> Session:
        path = tmp_path / f"{len(sessions)}.db"
        synthetic.write_store(path, **options)  # type: ignore[arg-type]
        sessions.append(open_session(path))
        return sessions[-1]

    yield start
    for session in sessions:
        session.store.close()


def open_session(path: Path) -> Session:
    return Session.open(path, space=str(synthetic.TINY), create=False)


def predicted(session: Session, network: Network) -> tuple[float, float, float]:
    """Return top-1, latency and energy."""
    found = session.predict(network)
    assert found.top1
    assert found.latency
    assert found.energy
    return found.top1.value, found.latency.value, found.energy.value


@pytest.mark.parametrize("budget", ["9ms,18mJ", "20ms,12mJ", "6.5ms,20mJ", "9.999ms,21mJ"])
def test_the_answer_keeps_both_budgets_and_none_within_them_is_better(few: Path, budget: str) -> None:
    limit_ms, limit_mj = (float(part.rstrip("msJ")) for part in budget.split(","))
    with open_session(few) as session:
        answer = search(session, budget)
        everything = np.array([predicted(session, network) for network in NETWORKS])
    within = (everything[:, 1] <= limit_ms) & (everything[:, 2] <= limit_mj)
    name = answer.prediction.network.name
    assert answer.correction is None
    assert (answer.result.status, answer.result.gap) == ("optimal", 0.0)
    assert within[list(BY_NAME).index(name)]
    assert answer.prediction.top1 is not None
    assert answer.prediction.top1.value == pytest.approx(everything[within, 0].max(), abs=1e-3)
    assert synthetic.true_ms(BY_NAME[name]) <= limit_ms * 1.02
    assert synthetic.true_mj(BY_NAME[name]) <= limit_mj * 1.05
    assert set(answer.to_json()["budgets"]) == {"latency_ms", "energy_mj"}
    assert answer.to_json()["energy_correction"] is None


@pytest.mark.parametrize("budget", ["9ms,18mJ", "20ms,12mJ", "20ms,16.5mJ"])
def test_a_budget_is_kept_by_a_predictor_that_does_not_add_up(many: Path, budget: str) -> None:
    limit_ms, limit_mj = (float(part.rstrip("msJ")) for part in budget.split(","))
    with open_session(many) as session:
        answer = search(session, budget, top=3)
        assert session.require_energy().chosen == "residual-gp"
        everything = np.array([predicted(session, network) for network in NETWORKS])
    within = (everything[:, 1] <= limit_ms) & (everything[:, 2] <= limit_mj)
    assert answer.correction is not None
    assert answer.correction.needed_mj <= limit_mj
    assert (answer.result.status, answer.result.bound) == ("heuristic", None)
    shown = [answer.prediction, *answer.others]
    assert all(each.energy is not None and each.energy.value <= limit_mj for each in shown)
    assert answer.prediction.top1 is not None
    assert answer.prediction.top1.value == pytest.approx(everything[within, 0].max(), abs=1e-3)
    name = answer.prediction.network.name
    assert synthetic.true_mj(BY_NAME[name]) <= limit_mj * 1.03
    assert synthetic.true_ms(BY_NAME[name]) <= limit_ms * 1.02
    told = answer.to_json()["energy_correction"]
    assert (told["model"], told["searches"]) == ("residual-gp", 1)


@pytest.mark.parametrize("against", [False, True])
def test_the_least_energy_is_reached_whatever_sums_say(many: Path, against: bool) -> None:
    """With a process that agrees with the sums about sizes, or contradicts them."""
    with open_session(many) as session:
        held = session.require_energy()
        process = held.processes["network-gp"]
        if against:
            process = replace(process, targets=process.targets.max() - process.targets)
        errors = {"lut": (1.0,) * 9, "network-gp": (0.0,) * 9}
        session.energy = replace(held, errors=errors, processes={"network-gp": process})
        sums, macs = session.cost_tables["energy_mj"], session.cost_tables["macs"]
        levels = session.space.levels(session.space.genome(network.architecture) for network in NETWORKS)
        found_mj = SpaceEnergy(session.energy, sums, macs).mj(levels)
        limit_mj = 1.0001 * float(found_mj.min())
        assert limit_mj < sums.bounds()[0].min()
        answer = search(session, f"{limit_mj}mJ")
    assert answer.prediction.network.name == NETWORKS[int(found_mj.argmin())].name
    assert answer.correction is not None
    assert answer.correction.needed_mj <= limit_mj


def test_no_proof_is_promised_of_energies_that_do_not_add_up(many: Path) -> None:
    with open_session(many) as session, pytest.raises(ConfigError, match="needs energies that add up"):
        search(session, "16mJ", solver="exact")


def test_a_comparison_counts_those_networks_in_that_keep_both_budgets(few: Path) -> None:
    with open_session(few) as session:
        free, bound = compare(session, "20ms"), compare(session, "20ms,16mJ")
    assert free.limit_mj is None
    assert bound.limit_mj == 16.0
    energies_mj = {
        each.name: each.prediction.energy.value for each in bound.networks if each.prediction.energy
    }
    assert len(energies_mj) == len(bound.networks)
    assert bound.rival is not None
    assert free.rival is not None
    assert energies_mj[bound.rival.name] <= 16.0 < energies_mj[free.rival.name]
    assert all(energies_mj[each.name] <= 16.0 for each in bound.networks if bound.keeps(each))


def test_with_confidence_the_upper_end_is_kept(few: Path) -> None:
    with open_session(few) as session:
        plain = search(session, "16mJ")
        sure = search(session, "16mJ", scope=Scope.of(session, confidence=0.95))
    assert sure.prediction.energy is not None
    assert sure.prediction.energy.high <= 16.0 * (1 + 1e-9)
    assert sure.result.accuracy <= plain.result.accuracy + 1e-6


def test_a_share_is_of_what_the_hungriest_network_is_expected_to_take_however_sure_one_asks_to_be(
    few: Path,
) -> None:
    with open_session(few) as session:
        hungriest_mj = max(session.require_energy().predict(network).lut_mj for network in NETWORKS)
        answers = [
            search(session, "60%mJ", scope=Scope.of(session, confidence=each)) for each in (None, 0.9, 0.99)
        ]
    (limit_mj,) = {round(answer.budgets.constraints[0].limit, 6) for answer in answers}
    assert limit_mj == pytest.approx(0.6 * hungriest_mj)
    top1 = [answer.result.accuracy for answer in answers]
    assert top1[0] + 1e-6 >= top1[1] >= top1[2] - 1e-6, "surer is stricter"


@pytest.mark.parametrize("budget", ["1mJ", "20ms,1mJ", "0.1%mJ"])
def test_an_impossible_energy_names_the_lowest_reachable(few: Path, many: Path, budget: str) -> None:
    for path in (few, many):
        with (
            open_session(path) as session,
            pytest.raises(InfeasibleBudgetError, match=r"lowest reachable is 4\.\d+mJ"),
        ):
            search(session, budget)


def test_latency_alone_is_searched_as_before(many: Path) -> None:
    with open_session(many) as session:
        answer = search(session, "60%")
    assert answer.correction is None
    assert answer.result.status == "optimal"
    assert answer.prediction.energy is not None


def test_a_front_of_energy_rises(many: Path) -> None:
    with open_session(many) as session:
        front = find_front(session, metric="energy_mj", held="9ms", points=8)
    costs = [each.point.cost for each in front.networks]
    assert costs == sorted(costs)
    assert len(costs) > 3
    assert front.to_json()["networks"][0]["predicted"]["energy_mj"]["sum_over_units"] == pytest.approx(
        costs[0]
    )


def test_a_front_under_a_held_energy_says_that_it_is_kept_by_sums(few: Path, many: Path) -> None:
    for path, expected in ((few, False), (many, True)):
        with open_session(path) as session:
            front = find_front(session, held="60%mJ", points=4)
        assert any("mJ are sums over units" in remark for remark in front_remarks(front)) is expected


@pytest.mark.parametrize("metric", ["energy_mj", "latency_ms"])
def test_a_front_is_of_expected_costs_and_refuses_a_confidence(few: Path, metric: str) -> None:
    with open_session(few) as session:
        scope = Scope.of(session, confidence=0.9)
        with pytest.raises(ConfigError, match=r"a front is of expected costs; leave out the confidence 0\.9"):
            find_front(session, metric=metric, points=4, scope=scope)


def test_stages_share_a_networks_energy(few: Path) -> None:
    with open_session(few) as session:
        parts = break_down(session.predict(NETWORKS[9]))
    assert parts.prediction.energy is not None
    assert sum(share.energy_mj or 0.0 for share in parts.stages) == pytest.approx(
        parts.prediction.energy.lut_mj
    )


def test_a_measured_network_is_told_beside_its_prediction(many: Path) -> None:
    with open_session(many) as session:
        found = session.predict(NETWORKS[9])
        other = session.predict(NETWORKS[10])
    assert found.measured_mj == pytest.approx(synthetic.true_mj(NETWORKS[9]), rel=0.03)
    assert found.to_json()["measured_mj"] == found.measured_mj
    assert other.measured_mj is None


def test_fitting_once_is_enough_until_energy_is_measured(opened: Callable[..., Session]) -> None:
    session = opened(networks=NETWORKS[::50])
    first = session.require_energy()
    assert len(session.store.cached_keys("energy:")) == 1
    session.forget_table()
    assert session.require_energy().errors == first.errors
    visit = synthetic.energy_visit("later", 1.0, 5.0, np.random.default_rng(0))
    session.store.append(1, "network", NETWORKS[3].digest, "energy", visit, name=NETWORKS[3].name)
    session.forget_table()
    assert len(session.require_energy().names) == len(first.names) + 1
    assert len(session.store.cached_keys("energy:")) == 1


def test_the_networks_chosen_last_are_planned_beside_those_of_the_calibration(
    opened: Callable[..., Session],
) -> None:
    session = opened(networks=())
    calibration = [network.digest for network in session.calibration]
    assert [network.digest for network in planned_networks(session)] == calibration
    first = choose_networks(session, 4)
    assert [network.digest for network in first] == calibration[:4], "nothing of them was measured yet"
    assert [network.digest for network in planned_networks(session)] == calibration
    rng = np.random.default_rng(0)
    for network in (*session.calibration, NETWORKS[70]):
        visit = synthetic.energy_visit(f"x/{network.digest}", 1.2, synthetic.true_ms(network), rng)
        session.store.append(1, "network", network.digest, "energy", visit, name=network.name)
    session.forget_table()
    after = [network.digest for network in choose_networks(session, 5)]
    assert len(set(after) - set(session.energy_table.networks)) == 5
    assert [network.digest for network in planned_networks(session)] == [*calibration, *after]


def test_one_meter_at_a_time_and_the_choice_is_kept(opened: Callable[..., Session]) -> None:
    session = opened(networks=NETWORKS[::50])
    rng = np.random.default_rng(1)
    for number in range(3):
        visit = synthetic.energy_visit(f"other/{number}", 40.0, 5.0, rng, meter="wall")
        session.store.append(
            1, "network", NETWORKS[number].digest, "energy", visit, name=NETWORKS[number].name
        )
    session.forget_table()
    by_fake = session.predict(NETWORKS[5]).energy
    assert str(session.energy_table.metered_by) == "fake:fake"
    with pytest.raises(
        ConfigError, match=r"meter 'nvml' measured nothing here; choose of fake:fake, wall:wall"
    ):
        session.choose_meter("nvml")
    session.choose_meter("wall")
    by_wall = session.predict(NETWORKS[5]).energy
    assert by_fake is not None
    assert by_wall is not None
    assert by_wall.value > 5 * by_fake.value
    with Session.open(session.store.path, space=str(synthetic.TINY), create=False) as again:
        assert again.predict(NETWORKS[5]).energy == by_wall


def test_a_target_without_energy_says_what_to_run_and_what_was_tried(opened: Callable[..., Session]) -> None:
    session = opened(measured_units=0.0, networks=())
    assert session.energy is None
    assert session.predict(NETWORKS[0]).energy is None
    assert "energy_mj" not in session.cost_tables
    with pytest.raises(
        NotProfiledError, match=r"run `chamnet-host profile --energy --target paper-phone`$"
    ) as raised:
        search(session, "20ms,35mJ")
    assert raised.value.exit_code == 2
    meters = (Component(name="rapl", why_not="no permission; run as root"), Component(name="battery"))
    keep_meters(session.store, session.measured[1], replace(make_device("fake"), meters=meters))
    failed = replace(make_visit("f", status="unsupported"), message="the meter stood still\nmore")
    session.store.append(1, "unit", "x", "energy", failed)
    with pytest.raises(NotProfiledError) as told:
        find_front(session, metric="energy_mj")
    assert "meters that work there: battery" in str(told.value)
    assert "that do not: rapl (no permission; run as root)" in str(told.value)
    assert str(told.value).endswith("1 tries ended as unsupported: the meter stood still")


def test_energy_that_is_all_below_noise_is_refused_by_that_reason(opened: Callable[..., Session]) -> None:
    session = opened(networks=())
    with session.store.transaction() as db:
        db.execute("UPDATE visit SET energy = REPLACE(energy, '\"idle_std_w\": 0.01', '\"idle_std_w\": 9.0')")
    session.forget_table()
    assert session.predict(NETWORKS[0]).energy is None
    with pytest.raises(NotProfiledError, match="is below the noise; measure with a better meter"):
        search(session, "35mJ")


def test_a_second_device_of_a_kind_is_measured_for_itself(opened: Callable[..., Session]) -> None:
    session = opened(measured_units=0.0, networks=())
    info = replace(make_device("fake"), meters=(Component(name="fake", period_s=0.001),))
    rng = np.random.default_rng(0)

    def missing(serial: str) -> EnergyPlan:
        session.device = DeviceProfile(name="phone", transport="adb", serial=serial)
        session.store.put("table:phone", session.store.get("table:paper-phone") or "")
        session.forget_table()
        return plan_energy(session, info, EnergyPolicy(), rows=90, rounds=1)

    def profile(serial: str, watts: float) -> None:
        plan = missing(serial)
        for request in plan.batch.requests(session.measured[1].digest, (), ()):
            for item, key in zip(request.items, request.keys, strict=True):
                visit = synthetic.energy_visit(item.visit_id, watts, 5.0, rng)
                session.store.append(1, request.kind, key, "energy", visit, name=item.name, serial=serial)
        assert missing(serial).missing == 0

    profile("A", 1.0)
    assert missing("B").missing == missing("B").batch.items
    with pytest.raises(NotProfiledError, match=r"no energy was measured on phone \(B\);.*only A was"):
        session.require_energy()
    profile("B", 3.0)
    found = {}
    for serial in ("A", "B", ""):
        missing(serial)
        predicted = session.predict(NETWORKS[0]).energy
        assert predicted is not None
        found[serial] = predicted.value
    assert found["B"] > 2 * found["A"]
    assert found[""] == found["A"], "of several with as many rows the first; `--meter` chooses"
    session.choose_meter("fake:fake@B")
    assert session.require_energy().predict(NETWORKS[0]).value == found["B"]


def test_what_the_device_refuses_is_not_announced_as_missing(opened: Callable[..., Session]) -> None:
    session = opened(measured_units=0.0, networks=())
    info = replace(make_device("fake"), meters=(Component(name="rapl", period_s=0.001),))
    plan = plan_energy(session, info, EnergyPolicy(), rows=5, rounds=1, networks=())
    assert (plan.missing, plan.refused) == (5, 0)
    first, *others = plan.batch.units
    session.store.append(1, "unit", first.key, "energy", make_visit("r", status="unsupported"))
    later = plan_energy(session, info, EnergyPolicy(), rows=5, rounds=1, networks=())
    assert (later.missing, later.refused) == (4, 1)
    assert later.seconds is not None
    assert plan.seconds is not None
    assert later.seconds < plan.seconds
    assert "4 of 5 windows to go, 1 refused (see `chamnet-host status`)" in announcement(later)
    for unit in others:
        (visit_id,) = replace(plan.batch, units=(unit,)).visit_ids(session.measured[1].digest)
        session.store.append(1, "unit", unit.key, "energy", make_visit(visit_id))
    last = plan_energy(session, info, EnergyPolicy(), rows=5, rounds=1, networks=())
    assert "are stored already, 1 refused (see `chamnet-host status`)" in announcement(last)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_energies_travel_with_a_table(few: Path, tmp_path: Path, ending: str) -> None:
    with open_session(few) as session:
        export_visits(session.store, [1], tmp_path / f"t.{ending}")
        expected = session.predict(NETWORKS[8]).energy
        calibration = [session.space.genome(network.architecture) for network in session.calibration]
    with Store.open(tmp_path / "new.db") as store:
        import_visits(store, tmp_path / f"t.{ending}", "phone")
        store.put(f"calibration:{session.space.digest}:0", str([list(genome) for genome in calibration]))
    with open_session(tmp_path / "new.db") as session:
        assert session.predict(NETWORKS[8]).energy == expected
