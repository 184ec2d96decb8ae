"""A meter that does as it is told, and the contract that every meter keeps; shipped for plug-ins' tests."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing

import pytest

from chamnet.energy import Rail, Reading, choose, total
from chamnet.energy.recorder import poll_interval_s
from chamnet.errors import MeterError
from chamnet.records import Component
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings, PowerMeter

__all__ = ["FakeMeter", "PowerMeterContract", "names", "said"]

_RAILS = (Rail(name="fake", nature="counter", domain="device", totals=frozenset({"compute", "device"})),)


class FakeMeter:
    """Keeps the `PowerMeter` contract without a sensor.

    Args:
        settings: Ignored.
        rails: What it knows.
        say: Returns the values of its rails at the moment, or raises `MeterError`.
        period_s: Nominal time between updates.
        shortest_poll_s: How often it may be read.
        on_read: Whether what it says is of the moment.
    """

    def __init__(
        self,
        settings: MeterSettings = DEFAULT_SETTINGS,
        *,
        rails: tuple[Rail, ...] = _RAILS,
        say: Callable[[], tuple[float, ...]] = lambda: (0.0,),
        period_s: float = 0.01,
        shortest_poll_s: float = 0.001,
        on_read: bool = True,
    ) -> None:
        self.rails = rails
        self.period_s = period_s
        self.shortest_poll_s = shortest_poll_s
        self.on_read = on_read
        self.reads = 0
        self.closed = False
        self._say = say

    @staticmethod
    def describe(settings: MeterSettings = DEFAULT_SETTINGS) -> Component:
        """Return that it is always there."""
        return Component(name="fake", provider="none")

    def read(self) -> Sequence[Reading]:
        """Return what it was told to say.

        Raises:
            MeterError: It was told so.
        """
        self.reads += 1
        return (Reading(self._say()),)

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class PowerMeterContract:
    """What every meter keeps. Subclass it as `Test...` and give `kind` and `settings` fixtures."""

    @pytest.fixture
    def kind(self) -> type[PowerMeter]:
        """Return the class of the meter under test."""
        raise NotImplementedError("give a kind fixture")

    @pytest.fixture
    def settings(self) -> MeterSettings:
        """Return settings with which it is usable."""
        raise NotImplementedError("give a settings fixture")

    @pytest.fixture
    def unusable(self) -> MeterSettings:
        """Return settings with which it is not usable."""
        raise NotImplementedError("give an unusable fixture")

    @pytest.fixture
    def meter(self, kind: type[PowerMeter], settings: MeterSettings) -> Iterator[PowerMeter]:
        """Return the meter, open."""
        with closing(kind(settings)) as meter:
            yield meter

    def test_it_describes_itself_as_usable(self, kind: type[PowerMeter], settings: MeterSettings) -> None:
        """It has a name and a source, and is usable here."""
        component = kind.describe(settings)
        assert component.name
        assert component.provider
        assert component.why_not is None

    def test_it_says_why_it_is_not_usable(self, kind: type[PowerMeter], unusable: MeterSettings) -> None:
        """Where its source is missing, describing it says why, and opening it fails with the same words."""
        reason = kind.describe(unusable).why_not
        assert reason
        with pytest.raises(MeterError) as raised:
            kind(unusable)
        assert str(raised.value) == reason

    def test_its_rails_have_names_of_their_own(self, meter: PowerMeter) -> None:
        """Names are unique, and what contains a rail is a rail."""
        names = [rail.name for rail in meter.rails]
        assert names
        assert len(set(names)) == len(names)
        assert all(names)
        assert {rail.within for rail in meter.rails} - {None} <= set(names)

    def test_its_totals_count_nothing_twice(self, meter: PowerMeter) -> None:
        """It knows one total at least, and no rail of a total contains another of it."""
        assert choose(meter.rails)
        for rails in (total(meter.rails, "compute"), total(meter.rails, "device")):
            if rails:
                choose(meter.rails, ",".join(rail.name for rail in rails))

    def test_it_says_how_often_to_read_it(self, meter: PowerMeter) -> None:
        """It is never read more often than it bears."""
        assert 0 < meter.shortest_poll_s <= poll_interval_s(meter)
        assert meter.period_s > 0

    def test_it_reads_a_value_per_rail(self, meter: PowerMeter) -> None:
        """Every reading has the same rails; counters do not fall, power is not below zero."""
        readings = [*meter.read(), *meter.read()]
        assert readings
        for reading in readings:
            assert len(reading.values) == len(meter.rails)
        for rail, *values in zip(meter.rails, *(reading.values for reading in readings), strict=True):
            assert min(values) >= 0
            assert rail.nature == "power" or values == sorted(values)

    def test_opening_it_twice_gives_the_same_rails(
        self, kind: type[PowerMeter], settings: MeterSettings, meter: PowerMeter
    ) -> None:
        """The order is the same, too, and either can be closed, more than once."""
        other = kind(settings)
        assert other.rails == meter.rails
        for each in (other, meter, meter):
            each.close()


def said(meter: PowerMeter) -> dict[str, float]:
    """Return what a meter says at the moment, by the names of its rails."""
    (reading,) = meter.read()
    return dict(zip((rail.name for rail in meter.rails), reading.values, strict=True))


def names(rails: Iterable[Rail]) -> set[str]:
    """Return the names of rails."""
    return {rail.name for rail in rails}
