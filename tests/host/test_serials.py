import pytest

from chamnet.errors import ConfigError
from chamnet_host.profiles import DeviceProfile
from chamnet_host.serials import devices_of, serial_of, with_serial

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


def test_an_empty_serial_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="give a serial number"):
        with_serial(PHONE, "")


def test_each_device_is_named_once() -> None:
    assert [device.serial for device in devices_of(PHONE, ["A", "B"])] == ["A", "B"]
    assert devices_of(PHONE, []) == [PHONE]
    with pytest.raises(ConfigError, match="--serial A is given twice"):
        devices_of(PHONE, ["A", "B", "A"])
