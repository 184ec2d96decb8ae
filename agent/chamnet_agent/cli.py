"""The agent's command line: flags -> AgentConfig -> serve."""

import argparse
import dataclasses
import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import chamnet
from chamnet.errors import ChamNetError, ConfigError
from chamnet.machine import read_clusters
from chamnet.wire.endpoint import default_state_dir
from chamnet_agent import doctor, registry, server, sysinfo
from chamnet_agent.config import AgentConfig
from chamnet_agent.power.settings import add_meter_settings, meter_settings_of
from chamnet_agent.settings import BackendSettings, add_settings, settings_of

__all__ = ["main"]

_MEMORY_SHARE = 0.75  # of the device's, for the measuring process by default
_LEAST_MB = 200
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}

_SERVE_EXAMPLES = """\
examples:
  chamnet-agent serve                            any free port; address and token lie in the state directory
  chamnet-agent serve --port 8799 --cores 4-7    on a phone's big cores, for `adb forward tcp:8799 tcp:8799`
  chamnet-agent serve --threads 4 --lease 0      four threads, stays until it is told to end
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 done, 1 failed, 2 asked for what cannot be done."""
    arguments = _parser(os.environ).parse_args(argv)
    level = logging.INFO if arguments.verbose else logging.WARNING
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        run: Callable[[argparse.Namespace], int] = arguments.run
        return run(arguments)
    except ChamNetError as error:
        sys.stderr.write(f"chamnet-agent: {error}\n")
        return error.exit_code


