"""Who signed a file: OpenPGP, checked by Sequoia (`pip install 'chamnet[bundle]'`)."""

from importlib import resources
from pathlib import Path
from types import ModuleType

from chamnet.errors import BundleError, ConfigError

__all__ = ["SYSTEM_KEYS", "read_keys", "signed_content"]

SYSTEM_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def read_keys(keyring: Path | None) -> bytes:
    """Return the keys to trust.

    Args:
        keyring: File of OpenPGP certificates; None for Debian's own on this machine, else those that come with ChamNet
            (Debian 12 and 13, as in the package `debian-archive-keyring`).

    Raises:
        ConfigError: The file cannot be read.
    """
    if keyring is None and not SYSTEM_KEYS.is_file():
        return (resources.files("chamnet_host.bundles") / "debian-archive-keys.asc").read_bytes()
    try:
        return (keyring or SYSTEM_KEYS).read_bytes()
    except OSError as error:
        raise ConfigError(f"keyring {keyring}: cannot be read ({error.strerror})") from error


def signed_content(message: bytes, keys: bytes, *, name: str) -> str:
    """Return what a clear-signed message says, without anything that stands around the signed part.

    Args:
        message: Text with at least one signature by one of the keys.
        keys: OpenPGP certificates, binary or armoured.
        name: Of the message, for errors.

    Raises:
        BundleError: No such signature is valid.
        ConfigError: Sequoia is not installed, or the keys are none.
    """
    sequoia = _import_sequoia()
    try:
        certificates = sequoia.Cert.split_bytes(keys)
    except Exception as error:
        raise ConfigError(f"the keyring for {name} holds no OpenPGP certificates") from error
    try:
        checked = sequoia.verify(message, store=lambda _ids: certificates)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise BundleError(
            f"{name}: {reason} A network that asks to log in, a damaged mirror, or keys that are too old may be why;"
            " --keyring names other keys"
        ) from error
    content: bytes = checked.bytes
    return content.decode("utf-8", errors="replace")


def _import_sequoia() -> ModuleType:
    try:
        import pysequoia
    except ModuleNotFoundError as error:
        raise ConfigError("signatures of packages need pysequoia: pip install 'chamnet[bundle]'") from error
    return pysequoia
