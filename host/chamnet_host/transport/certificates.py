"""Makes the certificates that `chamnet.wire.tls` draws, and tells when they end."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chamnet.errors import ConfigError
from chamnet.wire.tls import AGENT_NAME

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError as error:
    raise ConfigError(f"certificates need cryptography ({error}); pip install 'chamnet[tls]'") from error

__all__ = ["check_dates", "make_certificates", "remove_certificates"]

_BEFORE = timedelta(hours=1)  # a device's clock may be behind


def make_certificates(folder: Path, *, days: int = 365, now: datetime | None = None) -> datetime:
    """Write a pair of certificates as two folders, `agent` and `host`; return when they end.

    Args:
        folder: Where; must not hold certificates yet.
        days: They are valid for.
        now: From when; the present by default.

    Raises:
        ConfigError: The folder holds some, or cannot be written.
    """
    if any((folder / side).exists() for side in ("agent", "host")):
        raise ConfigError(
            f"{folder}: holds certificates already; remove them, or choose another folder with -o"
        )
    start = now or datetime.now(UTC)
    end = start + timedelta(days=days)
    made = {
        side: _pair(name, start - _BEFORE, end)
        for side, name in (("agent", AGENT_NAME), ("host", "chamnet-host"))
    }
    try:
        for side, other in (("agent", "host"), ("host", "agent")):
            (folder / side).mkdir(mode=0o700, parents=True)
            key, certificate = made[side]
            _write(folder / side / f"{side}.key", key)
            _write(folder / side / f"{side}.crt", certificate)
            _write(folder / side / f"{other}.crt", made[other][1])
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be written ({error.strerror})") from error
    return end


def remove_certificates(folder: Path) -> None:
    """Remove both folders that `make_certificates` wrote, and nothing else."""
    for side in ("agent", "host"):
        for file in [*(folder / side).glob("*.crt"), *(folder / side).glob("*.key")]:
            file.unlink()
        (folder / side).rmdir()


def check_dates(folder: Path, *, now: datetime | None = None) -> None:
    """Check that the certificates of a host's folder are valid now.

    Raises:
        ConfigError: One has ended or not begun, or is no certificate.
    """
    moment = now or datetime.now(UTC)
    for name in ("host.crt", "agent.crt"):
        path = folder / name
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: not a certificate ({error})") from error
        if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
            raise ConfigError(
                f"{path}: valid from {certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d},"
                f" and it is {moment:%Y-%m-%d}: set this machine's clock, or make new ones with `chamnet-host certify`"
            )


def _pair(name: str, start: datetime, end: datetime) -> tuple[bytes, bytes]:
    """Return a fresh private key and its own certificate, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(encoding)


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