def _say(text: str) -> None:
    """Print a line: the only place that does."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chamnet-agent", description="Measure operators and networks on this device."
    )
    parser.add_argument("--version", action="version", version=f"chamnet-agent {chamnet.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands.add_parser(
        "serve", help="answer a host until told to end", epilog=_SERVE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Answer a host on loopback. Every call needs the token from the state directory.",
    ))  # fmt: skip
    check = commands.add_parser(
        "doctor", help="say which backends and meters work here, and why others do not",
        description="Try every backend with a small convolution; takes about a second each.",
    )  # fmt: skip
    check.set_defaults(run=_doctor)
    check.add_argument("--json", action="store_true", help="print one JSON object")
    for command in commands.choices.values():
        add_settings(command)
        add_meter_settings(command)
        command.add_argument("-v", "--verbose", action="store_true", help="log what happens to stderr")
        command.add_argument(
            "--state-dir", type=Path, default=default_state_dir(environ), metavar="DIR",
            help="holds lock, token and address (default: %(default)s)",
        )  # fmt: skip
    return parser


def _add_serve(serve: argparse.ArgumentParser) -> None:
    serve.set_defaults(run=_serve)
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; others than loopback need --tls (default: %(default)s)",
    )
    serve.add_argument("--port", type=int, default=0, help="TCP port; 0: any free one (default: %(default)s)")
    serve.add_argument(
        "--tls",
        type=Path,
        metavar="FOLDER",
        help="certificates, as `chamnet-host certify` makes them for an agent",
    )
    serve.add_argument("--backend", help="for requests that name none (default: the first that works here)")
    serve.add_argument(
        "--cores", default="auto", help="to measure on, such as 4-7 or 0,1 (default: the fastest)"
    )
    serve.add_argument(
        "--threads", type=int, default=1, help="the backend computes with (default: %(default)s)"
    )
    serve.add_argument(
        "--governor", default="", metavar="NAME",
        help="clock governor of these cores while serving, such as performance, where it may be set (default: as it is)",
    )  # fmt: skip
    serve.add_argument(
        "--memory-limit", type=float, metavar="MB",
        help="the measuring process may take; 0: any (default: three quarters of the device's memory)",
    )  # fmt: skip
    serve.add_argument(
        "--lease", default="600s", metavar="TIME",
        help="end after this long without a host, such as 90s, 10m, 2h; 0: never (default: %(default)s)",
    )  # fmt: skip
    serve.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="end when stdin does: with the program that started it",
    )
    serve.add_argument("--json", action="store_true", help="say the address as one JSON object")


def _serve(arguments: argparse.Namespace) -> int:
    config = _config(arguments)
    _leave_cores(config.cores)
    stop = threading.Event()
    with server.running(config) as agent:
        _end_on_signals(agent, stop)
        if arguments.until_stdin_closes:
            threading.Thread(target=_wait_for_stdin, args=(agent, stop), daemon=True).start()
        endpoint = agent.endpoint
        if arguments.json:
            _say(json.dumps(dataclasses.asdict(endpoint)))
        else:
            _say(f"serving on {endpoint.address}, token in {endpoint.token_file}; Ctrl+C ends it")
        agent.wait(stop)
    return 0


def _config(arguments: argparse.Namespace) -> AgentConfig:
    usable = sysinfo.usable_cores()
    if not 0 < arguments.threads <= len(usable):
        raise ConfigError(f"--threads {arguments.threads}: this process may use 1 to {len(usable)} cores")
    if not 0 <= arguments.port <= 65_535:
        raise ConfigError(f"--port {arguments.port}: expected 0 to 65535")
    if arguments.cores == "auto":
        cores = sysinfo.auto_cores(arguments.threads, read_clusters(), usable)
    else:
        cores = sysinfo.parse_cores(arguments.cores, usable)
    settings = settings_of(arguments)
    if arguments.backend and (reason := _backend_why_not(arguments.backend, settings)):
        raise ConfigError(f"--backend {arguments.backend}: {reason}")
    return AgentConfig(
        state_dir=arguments.state_dir,
        host=arguments.host,
        port=arguments.port,
        tls=arguments.tls,
        backend=arguments.backend or registry.default_backend(settings),
        cores=cores,
        threads=arguments.threads,
        governor=arguments.governor,
        memory_limit_bytes=_memory_limit(arguments.memory_limit),
        lease_s=_seconds(arguments.lease),
        settings=settings,
        meters=meter_settings_of(arguments),
    )


def _memory_limit(megabytes: float | None) -> int:
    """Return bytes; 0 for any."""
    if megabytes is None:
        return int(_MEMORY_SHARE * sysinfo.memory_bytes())
    if megabytes and megabytes < _LEAST_MB:
        raise ConfigError(
            f"--memory-limit {megabytes:g}: a runtime alone takes some {_LEAST_MB} MB; give more, or 0 for any"
        )
    return int(megabytes * 1e6)


def _backend_why_not(name: str, settings: BackendSettings) -> str | None:
    known = {backend.name: backend.why_not for backend in registry.backends(settings)}
    return known.get(name, f"unknown; known: {', '.join(sorted(known))}")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found:
        raise ConfigError(f"--lease {text}: expected a time such as 90s, 10m or 2h, or 0 for never")
    return float(found[1]) * _SECONDS[found[2]]


def _end_on_signals(agent: server.RunningAgent, stop: threading.Event) -> None:
    def end(number: int, _frame: object) -> None:
        agent.ending = f"it received {signal.Signals(number).name}"
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


def _wait_for_stdin(agent: server.RunningAgent, stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    agent.ending = "the program that started it ended"
    stop.set()


def _leave_cores(cores: Sequence[int]) -> None:
    """Keep the server off the cores that measure, where others are left; threads to come inherit it."""
    if others := set(sysinfo.usable_cores()) - set(cores):
        os.sched_setaffinity(0, others)


def _doctor(arguments: argparse.Namespace) -> int:
    found = doctor.diagnose(arguments.state_dir, settings_of(arguments), meter_settings_of(arguments))
    if arguments.json:
        _say(json.dumps(dataclasses.asdict(found), indent=2))
    else:
        for line in _lines(found):
            _say(line)
    return 0 if any(backend.why_not is None for backend in found.backends) else ConfigError.exit_code


def _lines(found: doctor.Diagnosis) -> list[str]:
    lines = [f"chamnet-agent {found.version}", "backends"]
    for each in found.backends:
        good = f"{each.version} ({each.provider}), an empty call takes {found.call_ns.get(each.name, 0) / 1_000:.1f} us"
        lines.append(f"  {each.name:<14}{'ok  ' + good if each.why_not is None else 'no  ' + each.why_not}")
    lines.append("meters")
    lines += [f"  {each.name:<14}{'ok  ' + each.provider if each.why_not is None else 'no  ' + each.why_not}"
              for each in found.meters]  # fmt: skip
    lines.append("cores")
    for group in found.clusters:
        clock = f"up to {group.max_khz / 1e6:.2f} GHz" if group.max_khz else "clock unknown"
        lines.append(f"  {','.join(map(str, group.cores)):<14}{clock}")
    lines.append(f"measures on     {','.join(map(str, found.cores))}")
    lines.append(f"running agent   {found.agent or 'none'}")
    return lines
