"""Device profiles: TOML files that say how to reach a device and how its agent runs."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Literal

from chamnet.errors import ConfigError

__all__ = [
    "DeviceProfile",
    "config_folder",
    "find_profile",
    "load_profile",
    "profile_folders",
    "shipped_profiles",
]


# What a key may be, where it is not a text.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "threads": int,
    "patience_s": (int, float),
    "cool_to_c": (int, float),
}
_FOR_AGENTS = (
    "native_tool", "native_tool_args", "delegate", "delegate_options",
    "gpus", "battery", "battery_current", "battery_discharge", "power_trace",
)  # fmt: skip
_IN_FILES = ("local", "direct", "adb", "ssh")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """How to reach one device; `device_profiles/README.md` documents every key.

    Attributes:
        name: Name of the target; the file's name.
        description: For people.
        transport: `local` (this machine), `direct` (an agent that already listens at `address`), `adb` (an agent that is
            put on a phone or board and started there), `ssh` (the same over ssh), or `absent`: a table that was imported,
            of a device that is not here (never in a file).
        address: `HOST:PORT`, for `direct`; for `adb` and `ssh`: where the agent is to answer instead of through a tunnel;
            `{serial}` in it stands for the host of the device.
        host: As after `ssh`, for `ssh`: a name of the user's configuration, `HOST`, or `USER@HOST`.
        ssh_options: More options of ssh, such as `-p 2222`.
        serial: As `adb devices` shows it, or `HOST:PORT` of adbd, for `adb`; empty: the only one.
        token_file: File that holds the agent's token, for `direct`; empty: where a local agent keeps it.
        tls: Folder of certificates: the host's, for `direct` where the address is another machine's; of both sides, for an
            agent that is put on the device and has an address. Empty: a folder of the user's own. `{serial}` in it stands for
            the same as in `address`, or, for `direct`, for the address.
        backend: Backend to measure with; empty: the agent's default.
        cores: Cores to pin to, such as `0,1`; `auto`: the agent chooses.
        threads: Threads that work.
        governor: Clock governor of the cores while the agent runs; empty: as it is.
        meter: Meter that `profile --energy` reads, of the device or of the host; empty: the first of the device that works.
        rails: What of it; empty: what computes, else the whole device.
        gpus: Graphics cards that compute, for the meter `nvml`.
        battery: Power supply that is the battery, for the meter of that name; empty: the agent looks for it.
        battery_current: Unit of its current, `uA` or `mA`.
        battery_discharge: Sign of its current while it gives energy: `positive`, `negative`, or `any`.
        power_trace: File of an external recorder on the device, for the meter `trace`.
        patience_s: How long a device that was lost is waited for.
        cool_to_c: Temperature of the hottest zone above which it is left to cool between requests; None for no limit.
        bundle: System and processor of the bundle that it takes, such as `android-aarch64`; empty: none is known.
        native_tool: Path, on the device, of the program that the backend `native-tool` drives; empty: none.
        native_tool_args: Given to it, as for a shell.
        delegate: Path, on the device, of a delegate for the backend `litert`; empty: XNNPACK.
        delegate_options: Given to it, as `name=value name=value`.
        verified_on: Hardware and date of a real run; empty until then.
    """

    name: str
    description: str = ""
    transport: Literal["local", "direct", "adb", "ssh", "absent"] = "local"
    address: str = ""
    host: str = ""
    ssh_options: str = ""
    serial: str = ""
    token_file: str = ""
    tls: str = ""
    backend: str = ""
    cores: str = "auto"
    threads: int = 1
    governor: str = ""
    meter: str = ""
    rails: str = ""
    gpus: str = ""
    battery: str = ""
    battery_current: str = ""
    battery_discharge: str = ""
    power_trace: str = ""
    patience_s: float = 10.0
    cool_to_c: float | None = None
    bundle: str = ""
    native_tool: str = ""
    native_tool_args: str = ""
    delegate: str = ""
    delegate_options: str = ""
    verified_on: str = ""

    @property
    def is_deployed(self) -> bool:
        """Whether the host puts a bundle on the device."""
        return self.transport in ("adb", "ssh")

    @property
    def agent_flags(self) -> tuple[str, ...]:
        """What an agent that is started is told of single backends and meters."""
        given = {name: getattr(self, name) for name in _FOR_AGENTS}
        return tuple(f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value)


def find_profile(target: str, folder: Path | None = None) -> DeviceProfile:
    """Return the profile of a target: a profile's name, or `HOST:PORT` of a running agent.

    Args:
        target: As typed after `--target`.
        folder: Looked through first (`--profiles`).

    Raises:
        ConfigError: Unknown target, or its file says something it should not.
    """
    known = _known(folder)
    if target in known:
        return load_profile(known[target])
    host, colon, port = target.rpartition(":")
    if colon and host and port.isdecimal() and 0 < int(port) < 65536:
        return DeviceProfile(name=target, transport="direct", address=target)
    names = ", ".join(sorted(known)) or "none"
    raise ConfigError(f"unknown target {target!r}; known: {names}, or HOST:PORT of a running agent")


def shipped_profiles(folder: Path | None = None) -> list[DeviceProfile]:
    """Return every profile found, each name once, in alphabetical order."""
    known = _known(folder)
    return [load_profile(known[name]) for name in sorted(known)]


def load_profile(path: Path) -> DeviceProfile:
    """Read one profile.

    Raises:
        ConfigError: Not TOML, an unknown key, or a value of the wrong kind.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from error
    if unknown := raw.keys() - {field.name for field in fields(DeviceProfile)}:
        raise ConfigError(f"{path}: unknown keys {sorted(unknown)}; see device_profiles/README.md")
    for key, value in raw.items():
        if not isinstance(value, _KINDS.get(key, str)) or isinstance(value, bool):
            raise ConfigError(
                f"{path}: {key} = {value!r} is of the wrong kind; see device_profiles/README.md"
            )
    profile = DeviceProfile(**{"name": path.stem, **raw})
    if mistake := _mistake(profile):
        raise ConfigError(f"{path}: {mistake}")
    return profile


