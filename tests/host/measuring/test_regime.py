from dataclasses import replace

import pytest

from chamnet.errors import DeviceError
from chamnet.records import Conditions, Visit
from chamnet.testing import make_visit
from chamnet_host.measuring.regime import Regime


def visit(probe_ns: int | None, name: str = "a") -> Visit:
    return replace(make_visit(name), conditions=Conditions(probe_ns=probe_ns))


def settled(*, strict: bool = False) -> Regime:
    regime = Regime(strict=strict)
    for i in range(40):
        assert not regime.is_slow(visit(100_000 + i % 3))
    return regime


def test_a_visit_far_above_the_usual_probe_is_slow() -> None:
    regime = settled()
    assert not regime.is_slow(visit(150_000))
    assert regime.is_slow(visit(170_000))
    assert not regime.is_slow(visit(60_000))


def test_nothing_is_slow_before_the_usual_is_known() -> None:
    regime = Regime()
    assert not any(regime.is_slow(visit(probe_ns)) for probe_ns in (1, 100, 10_000) * 10)
    assert regime.is_slow(visit(10_000))


def test_devices_without_a_probe_are_never_slow() -> None:
    assert not settled(strict=True).is_slow(visit(None))


def test_a_new_regime_becomes_the_usual_one() -> None:
    """The median follows a machine that stays slow."""
    regime = settled()
    slow = [regime.is_slow(visit(200_000)) for _ in range(100)]
    assert slow[0]
    assert not slow[-1]


def test_a_visit_is_repeated_once() -> None:
    regime = Regime()
    assert [regime.repeats(visit(1, name)) for name in ("a", "b", "a", "b", "a")] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_strict_one_says_what_it_saw_and_what_next() -> None:
    message = r"took 0\.250 ms, usually 0\.100 ms; what was measured is stored.* same command again, or leave --strict out"
    with pytest.raises(DeviceError, match=message):
        settled(strict=True).is_slow(visit(250_000))
