"""Which device is meant, and whether it can be talked to."""

from collections.abc import Mapping

from chamnet.errors import ConfigError, DeviceUnreachableError

__all__ = ["UNAUTHORISED", "check_state", "choose"]

UNAUTHORISED = (
    "does not know this machine; unlock its screen, accept the key that it shows (allow USB debugging), and run the same"
    " command again"
)

_STATES = {
    "unauthorized": UNAUTHORISED,
    "authorizing": UNAUTHORISED,
    "offline": "is connected and does not answer; unplug it and plug it in again, or switch USB debugging off and on",
    "connecting": "is still connecting; run the same command again",
    "no permissions": "may not be opened by this user; see https://developer.android.com/tools/device.html about udev rules",
}


def choose(serial: str | None, states: Mapping[str, str]) -> str:
    """Return the serial number of the device that is meant.

    Raises:
        DeviceUnreachableError: It is not there, or none is.
        ConfigError: Several are, and none was named.
    """
    known = ", ".join(sorted(states)) or "none"
    if serial is not None:
        if serial not in states:
            raise DeviceUnreachableError(f"{serial}: no such device; adb knows: {known}")
        return serial
    if not states:
        raise DeviceUnreachableError(
            "no device is connected; plug one in, switch on USB debugging in its developer options, and see: adb devices"
        )
    if len(states) > 1:
        raise ConfigError(
            f"several devices are connected: {known}; name one with serial = '...' in a device profile"
        )
    return next(iter(states))


def check_state(serial: str, state: str) -> None:
    """Return if a device can be talked to.

    Raises:
        DeviceUnreachableError: It cannot; says what to do.
    """
    if state == "device":
        return
    known = next(
        (name for name in _STATES if state.startswith(name)), None
    )  # adb says why after `no permissions`
    said = _STATES[known] if known else f"is in state {state!r}; start Android on it"
    raise DeviceUnreachableError(f"{serial}: {said}")
