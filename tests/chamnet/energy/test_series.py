import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chamnet.energy import EnergySeries, Rail, Reading
from chamnet.errors import MeterError, MeterInterruptedError

MS = 1_000_000
S = 1_000 * MS
COUNTER = Rail(name="package-0", nature="counter", domain="package")
POWER = Rail(name="VDD_IN", nature="power", domain="device")


def counted(
    values_uj: Sequence[float],
    *,
    every_ns: int = 10 * MS,
    wraps_uj: float | None = None,
    max_points: int = 10_000,
) -> EnergySeries:
    """Return a series of a counter that is true when it is read."""
    rail = Rail(name="package-0", nature="counter", domain="package", wraps_uj=wraps_uj)
    series = EnergySeries([rail], period_s=every_ns / S, on_read=True, max_points=max_points)
    for i, value in enumerate(values_uj):
        series.add(Reading((value,)), i * every_ns)
    return series


def sampled(
    power_w: Callable[[float], float], times_s: Sequence[float], period_s: float = 0.01
) -> EnergySeries:
    series = EnergySeries([POWER], period_s=period_s)
    for t_s in times_s:
        series.add(Reading((power_w(t_s),)), round(t_s * S))
    return series


def test_a_window_between_updates_is_interpolated() -> None:
    series = counted([1_000, 1_100, 1_300, 1_300 + 400])
    assert series.energy_uj("package-0", 0, 30 * MS) == 700
    assert series.energy_uj("package-0", 5 * MS, 25 * MS) == 50 + 200 + 200
    assert series.energy_uj("package-0", 12 * MS, 14 * MS) == pytest.approx(40)


def test_many_windows_are_told_at_once() -> None:
    series = counted([1_000, 1_100, 1_300, 1_700])
    edges_ns = [5 * MS, 10 * MS, 12 * MS, 25 * MS]
    assert series.energies_uj("package-0", edges_ns) == pytest.approx([0, 50, 90, 450])
    with pytest.raises(MeterInterruptedError, match="end of the window"):
        series.energies_uj("package-0", [0, 20 * MS, 31 * MS])


def test_power_becomes_energy_by_the_trapezoid_rule() -> None:
    ramp = sampled(lambda t_s: 2 + 3 * t_s, [i / 100 for i in range(101)])
    assert ramp.energy_uj("VDD_IN", 0, S) == pytest.approx(3.5e6)
    uneven = sampled(lambda t_s: 2 + 3 * t_s, [0, 0.1, 0.15, 0.4, 0.9, 1], period_s=0.5)
    assert uneven.energy_uj("VDD_IN", 0, S) == pytest.approx(3.5e6)


@given(st.lists(st.integers(0, 9_000_000), min_size=2, max_size=60), st.floats(0, 0.4), st.floats(0.6, 1))
def test_wrapping_around_changes_nothing(steps_uj: list[int], begin: float, end: float) -> None:
    """Against the obvious version: the same counter, which never wraps around."""
    values = [29_950_000, *(29_950_000 + each for each in itertools.accumulate(steps_uj))]
    endless = counted(values)
    wrapping = counted([value % 30_000_000 for value in values], wraps_uj=30_000_000)
    last_ns = max(i for i in range(len(values)) if i == 0 or steps_uj[i - 1]) * 10 * MS
    if last_ns:
        window = round(begin * last_ns), round(end * last_ns)
        assert wrapping.energy_uj("package-0", *window) == pytest.approx(
            endless.energy_uj("package-0", *window), abs=1e-3
        )


def test_a_reset_spoils_the_windows_that_contain_it() -> None:
    series = counted([9e9, 9e9 + 100, 9e9 + 200, 50, 150, 250, 350])
    assert series.energy_uj("package-0", 0, 20 * MS) == 200
    assert series.energy_uj("package-0", 30 * MS, 60 * MS) == 300
    for window in ((0, 60 * MS), (25 * MS, 28 * MS), (10 * MS, 30 * MS)):
        with pytest.raises(MeterInterruptedError, match=r"fell from 9000000200 to 50 µJ.*reset"):
            series.energy_uj("package-0", *window)


def test_a_reset_is_told_from_a_wrap_around() -> None:
    """Of a range of 262 kJ, a package cannot use 162 kJ in 10 ms."""
    series = counted([100e9, 100e9 + 500, 300, 800], wraps_uj=262_143_328_850)
    with pytest.raises(MeterInterruptedError, match="reset"):
        series.energy_uj("package-0", 0, 30 * MS)


