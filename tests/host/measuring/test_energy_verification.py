"""Energies of whole networks beside predictions: what is compared, and by which meter. Measuring is tested with a recorder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_energy as synthetic
from synthetic_verification import verified

from chamnet.errors import MeterError
from chamnet.networks import find
from chamnet.records import EnergyPolicy, EnergyReading
from chamnet.space import load_space
from chamnet.testing import make_energy
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.server import RunningAgent
from chamnet_host.measuring.energy_verification import policy_of
from chamnet_host.session import Session


def test_without_a_meter_it_says_which_were_tried(
    start_agent: Callable[..., RunningAgent], tmp_path: Path
) -> None:
    endpoint = start_agent(meters=MeterSettings(root=tmp_path / "empty")).endpoint
    (tmp_path / "board.toml").write_text(
        f"transport = 'direct'\naddress = '{endpoint.address}'\ntoken_file = '{endpoint.token_file}'\n"
    )
    with (
        Session.open(tmp_path / "s.db", target="board", profiles=tmp_path) as session,
        pytest.raises(MeterError, match=r"no energy can be read. Tried: battery"),
    ):
        session.verify_energy([find("chamnet-f").build()], EnergyPolicy(meter="battery"))


@pytest.mark.parametrize(
    ("readings", "measured_mj", "error"),
    [
        ((make_energy(8.0, 2.0), make_energy(7.0, 2.0), make_energy(9.5, 2.0)), 10.0, 0.2),
        ((make_energy(0.01, 2.0),), None, None),  # below the noise: no figure of it is used
        ((synthetic.with_meter(make_energy(8.0, 2.0), "wall"),), None, None),  # of something else
        ((), None, None),
    ],
)
def test_only_what_can_be_compared_is(
    readings: tuple[EnergyReading, ...], measured_mj: float | None, error: float | None
) -> None:
    found = verified(*readings, predicted_mj=12.0)
    assert found.measured_mj == (None if measured_mj is None else pytest.approx(measured_mj))
    assert found.error == (None if error is None else pytest.approx(error))
    body = found.to_json()
    assert body["windows"] == len(readings)
    assert body["error"] == found.error
    assert body["comparable"] is bool(readings and readings[0].meter == "fake")


def test_the_meter_that_predicts_is_read_unless_another_is_asked_for(tmp_path: Path) -> None:
    synthetic.write_store(tmp_path / "s.db", networks=())
    with Session.open(tmp_path / "s.db", space=str(synthetic.TINY), create=False) as session:
        assert policy_of(session) == EnergyPolicy(meter="fake", rails="fake")
        assert policy_of(session, rails="left") == EnergyPolicy(meter="fake", rails="left")
        assert policy_of(session, "nvml") == EnergyPolicy(meter="nvml")
        session.device = replace(session.device, meter="rapl")
        assert policy_of(session) == EnergyPolicy(meter="rapl")
        session.device = replace(session.device, meter="")
        with session.store.transaction() as db:
            db.execute(
                'UPDATE visit SET energy = REPLACE(energy, \'"meter": "fake"\', \'"meter": "monsoon"\')'
            )
        session.forget_table()
        assert str(session.energy_table.metered_by) == "monsoon:fake"
        assert policy_of(session) == EnergyPolicy(), "no voltage is set that nobody asked for"


def test_a_network_measured_before_says_that_predictions_have_learned_from_it(tmp_path: Path) -> None:
    every = synthetic.all_networks(load_space(str(synthetic.TINY)))
    synthetic.write_store(tmp_path / "s.db", networks=every[:1])
    with Session.open(tmp_path / "s.db", space=str(synthetic.TINY), create=False) as session:
        known, new = session.predict(every[0]), session.predict(every[1])
    assert verified(prediction=known).has_learned
    assert not verified(prediction=new).has_learned
