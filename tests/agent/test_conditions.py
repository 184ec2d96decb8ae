from pathlib import Path

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
