"""What meters say, and the energy of a window of time in it. Meters are passed in; none is known here."""

from chamnet.energy.rails import Domain, Nature, Rail, Reading, Total, choose, total
from chamnet.energy.series import EnergySeries, PowerStats
from chamnet.energy.window import energy_of

__all__ = [
    "Domain",
    "EnergySeries",
    "Nature",
    "PowerStats",
    "Rail",
    "Reading",
    "Total",
    "choose",
    "energy_of",
    "total",
]