def test_a_gap_that_may_hide_a_wrap_around_spoils_a_window() -> None:
    series = counted([0, 100, 200], every_ns=60 * S, wraps_uj=65_532_610_987)
    with pytest.raises(MeterInterruptedError, match="wrapped around unseen"):
        series.energy_uj("package-0", 0, 120 * S)


def test_a_window_beyond_what_was_recorded_is_refused() -> None:
    series = counted([0, 100, 200, 200, 200])
    with pytest.raises(MeterInterruptedError, match="wait for its next update"):
        series.energy_uj("package-0", 0, 21 * MS)
    with pytest.raises(MeterInterruptedError, match="recording began later"):
        series.energy_uj("package-0", -1, 20 * MS)
    assert not series.covers("package-0", 21 * MS)
    with pytest.raises(ValueError, match="no length"):
        series.energy_uj("package-0", 5, 5)


def test_a_counter_that_stood_still_in_a_window_is_stuck() -> None:
    values = [i * 100 for i in range(50)] + [4_900] * 50 + [5_000 + i * 100 for i in range(50)]
    series = counted(values)
    with pytest.raises(
        MeterInterruptedError, match=r"not updated for 0\.51 s of the window, 51 times its period"
    ):
        series.energy_uj("package-0", 0, 1_400 * MS)
    assert series.energy_uj("package-0", 0, 490 * MS) == 4_900


def test_a_stamp_shows_that_a_rail_without_power_is_alive() -> None:
    series = EnergySeries([COUNTER], period_s=0.01, on_read=True)
    for i in range(100):
        series.add(Reading((7.0,), stamp=i), i * 10 * MS)
        series.add(Reading((7.0,), stamp=i), i * 10 * MS + 5 * MS)
    assert series.energy_uj("package-0", 0, 990 * MS) == 0
    assert series.power_w("package-0", 0, 990 * MS).updates == 99


@pytest.mark.parametrize(("value", "message"), [(-3.0, "gives energy"), (float("nan"), "no number")])
def test_power_that_is_none_spoils_the_windows_that_contain_it(value: float, message: str) -> None:
    series = sampled(lambda t_s: value if t_s == 0.5 else 4.0, [i / 100 for i in range(101)])
    assert series.energy_uj("VDD_IN", 0, 490 * MS) == pytest.approx(4 * 0.49e6)
    assert series.energy_uj("VDD_IN", 510 * MS, S) == pytest.approx(4 * 0.49e6)
    with pytest.raises(MeterError, match=message):
        series.energy_uj("VDD_IN", 400 * MS, 600 * MS)


def test_the_offset_of_an_idle_sensor_is_kept() -> None:
    series = sampled(lambda t_s: 0.02 if round(t_s * 100) % 2 else -0.02, [i / 100 for i in range(101)])
    assert series.energy_uj("VDD_IN", 0, S) == pytest.approx(0, abs=1)


def test_a_meter_that_fails_spoils_the_windows_that_contain_it() -> None:
    series = EnergySeries([COUNTER, POWER], period_s=0.01, on_read=True)
    series.add(Reading((0, 1)), 0)
    series.add(Reading((100, 1)), 10 * MS)
    series.interrupt(MeterError("the phone is charging"), 20 * MS)
    series.interrupt(MeterError("another reason, later"), 25 * MS)
    for rail in ("package-0", "VDD_IN"):
        assert not series.covers(rail, 15 * MS)
        assert (series.failure(rail) or (0,))[0] == 20 * MS
        with pytest.raises(MeterError, match="the phone is charging") as raised:
            series.energy_uj(rail, 5 * MS, 15 * MS)
        assert type(raised.value) is MeterError, "it still cannot be read"
    series.add(Reading((300, 1)), 30 * MS)
    series.add(Reading((400, 1)), 40 * MS)
    for rail, energy_uj in (("package-0", 100), ("VDD_IN", 10_000)):
        assert series.energy_uj(rail, 30 * MS, 40 * MS) == pytest.approx(energy_uj)
        assert series.failure(rail) is None
        with pytest.raises(MeterInterruptedError, match="the phone is charging"):
            series.energy_uj(rail, 0, 40 * MS)


def test_what_cannot_be_read_of_a_meter_spoils_its_rail_and_no_other() -> None:
    asleep = Rail(name="card", nature="power", domain="gpu")
    series = EnergySeries([asleep, POWER], period_s=0.01)
    for i in range(101):
        sleeps = 50 <= i < 60
        why_not = ("the card sleeps", "") if sleeps else ()
        series.add(Reading((float("nan") if sleeps else 9.0, 4.0), why_not=why_not), i * 10 * MS)
    assert series.energy_uj("VDD_IN", 0, S) == pytest.approx(4e6)
    with pytest.raises(MeterInterruptedError, match="the card sleeps"):
        series.energy_uj("card", 0, S)