def _mistake(profile: DeviceProfile) -> str | None:
    """Return what does not fit together in a profile."""
    if profile.transport not in _IN_FILES:
        return f"unknown transport {profile.transport!r}; known: {', '.join(_IN_FILES)}"
    if profile.transport == "direct" and not profile.address:
        return "transport direct needs an address = 'HOST:PORT'"
    if profile.transport == "direct" and profile.agent_flags:
        return f"transport direct: give {profile.agent_flags[0]} to `chamnet-agent serve` there"
    if profile.transport == "ssh" and not profile.host:
        return "transport ssh needs a host, such as host = 'pi@raspberrypi.local'"
    if profile.is_deployed and not profile.bundle:
        example = "android-aarch64" if profile.transport == "adb" else "linux-aarch64"
        return f"transport {profile.transport} needs a bundle, such as bundle = '{example}'"
    if (
        profile.is_deployed
        and "{serial}" in profile.address
        and profile.tls
        and "{serial}" not in profile.tls
    ):
        return "tls needs {serial}, as address has it: each device has certificates of its own"
    if profile.threads < 1:
        return "threads must be at least 1"
    return "patience_s must not be negative" if profile.patience_s < 0 else None


def config_folder() -> Path:
    """Return where the user's own profiles and certificates are."""
    return Path.home() / ".config" / "chamnet"


def profile_folders(folder: Path | None = None) -> list[Path]:
    """Return the folders looked through, first to last.

    `--profiles`, `./device_profiles`, the user's config folder, those shipped in the wheel, the checkout's.
    """
    shipped = Path(str(resources.files("chamnet_host")))
    places = [
        folder,
        Path("device_profiles"),
        config_folder() / "device_profiles",
        shipped.parents[1]
        / "device_profiles",  # a checkout, before the copy an editable install leaves behind
        shipped / "device_profiles",
    ]
    return [place for place in places if place is not None]


def _known(folder: Path | None) -> dict[str, Path]:
    """Return the file of each profile's name; the first folder that has one wins."""
    return {path.stem: path for path in reversed(list(_files(folder)))}


def _files(folder: Path | None) -> Iterator[Path]:
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--profiles {folder}: no such folder")
    for place in profile_folders(folder):
        yield from sorted(place.glob("*.toml"))
