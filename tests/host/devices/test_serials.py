from dataclasses import replace
from pathlib import Path

import pytest

from chamnet.errors import ConfigError
from chamnet_host.app import run
from chamnet_host.devices.serials import devices_of, serial_of, with_serial
from chamnet_host.profiles import DeviceProfile

PHONE = DeviceProfile(name="pixel", transport="adb", bundle="android-aarch64", serial="P")
BOARD = DeviceProfile(name="pi", transport="ssh", bundle="linux-aarch64", host="pi@one")
AGENT = DeviceProfile(name="agent", transport="direct", address="127.0.0.1:1")


@pytest.mark.parametrize(
    ("device", "key", "own"),
    [(PHONE, "serial", "P"), (BOARD, "host", "pi@one"), (AGENT, "address", "127.0.0.1:1")],
)
def test_a_serial_goes_before_what_the_profile_says(device: DeviceProfile, key: str, own: str) -> None:
    named = with_serial(device, "another")
    assert getattr(named, key) == "another"
    assert (serial_of(named), serial_of(device)) == ("another", own)
    assert named.name == device.name  # and so the table
    assert with_serial(device, None) == device


@pytest.mark.parametrize("transport", ["local", "absent"])
def test_there_is_one_of_this_machine(transport: str) -> None:
    device = DeviceProfile(name="here", transport=transport)  # type: ignore[arg-type]
    assert serial_of(device) == ""
    with pytest.raises(ConfigError, match="target 'here' is one machine"):
        with_serial(device, "A")


@pytest.mark.parametrize("device", [PHONE, BOARD])
def test_another_device_is_not_called_at_the_address_of_the_profiles_own(device: DeviceProfile) -> None:
    placed = replace(device, address="192.168.0.7:8799")
    assert with_serial(placed, serial_of(placed)) == placed
    with pytest.raises(ConfigError, match=r"--serial another: .*address = '192.168.0.7:8799'.*\{serial\}"):
        with_serial(placed, "another")
    assert serial_of(with_serial(replace(device, address="{serial}:8799"), "another")) == "another"


def test_an_empty_serial_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="give a serial number"):
        with_serial(PHONE, "")


def test_each_device_is_named_once() -> None:
    assert [device.serial for device in devices_of(PHONE, ["A", "B"])] == ["A", "B"]
    assert devices_of(PHONE, []) == [PHONE]
    with pytest.raises(ConfigError, match="--serial A is given twice"):
        devices_of(PHONE, ["A", "B", "A"])


@pytest.mark.parametrize(
    "command", ["doctor", "deploy", "undeploy", "logs", "profile", "verify best", "measure x"]
)
def test_commands_that_reach_a_device_take_one(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").touch()
    assert run([*command.split(), "--target", "local", "--serial", "A"]) == 2
    assert "--serial A: target 'local' is one machine" in capsys.readouterr().err
