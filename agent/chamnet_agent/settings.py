"""What single backends are told: on the agent's command line, and from there on to its worker."""

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path

from chamnet.errors import ConfigError

__all__ = ["DEFAULTS", "BackendSettings", "add_settings", "settings_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """What the user brings, since no package has it.

    Attributes:
        native_tool: Program that the backend `native-tool` drives; None for none.
        native_tool_args: Given to it; `NAME=value` before the first flag is its environment.
        delegate: Library that the backend `litert` hands its work to; None for its own XNNPACK.
        delegate_options: Given to it, by name.
    """

    native_tool: Path | None = None
    native_tool_args: tuple[str, ...] = ()
    delegate: Path | None = None
    delegate_options: tuple[tuple[str, str], ...] = ()

    def flags(self) -> tuple[str, ...]:
        """Return the command line that says the same.

        With `=` between: what follows begins with dashes itself.
        """
        given = {
            "--native-tool": self.native_tool or "",
            "--native-tool-args": shlex.join(self.native_tool_args),
            "--delegate": self.delegate or "",
            "--delegate-options": shlex.join(f"{name}={value}" for name, value in self.delegate_options),
        }
        return tuple(f"{flag}={value}" for flag, value in given.items() if value)


DEFAULTS = BackendSettings()


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `settings_of` reads."""
    group = parser.add_argument_group("what you bring for a backend (docs/accelerators.md)")
    group.add_argument(
        "--native-tool", default="", metavar="PATH",
        help="benchmark_model of TensorFlow Lite or LiteRT on this device, for the backend native-tool",
    )  # fmt: skip
    group.add_argument(
        "--native-tool-args", default="", metavar="TEXT",
        help="its own flags, one of which names a delegate, written with '=': --native-tool-args='--use_gpu=true'; NAME=value"
        " before them is its environment",
    )  # fmt: skip
    group.add_argument(
        "--delegate", default="", metavar="PATH",
        help="library of an external delegate on this device, for the backend litert (default: its own XNNPACK)",
    )  # fmt: skip
    group.add_argument(
        "--delegate-options", default="", metavar="TEXT", help="for that delegate, such as 'name=value name=value'"
    )  # fmt: skip


def settings_of(arguments: argparse.Namespace) -> BackendSettings:
    """Return what the flags say.

    Raises:
        ConfigError: They cannot be read, or do not fit together.
    """
    tool, tool_args = _path(arguments, "native_tool"), _words(arguments, "native_tool_args")
    delegate, options = _path(arguments, "delegate"), _words(arguments, "delegate_options")
    if tool_args and not tool:
        raise ConfigError("--native-tool-args: give the tool, too, with --native-tool PATH")
    if options and not delegate:
        raise ConfigError("--delegate-options: give the delegate, too, with --delegate PATH")
    if strange := [word for word in options if word.find("=") < 1]:
        raise ConfigError(f"--delegate-options: {strange[0]!r} is not of the form name=value")
    pairs = [word.partition("=") for word in options]
    return BackendSettings(
        native_tool=tool,
        native_tool_args=tool_args,
        delegate=delegate,
        delegate_options=tuple((name, value) for name, _, value in pairs),
    )


def _path(arguments: argparse.Namespace, name: str) -> Path | None:
    text: str = getattr(arguments, name)
    if text and not text.startswith("/"):
        raise ConfigError(f"{_flag(name)} {text}: give its whole path on the device, from / on")
    return Path(text) if text else None


def _words(arguments: argparse.Namespace, name: str) -> tuple[str, ...]:
    text: str = getattr(arguments, name)
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigError(f"{_flag(name)} {text}: {error}; quote it as for a shell") from error


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
