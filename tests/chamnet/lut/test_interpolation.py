import io
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from chamnet.errors import NotProfiledError
from chamnet.lut.interpolation import UnitInterpolator, Visited, unit_features
from chamnet.ops import OpSpec
from chamnet.space import load_space, unit_grid
from chamnet.units import Unit

FloatArray = npt.NDArray[np.float64]
Cost = Callable[[Unit], float]

GRID = unit_grid(load_space("chamnet-res"), "op")
POINTWISE = [unit for unit in GRID.units if unit.signature == "conv1x1_relu"]


def smooth_ms(unit: Unit) -> float:
    return unit.macs / 2e7 + unit.activation_bytes / 4e7 + unit.weight_bytes / 1e8 + 0.01


def staircase_ms(unit: Unit) -> float:
    """Return what a kernel takes that computes 16 output channels at once."""
    (op,) = unit.ops
    return unit.macs / 2e7 * (-(-op.out_c // 16) * 16 / op.out_c) + 0.01


def some(units: Iterable[Unit], count: int, seed: int = 0) -> list[Unit]:
    units = list(units)
    return [units[i] for i in np.random.default_rng(seed).permutation(len(units))[:count]]


def costs(units: Iterable[Unit], cost: Cost) -> FloatArray:
    return np.array([cost(unit) for unit in units])


def fitted(units: list[Unit], latency_ms: FloatArray, noise: float | FloatArray = 0.01) -> UnitInterpolator:
    return UnitInterpolator.fit(Visited(units, latency_ms, np.broadcast_to(noise, len(units)).copy()))


def errors(interpolator: UnitInterpolator, units: list[Unit], cost: Cost) -> FloatArray:
    return np.asarray(interpolator.predict(units).latency_ms / costs(units, cost) - 1)


@pytest.fixture(scope="module")
def measured() -> list[Unit]:
    return some(GRID.units, 900)


@pytest.fixture(scope="module")
def interpolator(measured: list[Unit]) -> UnitInterpolator:
    scatter = np.exp(np.random.default_rng(1).normal(0, 0.02, len(measured)))
    return fitted(measured, costs(measured, smooth_ms) * scatter, 0.02)


def test_a_smooth_cost_is_found_again_at_units_never_measured(
    interpolator: UnitInterpolator, measured: list[Unit]
) -> None:
    others = sorted(set(GRID.units) - set(measured), key=lambda unit: unit.key)
    off = np.abs(errors(interpolator, others, smooth_ms))
    assert off.mean() < 0.02
    assert np.quantile(off, 0.95) < 0.05
    assert interpolator.predict(others).known.all()


def test_a_sum_over_networks_is_closer_still(interpolator: UnitInterpolator) -> None:
    levels = GRID.space.sample(200, np.random.default_rng(0))
    truth = GRID.tables(costs(GRID.units, smooth_ms)).total(levels)
    total = GRID.tables(interpolator.predict(GRID.units).latency_ms).total(levels)
    assert np.abs(total / truth - 1).mean() < 0.01


def test_steps_between_channels_are_reproduced_at_channels_never_measured() -> None:
    channels = range(8, 264, 8)
    sides = (14, 28, 56)
    units = {
        (in_c, out_c, side): Unit((OpSpec(kind="conv", in_c=in_c, in_h=side, in_w=side, out_c=out_c),))
        for in_c in (48, 96, 192)
        for out_c in channels
        for side in sides
    }
    unseen = {40, 56, 72, 104, 112, 168, 216}
    known = [unit for (_, out_c, _), unit in units.items() if out_c not in unseen]
    others = [unit for (_, out_c, _), unit in units.items() if out_c in unseen]
    found = fitted(known, costs(known, staircase_ms))
    off = np.abs(errors(found, others, staircase_ms))
    assert off.mean() < 0.01
    assert np.quantile(off, 0.95) < 0.03
    for below, full in ((40, 48), (56, 64), (104, 112)):  # padded to the same
        pair = [units[96, below, 28], units[96, full, 28]]
        latency_ms = found.predict(pair).latency_ms
        assert latency_ms[0] / latency_ms[1] == pytest.approx(1, abs=0.03)


def test_a_noisy_row_is_drawn_towards_its_neighbours() -> None:
    units = some(POINTWISE, 200)
    truth_ms = costs(units, smooth_ms)
    big = [int(i) for i in np.flatnonzero(truth_ms > np.median(truth_ms))[:4]]
    for row in big:
        latency_ms, noise = truth_ms.copy(), np.full(len(units), 0.005)
        latency_ms[row] *= 1.3
        noise[row] = 0.3
        assert fitted(units, latency_ms, noise).predict([units[row]]).latency_ms[0] == pytest.approx(
            truth_ms[row], rel=0.03
        )


def test_noise_of_many_rows_is_averaged() -> None:
    units = some(POINTWISE, 300)
    truth_ms = costs(units, smooth_ms)
    latency_ms = truth_ms * np.exp(np.random.default_rng(0).normal(0, 0.2, len(units)))
    found = fitted(units, latency_ms, 0.2).predict(units).latency_ms
    assert np.std(np.log(found / truth_ms)) < 0.5 * np.std(np.log(latency_ms / truth_ms))


def test_precise_rows_keep_what_is_their_own() -> None:
    def wavy_ms(unit: Unit) -> float:
        return smooth_ms(unit) * (
            1 + 0.2 * np.sin(4 * np.log(unit.ops[0].in_c) + 3 * np.log(unit.ops[0].out_c))
        )

    units = some(POINTWISE, 200)
    latency_ms = costs(units, wavy_ms)
    precise, noisy = (
        np.abs(fitted(units, latency_ms, noise).predict(units).latency_ms / latency_ms - 1)
        for noise in (0.002, 0.5)
    )
    assert precise.mean() < 0.02
    assert noisy.mean() > 0.05


def test_it_is_less_sure_far_from_measurements() -> None:
    def side(unit: Unit) -> int:
        return unit.ops[0].in_h

    near = [unit for unit in POINTWISE if side(unit) <= 14]
    held = some(near, 150)
    found = fitted(held, costs(held, smooth_ms))
    at = found.predict(held).deviation
    between = found.predict([unit for unit in near if unit not in set(held)][:150]).deviation
    far = found.predict([unit for unit in POINTWISE if side(unit) >= 56][:150]).deviation
    assert np.median(at) < np.median(between) < np.median(far)
    assert np.median(far) > 2 * np.median(at)


def test_more_noise_leaves_more_doubt() -> None:
    units = some(POINTWISE, 100)
    sure, unsure = (fitted(units, costs(units, smooth_ms), noise).predict(units) for noise in (0.01, 0.2))
    assert (unsure.deviation > sure.deviation).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_a_small_group_returns_its_own_rows(count: int) -> None:
    units = some(POINTWISE, count, seed=count)
    latency_ms = costs(units, smooth_ms) * np.exp(np.random.default_rng(count).normal(0, 0.1, count))
    found = fitted(units, latency_ms, 0.01).predict(units)
    assert found.latency_ms == pytest.approx(latency_ms, rel=0.02)
    assert (found.deviation > 0).all()
    away = fitted(units, latency_ms, 0.01).predict(
        sorted(set(POINTWISE) - set(units), key=lambda unit: unit.key)
    )
    assert np.median(away.deviation) > 0.1, "few rows say little of other sizes"


def test_an_unknown_group_is_missing_but_never_zero(interpolator: UnitInterpolator) -> None:
    foreign = Unit.parse("conv:f32:1x8x14x14:o16:k5")
    found = interpolator.predict([foreign, POINTWISE[0]])
    assert found.known.tolist() == [False, True]
    assert (found.latency_ms > 0).all()
    assert found.deviation[0] > 0.05


def test_another_activation_stands_in_for_one_never_measured(interpolator: UnitInterpolator) -> None:
    units = some(POINTWISE, 50, seed=5)
    kin = [Unit((replace(unit.ops[0], act="relu6"),)) for unit in units]
    like, found = interpolator.predict(units), interpolator.predict(kin)
    assert not found.known.any()
    assert found.latency_ms == pytest.approx(like.latency_ms, rel=0.2)
    assert (found.deviation > 0.1).all()


def test_no_latency_is_zero_or_less_however_far_off(interpolator: UnitInterpolator) -> None:
    tiny, huge = (
        Unit((OpSpec(kind="conv", in_c=c, in_h=side, in_w=side, out_c=c),))
        for c, side in ((1, 1), (8_192, 512))
    )
    found = interpolator.predict([tiny, huge])
    assert (found.latency_ms > 0).all()
    assert np.isfinite(found.latency_ms).all()
    assert found.latency_ms[0] < found.latency_ms[1]


def test_element_types_do_not_mix() -> None:
    units = some(POINTWISE, 80)
    quantized = [unit.cast("int8") for unit in some(POINTWISE, 80, seed=1)]
    alone = fitted(units, costs(units, smooth_ms))
    both = fitted(
        [*units, *quantized], np.concatenate([costs(units, smooth_ms), costs(quantized, smooth_ms) / 3])
    )
    others = some(POINTWISE, 200, seed=2)
    assert both.predict(others).latency_ms == pytest.approx(alone.predict(others).latency_ms)
    assert not alone.predict([quantized[0]]).known[0]


def test_it_comes_back_from_arrays_as_it_was(interpolator: UnitInterpolator) -> None:
    file = io.BytesIO()
    np.savez(file, **interpolator.pack())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        again = UnitInterpolator.unpack(arrays)
    units = [*GRID.units[::17], Unit.parse("conv:f32:1x8x14x14:o16:k5")]
    before, after = interpolator.predict(units), again.predict(units)
    for one, other in (
        (before.latency_ms, after.latency_ms),
        (before.deviation, after.deviation),
        (before.known, after.known),
    ):
        assert np.array_equal(one, other)


@pytest.fixture(scope="module")
def many() -> list[Unit]:
    """More rows than inducing points."""
    return some(POINTWISE, 1_100)


@pytest.fixture(scope="module")
def of_many(many: list[Unit]) -> UnitInterpolator:
    return fitted(many, costs(many, smooth_ms))


def test_many_rows_agree_with_an_exact_process_on_fewer(many: list[Unit], of_many: UnitInterpolator) -> None:
    others = some(sorted(set(POINTWISE) - set(many), key=lambda unit: unit.key), 400)
    exact = fitted(many[:700], costs(many[:700], smooth_ms)).predict(others)
    found = of_many.predict(others)
    assert len(of_many.groups[POINTWISE[0].signature].points) < len(many)
    apart = np.abs(found.latency_ms / exact.latency_ms - 1)
    assert np.median(apart) < 0.005
    assert np.quantile(apart, 0.95) < 0.03
    assert np.median(found.deviation) < 1.2 * np.median(exact.deviation)
    assert np.abs(errors(of_many, others, smooth_ms)).mean() < 0.02


def test_every_one_of_many_rows_counts(many: list[Unit], of_many: UnitInterpolator) -> None:
    latency_ms, noise = costs(many, smooth_ms), np.full(len(many), 0.05)
    raised = np.arange(0, len(many), 10)
    latency_ms[raised] *= 1.3
    noise[raised] = 1e-3
    units = [many[row] for row in raised]
    ratio = fitted(many, latency_ms, noise).predict(units).latency_ms / of_many.predict(units).latency_ms
    assert (ratio > 1).mean() > 0.95


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(NotProfiledError, match="chamnet-host profile"):
        UnitInterpolator.fit(Visited([], np.empty(0), np.empty(0)))


def test_features_tell_sizes_and_padding_apart() -> None:
    features = unit_features(GRID.units)
    assert features.shape == (len(GRID.units), 12)
    assert np.isfinite(features).all()
    full, padded = (
        unit_features([Unit((OpSpec(kind="conv", in_c=32, in_h=7, in_w=7, out_c=c),))])[0] for c in (64, 40)
    )
    assert not full[8:].any()
    assert padded[8:] == pytest.approx(np.log([48 / 40, 64 / 40] * 2))
    assert unit_features([]).shape == (0, 12)
