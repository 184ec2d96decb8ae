"""What meters are told on the agent's command line."""

import argparse
from pathlib import Path

from chamnet.errors import ConfigError
from chamnet_agent.power.base import MeterSettings

__all__ = ["add_meter_settings", "meter_settings_of"]


def add_meter_settings(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `meter_settings_of` reads."""
    group = parser.add_argument_group("what a meter cannot find out by itself (docs/energy.md)")
    group.add_argument(
        "--gpus", default="0", metavar="LIST", help="numbers or UUIDs of the NVIDIA cards that compute (default: %(default)s)"
    )  # fmt: skip
    group.add_argument(
        "--battery",
        default="",
        metavar="NAME",
        help="power supply that is the battery (default: look for it)",
    )
    group.add_argument(
        "--battery-current", choices=("uA", "mA"), default="uA", help="unit of its current (default: %(default)s)"
    )  # fmt: skip
    group.add_argument(
        "--battery-discharge", choices=("any", "positive", "negative"), default="any",
        help="sign of its current while it gives energy (default: %(default)s, the battery's status tells)",
    )  # fmt: skip
    group.add_argument(
        "--power-trace", default="", metavar="PATH",
        help="file of an external recorder on this device, CSV with time_s and power_w, for the meter trace",
    )  # fmt: skip
    group.add_argument(
        "--power-trace-offset", type=float, default=0.0, metavar="S",
        help="added to its times, to have those of this device's monotonic clock (default: 0)",
    )  # fmt: skip


def meter_settings_of(arguments: argparse.Namespace) -> MeterSettings:
    """Return what the flags say.

    Raises:
        ConfigError: They cannot be read.
    """
    trace: str = arguments.power_trace
    if trace and not trace.startswith("/"):
        raise ConfigError(f"--power-trace {trace}: give its whole path on the device, from / on")
    gpus = tuple(name.strip() for name in arguments.gpus.split(",") if name.strip())
    if not gpus:
        raise ConfigError(f"--gpus {arguments.gpus!r}: give numbers or UUIDs of cards, such as 0 or 0,1")
    return MeterSettings(
        gpus=gpus,
        battery=arguments.battery,
        battery_current=arguments.battery_current,
        battery_discharge=arguments.battery_discharge,
        trace=Path(trace) if trace else None,
        trace_offset_s=arguments.power_trace_offset,
    )
