"""The command line: one typer app, one file per command, one place that turns errors into exit codes."""

import logging
import os
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

import chamnet
from chamnet.errors import ChamNetError
from chamnet_host.output import print_error, print_error_json, print_text

__all__ = ["make_app", "run"]

_INTERRUPTED = 130  # what typer makes of Ctrl-C
_UsageError: Any = (
    typer.BadParameter.__base__
)  # click's, or that of the click which newer typers carry inside

# in the order of the help; each is a module in `commands`
_COMMANDS = (
    "profile",
    "status",
    "search",
    "compare",
    "verify",
    "predict",
    "explain",
    "networks",
    "measure",
    "train",
    "export",
    "certify",
    "bundle",
    "doctor",
    "deploy",
    "undeploy",
    "logs",
)
_MODULES = {"undeploy": "deploy", "logs": "deploy"}  # commands that live in another one's module
_GROUPS = ("devices", "lut", "energy", "accuracy", "space")
_STOPPED = {  # what is said after Ctrl-C, by command
    "profile": "what was measured is stored, the same command continues",
    "accuracy": "what was trained is stored, the same command goes on",
    "train": "the same command goes on after the last epoch that ended",
    "bundle": "what was downloaded is kept, the same command goes on",
}


def make_app(only: str | None = None) -> typer.Typer:
    """Return the command line.

    Args:
        only: The one command or group that will be asked for: loading the others takes half a second. None for all,
            and where there is none of that name.
    """
    app = typer.Typer(
        name="chamnet-host",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Which network is the most accurate that runs on a device within a budget, and how sure are we?"
        "\n\nMeasure the device once, then ask as often as you like:"
        "\n\n  chamnet-host profile               measure this machine's CPU (about a minute)"
        "\n\n  chamnet-host search --budget 8ms   the best network within 8 ms on it"
        "\n\n  chamnet-host verify best           measure the winner, beside its prediction",
        callback=_common,
    )
    wanted = {only} if only in (*_COMMANDS, *_GROUPS) else {*_COMMANDS, *_GROUPS}
    modules = dict.fromkeys(_MODULES.get(name, name) for name in _COMMANDS if name in wanted)
    for module in modules:
        import_module(f"chamnet_host.commands.{module}").register(app)
    for name in _GROUPS:
        if name in wanted:
            app.add_typer(import_module(f"chamnet_host.commands.{name}").app, name=name)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print_text(f"chamnet-host {chamnet.__version__}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell on stderr what happens.")] = False,
) -> None:
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code: 0 done, 1 a failure, 2 the user's mistake."""
    as_json = "--json" in arguments
    command = next((word for word in arguments if not word.startswith("-")), None)
    try:
        code = make_app(command)(list(arguments), standalone_mode=False)
    except ChamNetError as error:
        return _fail(str(error), type(error).__name__, error.exit_code, as_json)
    except _UsageError as error:  # unknown option or command, missing argument
        if not error.format_message().strip():  # no command at all: the help is printed
            return 2
        return _fail(f"{error.format_message()} (--help tells more)", "UsageError", 2, as_json)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _fail(f"the answer cannot be written: {error.strerror}", "OSError", 1, as_json=False)
    if code == _INTERRUPTED:
        kept = _STOPPED.get(command or "", "what was measured is stored")
        return _fail(f"stopped; {kept}", "Interrupted", 1, as_json)
    return code if isinstance(code, int) else 0


def _fail(message: str, kind: str, code: int, as_json: bool) -> int:
    print_error(message)
    if as_json:
        print_error_json(kind, message, code)
    return code
