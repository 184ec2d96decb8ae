import os
import subprocess
import sys
from pathlib import Path

import pytest

from chamnet.energy import choose, total
from chamnet.errors import ConfigError, MeterError
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.rapl import RaplMeter

MAX_UJ = 262_143_328_850  # of a Xeon
NOBODY = 65_534


def zone(root: Path, path: str, name: str, energy_uj: int = 0, max_uj: int | None = MAX_UJ) -> Path:
    folder = root / "sys/class/powercap" / path
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    if max_uj is not None:
        (folder / "max_energy_range_uj").write_text(f"{max_uj}\n")
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """Two sockets, as the kernel shows them: nested zones beside the others, through links."""
    for socket in (0, 1):
        outer = f"intel-rapl:{socket}"
        zone(tmp_path, outer, f"package-{socket}", 1_000 + socket)
        for part, name in enumerate(("core", "dram")):
            zone(tmp_path, f"{outer}/{outer}:{part}", name, 10 * part + socket, 65_532_610_987)
            (tmp_path / f"sys/class/powercap/{outer}:{part}").symlink_to(f"{outer}/{outer}:{part}")
    zone(tmp_path, "intel-rapl:2", "psys", 99)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 5)
    (tmp_path / "sys/class/powercap/intel-rapl").mkdir()
    return tmp_path


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    component = RaplMeter.describe(MeterSettings(root=tmp_path))
    assert component.name == "rapl"
    assert "no intel-rapl counters" in (component.why_not or "")
    with pytest.raises(MeterError, match="no intel-rapl counters"):
        RaplMeter(MeterSettings(root=tmp_path))


def test_zones_of_several_sockets_are_told_by_name(server: Path) -> None:
    meter = RaplMeter(MeterSettings(root=server))
    (reading,) = meter.read()
    assert dict(zip((rail.name for rail in meter.rails), reading.values, strict=True)) == {
        "package-0": 1_000,
        "package-0/core": 0,
        "package-0/dram": 10,
        "package-1": 1_001,
        "package-1/core": 1,
        "package-1/dram": 11,
        "psys": 99,
    }
    named = {rail.name: rail for rail in meter.rails}
    assert named["package-0"].wraps_uj == MAX_UJ
    assert named["package-0/core"].within == "package-0"
    assert named["package-0/dram"].within == "psys"  # powercap nests it, the package's counter leaves it out


def test_the_platform_contains_its_packages(server: Path) -> None:
    rails = RaplMeter(MeterSettings(root=server)).rails
    for wanted in ("psys,package-0", "package-1/dram,psys", "psys,package-0/core"):
        with pytest.raises(ConfigError, match="rail 'psys' contains"):
            choose(rails, wanted)


def test_totals_count_nothing_twice(server: Path) -> None:
    rails = RaplMeter(MeterSettings(root=server)).rails
    assert {rail.name for rail in choose(rails)} == {
        "package-0",
        "package-0/dram",
        "package-1",
        "package-1/dram",
    }
    assert [rail.name for rail in total(rails, "device")] == ["psys"]


def test_the_place_of_a_zone_does_not_matter(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "psys")
    zone(tmp_path, "intel-rapl:1", "package-0", max_uj=None)
    rails = {rail.name: rail for rail in RaplMeter(MeterSettings(root=tmp_path)).rails}
    assert rails["package-0"].domain == "package"
    assert rails["package-0"].wraps_uj is None
    assert rails["psys"].domain == "device"


def test_a_zone_that_is_renamed_or_vanishes_is_noticed(server: Path) -> None:
    meter = RaplMeter(MeterSettings(root=server))
    (server / "sys/class/powercap/intel-rapl:1/name").write_text("psys\n")
    with pytest.raises(MeterError, match="says 'psys' now, it said 'package-1'"):
        meter.read()
    (server / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    with pytest.raises(MeterError, match="is gone"):
        meter.read()


def test_a_counter_that_is_no_number_is_refused(server: Path) -> None:
    (server / "sys/class/powercap/intel-rapl:0/energy_uj").write_text("<not counted>\n")
    assert "holds '<not counted>', which is no number" in (
        RaplMeter.describe(MeterSettings(root=server)).why_not or ""
    )


def test_counters_of_root_come_with_the_command_that_helps(server: Path, tmp_path: Path) -> None:
    """They are 0400 since CVE-2020-8694; a process of another user asks, since root reads all."""
    for file in server.rglob("energy_uj"):
        file.chmod(0o400)
    code = f"""
import os
if os.getuid() == 0:
    os.setuid({NOBODY})
else:
    for file in __import__("pathlib").Path({str(server)!r}).rglob("energy_uj"):
        file.chmod(0)
from pathlib import Path
print(RaplMeter.describe(MeterSettings(root=Path({str(server)!r}))).why_not)
"""
    imports = (
        "from chamnet_agent.power.base import MeterSettings\nfrom chamnet_agent.power.rapl import RaplMeter\n"
    )
    folder = tmp_path
    while os.getuid() == 0 and folder != folder.parent and str(folder).startswith("/tmp/"):
        folder.chmod(folder.stat().st_mode | 0o055)
        folder = folder.parent
    done = subprocess.run([sys.executable, "-c", imports + code], capture_output=True, text=True, check=True)
    assert "sudo chmod a+r" in done.stdout
    assert "/sys/class/powercap/intel-rapl:*/energy_uj" in done.stdout
