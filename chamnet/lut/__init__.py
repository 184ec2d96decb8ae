"""Look-up tables: what was measured, what it was measured on, and what still needs measuring."""

from chamnet.lut.plan import EFFORTS, Effort, Plan, Request, calibration_networks, make_plan
from chamnet.lut.platform import Platform
from chamnet.lut.store import PASSING, SCHEMA_VERSION, Store, StoredVisit
from chamnet.lut.table import LatencyTable, Row

__all__ = [
    "EFFORTS",
    "PASSING",
    "SCHEMA_VERSION",
    "Effort",
    "LatencyTable",
    "Plan",
    "Platform",
    "Request",
    "Row",
    "Store",
    "StoredVisit",
    "calibration_networks",
    "make_plan",
]
