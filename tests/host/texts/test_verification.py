"""What is said of networks measured whole."""

from dataclasses import replace

import pytest
import synthetic_energy as synthetic
from synthetic_verification import verified

from chamnet.predictors.latency import LatencyPrediction
from chamnet.quantities import parse_budgets
from chamnet.testing import make_energy
from chamnet_host.measuring.energy_verification import EnergyVerification
from chamnet_host.texts.verification import energy_remarks, energy_table, over_budget

GOOD, FAINT = make_energy(8.0, 2.0), make_energy(0.01, 2.0)


def test_a_row_has_net_and_gross_energy_beside_what_was_predicted() -> None:
    ((name, *cells),) = energy_table([verified(GOOD, predicted_mj=12.0)]).rows
    assert name == "chamnet-f"
    assert cells == ["12.00", "10.80 - 13.20", "8.00", "10.00", "+20.0 %", "0.2 %"]


def test_nothing_is_shown_of_what_is_below_noise_or_was_not_measured() -> None:
    found = [
        verified(FAINT, predicted_mj=12.0),
        verified(predicted_mj=12.0, failed="cancelled: unplug it"),
        verified(GOOD),
    ]
    faint, failed, alone = (row[3:] for row in energy_table(found).rows)
    assert faint == ("", "", "", "below noise")
    assert failed == ("", "", "", "not measured")
    assert alone == ("8.00", "10.00", "", "0.2 %")
    assert energy_remarks(found)[0] == "chamnet-f: no energy, cancelled: unplug it"


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (verified(GOOD, predicted_mj=12.0), "mean absolute error 20.0 % over the energies of 1 net"),
        (verified(GOOD), "so none is predicted; next: `chamnet-host profile --energy`"),
        (
            verified(synthetic.with_meter(GOOD, "wall"), predicted_mj=12.0),
            "measured with wall:wall, predicted for fake:fake",
        ),
        (
            verified(GOOD, predicted_mj=12.0, idle_w=1.2),
            "idles at 1.000 W now, and at 1.200 W in what predicts",
        ),
    ],
)
def test_what_errors_are_of_and_why_there_is_none_is_said(found: EnergyVerification, says: str) -> None:
    assert any(says in remark for remark in energy_remarks([found]))


def test_windows_that_were_held_up_are_named() -> None:
    def remarks(predicted_ms: float) -> str:
        found = verified(GOOD, predicted_mj=12.0)
        latency = LatencyPrediction(value=predicted_ms, low=1.0, high=3.0, coverage={}, units=())
        return " ".join(
            energy_remarks([replace(found, prediction=replace(found.prediction, latency=latency))])
        )

    assert "chamnet-f took 2.00 ms a run, predicted 1.00" in remarks(1.0)
    assert "held up" not in remarks(1.9)


def test_where_all_is_well_only_the_error_is_said() -> None:
    assert len(energy_remarks([verified(GOOD, predicted_mj=12.0)])) == 1


def test_a_budget_that_was_not_kept_says_by_how_much_and_what_to_search_next() -> None:
    limits = {"latency_ms": 20.0, "energy_mj": 35.0, "weight_bytes": 5e6}
    assert over_budget("n", {"latency_ms": 20.0, "energy_mj": 34.9}, limits) == ""
    assert over_budget("n", {"latency_ms": 50.0, "energy_mj": None}, {"energy_mj": 1.0}) == ""
    said = over_budget("n", {"latency_ms": 19.0, "energy_mj": 40.0}, limits)
    assert said.startswith("n took 40.00 mJ, 14.3 % over its budget of 35.00 mJ; next: `chamnet-host search")
    asked = {budget.metric: budget.limit for budget in parse_budgets(said.split()[-1].strip("`"))}
    assert asked == pytest.approx(limits | {"energy_mj": 35.0 * 35.0 / 40.0}, rel=1e-3)
    both = over_budget("n", {"latency_ms": 21.0, "energy_mj": 40.0}, limits)
    assert "took 21.00 ms, 5.0 % over its budget of 20.00 ms, and 40.00 mJ, 14.3 % over" in both
