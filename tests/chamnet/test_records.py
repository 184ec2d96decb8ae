"""What follows from what a meter said."""

from dataclasses import replace

import pytest

from chamnet.testing import make_energy


def test_energy_is_told_apart_from_that_of_the_idling_device() -> None:
    energy = make_energy(net_mj=2.0, latency_ms=4.0, idle_w=1.5)
    assert energy.latency_ms == pytest.approx(4.0)
    assert energy.net_w == pytest.approx(0.5)
    assert energy.net_mj == pytest.approx(2.0)
    assert energy.gross_mj == pytest.approx(2.0 + 1.5 * 4.0)


def test_how_sure_it_is_follows_from_what_power_changes_by() -> None:
    energy = make_energy(net_mj=1.0, noise_w=0.03)  # 1 W for a second, in a hundred updates
    assert energy.error == pytest.approx(0.03 * 2**0.5 / 10**0.5, rel=0.01)
    assert replace(energy, power_std_w=0.0).error == pytest.approx(0.03 / 10**0.5, rel=0.01)
    assert make_energy(net_mj=0.0).error == float("inf")


@pytest.mark.parametrize(
    ("net_mj", "noise_w", "drift_w", "below"),
    [
        (2.0, 0.01, 0.0, False),
        (0.04, 0.01, 0.0, True),  # 40 mW against 10 mW
        (0.06, 0.01, 0.0, False),
        (0.06, 0.01, 0.03, True),
        (-0.1, 0.0, 0.0, True),  # less than an idling device takes: no energy of an operator
    ],
)
def test_what_is_below_the_noise_says_so(net_mj: float, noise_w: float, drift_w: float, below: bool) -> None:
    energy = make_energy(net_mj, noise_w=noise_w)
    drifted = replace(
        energy, idle_before_w=energy.idle_w - drift_w / 2, idle_after_w=energy.idle_w + drift_w / 2
    )
    assert drifted.net_mj == pytest.approx(net_mj)
    assert drifted.is_below_noise == below
