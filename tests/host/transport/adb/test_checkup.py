"""A device is looked over before anything is put on it."""

import platform
from pathlib import Path

import pytest
from adbd_device import AdbdDevice

from chamnet_host.devices.checkup import check_up

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: {powered}
  level: {level}
  temperature: {tenths}
"""


def states(device: AdbdDevice, reach, arch: str | None = None) -> dict[str, tuple[str, str]]:
    shell = reach(device, "direct")
    found = check_up(shell, folder="/data/local/tmp/chamnet", arch=arch or platform.machine())
    return {each.what: (each.state, each.said) for each in found}


def phone(
    device: AdbdDevice, *, powered: bool = True, level: int = 80, tenths: int = 285, awake: str = "Awake"
) -> None:
    device.answer("getprop ro.product.model", "Test Phone\n")
    device.answer("getprop ro.build.version.release", "16\n")
    device.answer("dumpsys battery", BATTERY.format(powered=str(powered).lower(), level=level, tenths=tenths))
    device.answer("dumpsys power", f"  mWakefulness={awake}\n")
    device.answer("dumpsys trust", "")


def test_a_phone_that_is_well(device: AdbdDevice, reach) -> None:
    phone(device)
    found = states(device, reach)
    assert {state for state, _ in found.values()} == {"ok"}
    assert found["phone"][1] == "Test Phone, Android 16"
    assert found["battery"][1] == "80 %, charging, which warms it"
    assert set(found) == {"processor", "tools", "room", "phone", "battery", "temperature", "screen"}


@pytest.mark.parametrize(
    ("changed", "what", "says"),
    [
        ({"powered": False, "level": 12}, "battery", "charge it first"),
        ({"tenths": 441}, "temperature", "let it cool"),
        ({"awake": "Asleep"}, "screen", "wake it"),
    ],
)
def test_what_is_not_well_comes_with_what_helps(
    device: AdbdDevice, reach, changed, what: str, says: str
) -> None:
    phone(device, **changed)
    state, said = states(device, reach)[what]
    assert state == "warning"
    assert says in said


def test_a_bundle_for_another_processor_is_bad(device: AdbdDevice, reach) -> None:
    assert states(device, reach, arch="riscv64")["processor"] == (
        "bad",
        f"{platform.machine()}, and its profile asks for a bundle for riscv64: change `bundle` there",
    )


def test_a_phone_that_may_not_be_asked_is_unknown_not_well(device: AdbdDevice, reach) -> None:
    device.answer("getprop ro.product.model", "Test Phone\n")
    found = states(device, reach)
    assert found["battery"][0] == found["screen"][0] == "unknown"


def test_a_board_is_no_phone(device: AdbdDevice, reach, tmp_path: Path) -> None:
    assert set(states(device, reach)) == {"processor", "tools", "room"}


def test_a_device_before_android_8_is_bad(device: AdbdDevice, reach) -> None:
    device.path("/system/bin/sha256sum").unlink()
    state, said = states(device, reach)["tools"]
    assert state == "bad"
    assert "Android 8 or newer" in said
