"""Look-up tables: what was measured, what it was measured on, and what still needs measuring."""

from chamnet.lut.database import SCHEMA_VERSION
from chamnet.lut.energy_plan import EnergyBatch, EnergyTimes, choose_spread
from chamnet.lut.energy_table import EnergyRow, EnergyTable, MeteredBy, metered_by
from chamnet.lut.plan import (
    EFFORTS,
    NETWORK_POLICY,
    Batch,
    Effort,
    Request,
    calibration_networks,
    loop_request,
)
from chamnet.lut.platform import Platform
from chamnet.lut.store import PASSING, Store, StoredVisit
from chamnet.lut.table import LatencyTable, Row

__all__ = [
    "EFFORTS",
    "NETWORK_POLICY",
    "PASSING",
    "SCHEMA_VERSION",
    "Batch",
    "Effort",
    "EnergyBatch",
    "EnergyRow",
    "EnergyTable",
    "EnergyTimes",
    "LatencyTable",
    "MeteredBy",
    "Platform",
    "Request",
    "Row",
    "Store",
    "StoredVisit",
    "calibration_networks",
    "choose_spread",
    "loop_request",
    "metered_by",
]
