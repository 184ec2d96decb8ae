"""Folders that may not be looked into, as a phone's shell and containers have them: nothing is known, and the agent goes on."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

NOBODY = 65_534
LOOK = f"""
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from chamnet_agent import registry
from chamnet_agent.conditions import Sensors
from chamnet_agent.power.base import MeterSettings

root, *refused = map(Path, sys.argv[1:])

def look():
    meters = registry.meters(MeterSettings(root=root))
    return [asdict(Sensors(cores=(0,), root=root).read()), {{each.name: each.why_not for each in meters}}]

look()  # what Python imports late may not be that user's to read
for folder in refused:
    folder.chmod(0o311 if folder.name.startswith("hwmon") else 0)
if os.getuid() == 0:
    os.setuid({NOBODY})
print(json.dumps(look()))
"""


def look(root: Path, *refused: str) -> tuple[dict[str, object], dict[str, str | None]]:
    """Return conditions and why meters do not work, as a user sees them who may not look into some folders."""
    with tempfile.TemporaryDirectory() as folder:  # where that user gets to; not so below pytest's own
        there = Path(folder)
        there.chmod(0o755)
        shutil.copytree(root / "sys", there / "sys")
        folders = [there / each for each in refused]
        done = subprocess.run(
            [sys.executable, "-c", LOOK, there, *folders], capture_output=True, text=True, check=False
        )
        for each in folders:
            each.chmod(0o755)
    assert done.returncode == 0, done.stderr
    conditions, why_not = json.loads(done.stdout)
    return conditions, why_not


@pytest.fixture
def root(put: Callable[[str], None], write: Callable[[str, object], Path], tmp_path: Path) -> Path:
    """Return a device on which every meter of files would work."""
    for meter in ("rapl", "hwmon", "battery", "pixel"):
        put(meter)
    write("sys/class/thermal/thermal_zone0/temp", 41_000)
    write("sys/class/power_supply/battery/capacity", 73)
    return tmp_path


def test_a_device_that_may_be_looked_at(root: Path) -> None:
    conditions, why_not = look(root)
    assert (conditions["temperature_c"], conditions["battery_percent"]) == (41, 73)
    assert [name for name, reason in why_not.items() if reason is None] == [
        "rapl",
        "hwmon",
        "pixel",
        "battery",
    ]


def test_folders_that_may_not_be_looked_into_are_as_if_empty(root: Path) -> None:
    conditions, why_not = look(root, "sys/class", "sys/bus")
    assert (conditions["temperature_c"], conditions["battery_percent"]) == (None, None)
    assert None not in why_not.values()


def test_a_chip_that_may_not_be_looked_into_is_left_out(root: Path) -> None:
    _, why_not = look(root, "sys/class/hwmon/hwmon2")
    assert "has power or energy" in (why_not["hwmon"] or "")
    assert why_not["rapl"] is None