def test_a_rail_of_a_board_may_be_off_by_a_step_of_its_sensor() -> None:
    """40 µV over 5 mΩ at 19 V, the least that an INA3221 tells from nothing, in the wrong direction."""
    part = Rail(name="CV", nature="power", domain="npu")
    series = EnergySeries([part, POWER], period_s=0.1)
    for i in range(101):
        series.add(Reading((-0.152, 4.0 if i < 50 else -0.152)), i * 100 * MS)
    assert series.energy_uj("CV", S, 9 * S) == pytest.approx(-8 * 0.152e6)
    with pytest.raises(MeterError, match="gives energy"):
        series.energy_uj("VDD_IN", S, 9 * S)


def test_mean_and_spread_of_power() -> None:
    """10 W in the blocks of even number, 20 W in the others, 100 updates each."""
    values = [0.0]
    for block in range(10):
        values += [values[-1] + (i + 1) * (200_000 if block % 2 else 100_000) for i in range(100)]
    stats = counted(values).power_w("package-0", 0, 10 * S, block_periods=100)
    assert stats.mean_w == pytest.approx(15)
    assert stats.blocks == 10
    assert stats.std_w == pytest.approx(5 * (10 / 9) ** 0.5)
    assert stats.updates == 1_000
    assert stats.period_s == pytest.approx(0.01)
    assert stats.edge_s == 0  # updates are on both edges
    assert counted([0, 1, 2]).power_w("package-0", 0, 20 * MS).std_w is None


def test_the_edges_of_a_window_are_as_long_as_the_updates_are_apart() -> None:
    assert counted([0, 1, 2, 3, 4, 5]).power_w("package-0", 5 * MS, 40 * MS).edge_s == pytest.approx(0.01)
    held = sampled(
        lambda t_s: t_s // 0.3, [i / 100 for i in range(200)]
    )  # updated every 0.3 s, read more often
    assert held.power_w("VDD_IN", 450 * MS, 1_250 * MS).edge_s == pytest.approx(0.6)


def test_an_edge_between_updates_costs_no_more_than_it_says() -> None:
    """Power steps from 1 to 5 W at 105 ms, in the middle between two updates."""
    series = counted([min(i, 10.5) * 10_000 + max(0, i - 10.5) * 50_000 for i in range(40)])
    stats = series.power_w("package-0", 105 * MS, 300 * MS)
    assert 0 < abs(stats.mean_w - 5) * 0.195 <= 4 * stats.edge_s


def test_an_update_is_dated_between_two_readings_and_within_a_period() -> None:
    """Updates every 10 ms at 7, 17, ... read every 4 ms, then every 30 ms."""
    for every_ms, error_uj in ((4, 2_000), (30, 5_000)):
        series = EnergySeries([COUNTER], period_s=0.01)
        for t_ms in range(0, 10_000, every_ms):
            series.add(Reading(((t_ms + 3) // 10 * 10_000,)), t_ms * MS)  # 1 W
        for start_ms in (0, 1, 5, 13, 400):
            energy_uj = series.energy_uj("package-0", start_ms * MS, (start_ms + 1_000) * MS)
            assert energy_uj == pytest.approx(1e6, abs=2 * error_uj)


def test_old_points_are_forgotten() -> None:
    series = counted([i * 100 for i in range(5_000)], max_points=1_000)
    assert series.energy_uj("package-0", 49_000 * MS, 49_900 * MS) == 9_000
    with pytest.raises(MeterInterruptedError, match="forgotten"):
        series.energy_uj("package-0", 0, 49_900 * MS)
    series.forget(49_505 * MS)
    assert series.energy_uj("package-0", 49_505 * MS, 49_900 * MS) == 3_950
    with pytest.raises(MeterInterruptedError, match="forgotten"):
        series.energy_uj("package-0", 49_499 * MS, 49_900 * MS)


def test_many_updates_stay_small() -> None:
    series = counted([], max_points=100)
    for i in range(20_000):
        series.add(Reading((i,)), i * MS)
        if i % 1_000 == 0:
            series.interrupt(MeterError("a hiccup"), i * MS)
    (track,) = series._tracks.values()
    assert len(track._t_ns) <= 100
    assert len(track._breaks) <= 2
