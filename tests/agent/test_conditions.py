from pathlib import Path

import pytest

from chamnet_agent.conditions import Sensors


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_slowest_core_and_the_hottest_zone_count(tmp_path: Path) -> None:
    for core, khz in ((0, 300_000), (4, 2_800_000), (5, 2_400_000)):
        write(tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", f"{khz}\n")
    for zone, milli_c in enumerate((41_500, 0, 47_200, -274_000)):
        write(tmp_path / f"sys/class/thermal/thermal_zone{zone}/temp", f"{milli_c}\n")
    write(tmp_path / "proc/loadavg", "0.52 0.58 0.59 1/832 12345\n")
    conditions = Sensors(cores=(4, 5), root=tmp_path).read()
    assert conditions.cpu_khz == 2_400_000
    assert conditions.temperature_c == 47.2
    assert conditions.load_1min == 0.52


def test_what_the_device_does_not_say_is_unknown(tmp_path: Path) -> None:
    write(tmp_path / "sys/class/thermal/thermal_zone0/temp", "unreadable\n")
    conditions = Sensors(cores=(0,), root=tmp_path).read()
    assert conditions.cpu_khz is None
    assert conditions.temperature_c is None
    assert conditions.load_1min is None
    assert conditions.cap_khz is None
    assert conditions.governor == ""
    assert conditions.online_cores is None
    assert (conditions.battery_percent, conditions.charging) == (None, None)


def test_caps_governors_and_cores_switched_off(tmp_path: Path) -> None:
    cpu = tmp_path / "sys/devices/system/cpu"
    for core, cap_khz, governor in ((4, 2_800_000, "schedutil"), (5, 1_900_000, "powersave")):
        write(cpu / f"cpu{core}/cpufreq/scaling_max_freq", f"{cap_khz}\n")
        write(cpu / f"cpu{core}/cpufreq/scaling_governor", f"{governor}\n")
    write(cpu / "online", "0-3,5\n")
    conditions = Sensors(cores=(4, 5), root=tmp_path).read()
    assert conditions.cap_khz == 1_900_000
    assert conditions.governor == "powersave,schedutil"
    assert conditions.online_cores == 5


@pytest.mark.parametrize(
    ("status", "charging"),
    [("Charging", True), ("Full", True), ("Discharging", False), ("Not charging", False), ("Unknown", None)],
)
def test_the_battery_is_told_from_the_charger(tmp_path: Path, status: str, charging: bool | None) -> None:
    supplies = tmp_path / "sys/class/power_supply"
    write(supplies / "ac/type", "Mains\n")
    write(supplies / "ac/online", "1\n")
    write(supplies / "battery/type", "Battery\n")
    write(supplies / "battery/capacity", "73\n")
    write(supplies / "battery/status", f"{status}\n")
    conditions = Sensors(cores=(0,), root=tmp_path).read()
    assert (conditions.battery_percent, conditions.charging) == (73, charging)
