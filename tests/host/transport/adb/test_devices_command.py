"""Profiles for new devices, and devices over a network, by the commands that a user types, on real adbd and a real adb server."""

import json
import platform
from pathlib import Path
from typing import Any

import pytest
from adbd_device import AdbdDevice

from chamnet.errors import DeviceError
from chamnet_host.app import run
from chamnet_host.profiles import find_profile
from chamnet_host.transport.adb.ways import open_adb
from chamnet_host.transport.adb.wifi import listen_on_network

POLICIES = {"policy0": ("0 1 2 3", 1_803_000), "policy4": ("4 5", 2_348_000), "policy6": ("6 7", 2_850_000)}


@pytest.fixture(autouse=True)
def user(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work as a user with an adb server, in a folder without anything."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def phone(device: AdbdDevice) -> AdbdDevice:
    """Return a phone that says what it is."""
    for name, value in {
        "product.manufacturer": "Google", "product.model": "Pixel 6", "build.version.release": "16", "soc.model": "Tensor",
    }.items():  # fmt: skip
        device.answer(f"getprop ro.{name}", f"{value}\n")
    for policy, (cores, khz) in POLICIES.items():
        folder = device.path(f"/sys/devices/system/cpu/cpufreq/{policy}")
        folder.mkdir(parents=True)
        (folder / "related_cpus").write_text(f"{cores}\n")
        (folder / "cpuinfo_max_freq").write_text(f"{khz}\n")
        (folder / "scaling_available_governors").write_text("schedutil performance powersave \n")
    return device


def refused(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run(arguments) == code
    return capsys.readouterr().err.replace("\n", " ")


def asked(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*arguments, "--json"]) == 0, capsys.readouterr().err
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_a_profile_is_written_by_asking(phone: AdbdDevice, capsys: pytest.CaptureFixture[str]) -> None:
    answer = asked(["devices", "init", "--serial", phone.address], capsys)
    assert (answer["target"], answer["system"]) == ("google-pixel-6", "android")
    profile = find_profile("google-pixel-6")
    assert (profile.transport, profile.serial) == ("adb", phone.address)
    assert profile.bundle == f"android-{platform.machine()}"
    assert (profile.cores, profile.governor) == ("auto", "performance")  # the shell is root's here
    assert profile.verified_on == ""
    text = Path(answer["file"]).read_text()
    assert "Google Pixel 6, chip Tensor, Android 16" in text
    assert "0-3 up to 1.80 GHz, 4-5 up to 2.35 GHz, 6-7 up to 2.85 GHz" in text
    (listed,) = [each for each in asked(["devices"], capsys)["devices"] if each["target"] == "google-pixel-6"]
    assert listed["reachable"] is None
    assert listed["verified_on"] is None


def test_what_is_there_is_not_replaced(phone: AdbdDevice, capsys: pytest.CaptureFixture[str]) -> None:
    init = ["devices", "init", "mine", "--serial", phone.address]
    asked(init, capsys)
    assert "--force replaces it" in refused(init, 2, capsys)
    asked([*init, "--force"], capsys)


def test_a_device_may_say_anything(device: AdbdDevice, capsys: pytest.CaptureFixture[str]) -> None:
    device.answer("getprop ro.product.manufacturer", "")
    device.answer("getprop ro.product.model", 'Évil "phone"\t\\ \x1b[31m\n')
    answer = asked(["devices", "init", "--serial", device.address], capsys)
    assert find_profile(answer["target"]).description == 'Évil "phone"\\ [31m, CPU'


def test_a_device_without_android_is_a_linux_board(
    device: AdbdDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(["devices", "init", "board", "--serial", device.address], capsys)["system"] == "linux"
    assert find_profile("board").bundle == f"linux-{platform.machine()}"


def test_a_device_is_connected_over_the_network(
    device: AdbdDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(["devices", "connect", "--wifi", device.address], capsys)["serial"] == device.address
    assert asked(["devices", "connect", "--wifi", device.address], capsys)["serial"] == device.address


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--wifi", "127.0.0.1:9"], 1, "is wireless debugging on"),
        (
            ["--wifi", "127.0.0.1:9", "--pair", "127.0.0.1:9", "--code", "123456"],
            1,
            "must show its pairing code",
        ),
        (["--wifi", "127.0.0.1:9", "--pair", "127.0.0.1:9", "--code", "12"], 2, "six digits"),
        (["--wifi", "--pair", "127.0.0.1:9", "--code", "123456"], 2, "the address to connect to"),
        (["127.0.0.1:9"], 2, "--wifi"),
    ],
)
def test_what_cannot_be_connected_says_what_helps(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(["devices", "connect", *words], code, capsys)


def test_a_phone_in_no_network_cannot_listen(device: AdbdDevice, environ: dict[str, str]) -> None:
    shell = open_adb(device.address, environ=environ)
    try:
        with pytest.raises(DeviceError, match="the same Wi-Fi"):
            listen_on_network(shell)
    finally:
        shell.close()


def test_targets_that_do_not_answer_are_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["devices", "show", "127.0.0.1:9", "--json"]) == 1
    (body,) = json.loads(capsys.readouterr().out)["devices"]
    assert body["reachable"] is False
