from dataclasses import replace
from pathlib import Path

import pytest

from chamnet.errors import ConfigError
from chamnet_host.profiles import DeviceProfile, config_folder
from chamnet_host.transport.choice import transport_of
from chamnet_host.transport.networked import Networked

BOARD = DeviceProfile(
    name="pi", transport="ssh", bundle="linux-aarch64", host="pi@pi-a", address="{serial}:8799"
)
PHONE = DeviceProfile(
    name="pixel", transport="adb", bundle="android-aarch64", serial="[fd00::7]:5555", address="{serial}:8799"
)


def networked(device: DeviceProfile) -> Networked | None:
    found: Networked | None = transport_of(device)._networked  # type: ignore[attr-defined]
    return found


def test_each_device_has_an_address_and_certificates_of_its_own() -> None:
    kept = config_folder() / "certificates"
    assert networked(BOARD) == Networked("pi-a:8799", kept / "pi@pi-a")
    assert networked(replace(BOARD, host="pi-b")) == Networked("pi-b:8799", kept / "pi@pi-b")
    assert networked(PHONE) == Networked("[fd00::7]:8799", kept / "pixel@[fd00::7]")
    named = replace(BOARD, tls="/certificates/{serial}")
    assert networked(named) == Networked("pi-a:8799", Path("/certificates/pi-a"))


def test_the_certificates_of_one_device_stay_where_they_were() -> None:
    device = replace(BOARD, address="192.168.0.7:8799")
    assert networked(device) == Networked("192.168.0.7:8799", config_folder() / "certificates/pi")
    assert networked(replace(BOARD, address="")) is None


def test_an_address_by_serial_needs_a_serial() -> None:
    with pytest.raises(ConfigError, match=r"pixel.*\{serial\}.*--serial"):
        transport_of(replace(PHONE, serial=""))


def test_a_running_agent_has_certificates_by_its_address() -> None:
    agent = DeviceProfile(
        name="agent", transport="direct", address="10.0.0.1:8799", tls="/certificates/{serial}"
    )
    assert transport_of(agent)._tls == Path("/certificates/10.0.0.1:8799")  # type: ignore[attr-defined]
