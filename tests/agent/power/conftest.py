"""Trees of files as devices show them, and a card driver's package without the driver."""

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

Write = Callable[[str, object], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of a device's tree below `tmp_path`, as the kernel would show it."""

    def put(path: str, said: object) -> Path:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{said}\n")
        return file

    return put


def put_rapl(write: Write) -> None:
    write("sys/class/powercap/intel-rapl:0/name", "package-0")
    write("sys/class/powercap/intel-rapl:0/energy_uj", 5_000)
    write("sys/class/powercap/intel-rapl:0/max_energy_range_uj", 262_143_328_850)


def put_pixel6(write: Write) -> None:
    """A Pixel 6: `energy_value` of both chips as public sources quote it, subsystems as in `available_rails`."""
    main, sub = "sys/bus/iio/devices/iio:device0", "sys/bus/iio/devices/iio:device1"
    write(f"{main}/name", "s2mpg10-odpm")
    write(f"{main}/sampling_rate", "125.000000")
    write(
        f"{main}/enabled_rails",
        "CH0[PPVAR_VSYS_PWR_DISP]:Display\nCH1[VSYS_PWR_MODEM]:Modem\nCH2[VSYS_PWR_RFFE]:Cellular\n"
        "CH3[S2M_VDD_CPUCL2]:CPU(BIG)\nCH4[S3M_VDD_CPUCL1]:CPU(MID)\nCH5[S4M_VDD_CPUCL0]:CPU(LITTLE)\n"
        "CH6[S5M_VDD_INT]:INT\nCH7[S1M_VDD_MIF]:MIF",
    )
    write(
        f"{main}/energy_value",
        "t=16086645\nCH0(T=16086645)[PPVAR_VSYS_PWR_DISP], 611687448\nCH1(T=16086645)[VSYS_PWR_MODEM], 179646995\n"
        "CH2(T=16086645)[VSYS_PWR_RFFE], 0\nCH3(T=16086645)[S2M_VDD_CPUCL2], 124265856\n"
        "CH4(T=16086645)[S3M_VDD_CPUCL1], 170096352\nCH5(T=16086645)[S4M_VDD_CPUCL0], 289995530\n"
        "CH6(T=16086645)[S5M_VDD_INT], 190164699\nCH7(T=16086645)[S1M_VDD_MIF], 196512891",
    )
    write(f"{sub}/name", "s2mpg11-odpm")
    write(f"{sub}/sampling_rate", "62.500000")
    write(
        f"{sub}/enabled_rails",
        "CH3[S10S_VDD2L]:DDR\nCH5[S4S_VDD2H_MEM]:DDR\nCH6[S2S_VDD_G3D]:GPU\nCH7[L9S_GNSS_CORE]:GPS",
    )
    write(
        f"{sub}/energy_value",
        "t=251741617\nCH3(T=251741617)[S10S_VDD2L], 3656592412\nCH5(T=251741617)[S4S_VDD2H_MEM], 4597271837\n"
        "CH6(T=251741617)[S2S_VDD_G3D], 3702041607\nCH7(T=251741617)[L9S_GNSS_CORE], 88535064",
    )


def put_orin_nano(write: Write) -> None:
    """An Orin Nano or NX: labels of tegra234-p3767's device tree, files of the kernel's `ina3221`."""
    chip = "sys/class/hwmon/hwmon1"
    write(f"{chip}/name", "ina3221")
    for number, (label, millivolt, milliampere) in enumerate(
        (("VDD_IN", 5_056, 920), ("VDD_CPU_GPU_CV", 5_056, 152), ("VDD_SOC", 5_048, 248)), start=1
    ):
        write(f"{chip}/in{number}_label", label)
        write(f"{chip}/in{number}_enable", 1)
        write(f"{chip}/in{number}_input", millivolt)
        write(f"{chip}/curr{number}_input", milliampere)
        write(f"{chip}/curr{number}_crit", 7_784)
    write(f"{chip}/in7_label", "sum of shunt voltages")
    write(f"{chip}/in7_input", 12)


def put_hwmon(write: Write) -> None:
    """A desktop with an AMD graphics card, and a sensor of temperature that has no power."""
    write("sys/class/hwmon/hwmon0/name", "k10temp")
    write("sys/class/hwmon/hwmon0/temp1_input", 45_250)
    write("sys/class/hwmon/hwmon2/name", "amdgpu")
    write("sys/class/hwmon/hwmon2/power1_average", 23_000_000)
    write("sys/class/hwmon/hwmon2/power1_label", "PPT")
    write("sys/class/hwmon/hwmon2/power1_cap", 272_000_000)


def put_battery(write: Write) -> None:
    write("sys/class/power_supply/usb/type", "USB")
    write("sys/class/power_supply/usb/online", 0)
    write("sys/class/power_supply/battery/type", "Battery")
    write("sys/class/power_supply/battery/status", "Discharging")
    write("sys/class/power_supply/battery/voltage_now", 4_012_000)
    write("sys/class/power_supply/battery/current_now", -412_000)


def put_trace(write: Write) -> None:
    now_s = int(time.monotonic())
    write("trace.csv", f"time_s,power_w,gpu_w\n{now_s}.0,5.0,1.0\n{now_s}.1,5.5,1.5\n{now_s}.2,6.0,2.0")


FAKE_PYNVML = '''
"""Two cards: one that counts its energy, one from before Volta that only tells its power."""

class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


UUIDS = ["GPU-8a56a4bc-e184-a047-2620-be19fdf913d5", "GPU-1dfe3b5c-79a0-2422-f0d0-b22c6ded0af0"]
started = 0
energy_mj = 7_000
lost = False


def nvmlInit():
    global started
    started += 1


def nvmlShutdown():
    global started
    started -= 1


def nvmlSystemGetDriverVersion():
    return b"550.54.15"


def nvmlDeviceGetCount():
    return len(UUIDS)


def nvmlDeviceGetHandleByIndex(index):
    return index


def nvmlDeviceGetUUID(handle):
    return UUIDS[handle].encode()


def nvmlDeviceGetTotalEnergyConsumption(handle):
    if lost:
        raise NVMLError("GPU is lost")
    if handle:
        raise NVMLError_NotSupported("Not Supported")
    return energy_mj


def nvmlDeviceGetPowerUsage(handle):
    return 61_500
'''

# It encodes its packets itself: a program that imports Protocol Buffers takes seconds to start on a busy machine.
PERFETTO = """#!{python} -IS
import signal, sys, time

def varint(number):
    low = number & 0x7F
    return bytes([low | 0x80]) + varint(number >> 7) if number >> 7 else bytes([low])

def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content

def message(*values):
    return b"".join(field(number, value) for number, value in enumerate(values, start=1))

assert sys.argv[1:5] == ["--config", "-", "--txt", "--out"], sys.argv
config = sys.stdin.read()
assert "collect_power_rails: true" in config and "write_into_file: true" in config, config
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open(sys.argv[5], "ab", buffering=0) as trace:
    trace.write(field(1, field(8, 1)))  # of another source
    described = b"".join(
        field(1, message(index, name, subsystem, 125)) for index, (name, subsystem, _) in enumerate({rails})
    )
    while {rails}:
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        now_ms = now_ns // 1_000_000
        energies = b"".join(
            field(2, message(index, now_ms, now_ms * 1_000 * watt)) for index, (_, _, watt) in enumerate({rails})
        )
        written = field(1, field(8, now_ns) + field(40, described + energies))
        described = b""  # in the first packet only
        trace.write(written[:20])
        time.sleep({period_s})
        trace.write(written[20:])
    time.sleep({patience_s})
"""
RAILS = [("S2M_VDD_CPUCL2", "CPU(BIG)", 2), ("VSYS_PWR_MODEM", "Cellular", 1), ("S1M_VDD_MIF", "MIF", 3)]


def put_perfetto(write: Write, rails: list[tuple[str, str, int]] = RAILS, patience_s: float = 0) -> None:
    """Android's program as far as it tells rails: in real time, and without care for where a packet ends."""
    write("data/misc/perfetto-traces/.keep", "")
    text = PERFETTO.format(python=sys.executable, rails=rails, period_s=0.02, patience_s=patience_s)
    write("system/bin/perfetto", text).chmod(0o755)


DEVICES = {
    "rapl": put_rapl,
    "pixel": put_pixel6,
    "ina3221": put_orin_nano,
    "hwmon": put_hwmon,
    "battery": put_battery,
    "trace": put_trace,
    "perfetto": put_perfetto,
}


@pytest.fixture
def put(write: Write) -> Callable[..., None]:
    """Write the tree of a device that has a meter, by the meter's name."""

    def put_device(meter: str, *more: object) -> None:
        DEVICES[meter](write, *more)

    return put_device


@pytest.fixture
def pynvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Offer the package nvidia-ml-py as a machine with two cards has it, without the cards."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "pynvml.py").write_text(FAKE_PYNVML)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    yield importlib.import_module("pynvml")
    sys.modules.pop("pynvml", None)
