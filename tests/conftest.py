"""What all tests share: a real agent on a free port, with a fake backend under it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# As the command line has it: our matrices are small, and on a busy machine a second thread of numpy's or torch's only
# spins until it gets a core, which makes a minute of ten seconds. Read when they are imported, by children, too.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from chamnet.clock import Clock
from chamnet_agent import sysinfo
from chamnet_agent.config import AgentConfig
from chamnet_agent.server import RunningAgent, running
from chamnet_agent.testing import Script, install_fake_backend
from chamnet_host.client import DeviceClient

pytest_plugins = ["adbd_fixtures"]

# A busy machine is slow, and no example is wrong for it.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

AgentStarter = Callable[..., RunningAgent]


@pytest.fixture
def install_fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], None]:
    """Return a function that makes the backend `fake` known to this process and its children."""

    def install(script: Script) -> None:
        folder = tmp_path / "plugin"
        folder.mkdir()
        install_fake_backend(folder, script)
        monkeypatch.syspath_prepend(folder)
        path = filter(None, (str(folder), os.environ.get("PYTHONPATH")))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))

    return install


@pytest.fixture
def start_agent(tmp_path: Path, install_fake: Callable[[Script], None]) -> Iterator[AgentStarter]:
    """Return a function that starts an agent whose fake backend follows a script."""
    with ExitStack() as stack:

        def start(
            script: Script | None = None,
            *,
            lease_s: float = 600.0,
            port: int = 0,
            clock: Clock | None = None,
            **more: Any,
        ) -> RunningAgent:
            install_fake(script or Script())
            config = AgentConfig(
                state_dir=tmp_path / "state",
                port=port,
                backend="fake",
                cores=sysinfo.usable_cores()[-1:],
                lease_s=lease_s,
                **more,
            )
            return stack.enter_context(running(config, clock=clock))

        yield start


@pytest.fixture
def connect() -> Iterator[Callable[[RunningAgent], DeviceClient]]:
    """Return a function that connects to an agent."""
    with ExitStack() as stack:
        yield lambda agent: stack.enter_context(
            DeviceClient(agent.endpoint.address, agent.token, tls=None, timeout_s=60)
        )


@pytest.fixture
def live_agent(start_agent: AgentStarter, connect: Callable[[RunningAgent], DeviceClient]) -> DeviceClient:
    """Return a client of a real agent with a fake backend that does nothing, in no time."""
    return connect(start_agent())


@pytest.fixture(scope="session")
def fake_tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a program that behaves like benchmark_model."""
    source = Path(__file__).parent / "agent/backends/benchmark_model_fake.py"
    program = tmp_path_factory.mktemp("tool") / "benchmark_model"
    program.write_text(
        f"#!{Path(sys.executable).resolve()} -IS\n{source.read_text(encoding='utf-8')}", encoding="utf-8"
    )
    program.chmod(0o755)
    return program
