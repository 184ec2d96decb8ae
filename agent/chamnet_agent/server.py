"""Start and stop the agent: state directory, worker, gRPC."""

import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc

import chamnet
from chamnet.clock import Clock, SystemClock
from chamnet.errors import ConfigError
from chamnet.wire.endpoint import Endpoint, is_loopback
from chamnet.wire.profiling_pb2_grpc import add_ProfilingServicer_to_server
from chamnet.wire.tls import server_credentials
from chamnet_agent import state, sysinfo
from chamnet_agent.auth import TokenInterceptor
from chamnet_agent.board import Board
from chamnet_agent.conditions import Sensors
from chamnet_agent.config import AgentConfig
from chamnet_agent.governor import governed
from chamnet_agent.lease import Lease
from chamnet_agent.process import start_worker
from chamnet_agent.service import ProfilingService, health_handler
from chamnet_agent.supervisor import Supervisor

__all__ = ["RunningAgent", "create_server", "running"]

log = logging.getLogger(__name__)

_THREADS = 8
_MOST_CALLS = 32
_END_S = 3.0  # at most, for calls to hear why, once they are told to end; a host gives an agent 5 s in all
_BUSY_POLL_S = 1.0
_OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.so_reuseport", 0),  # or a second agent would share the port in silence
    ("grpc.keepalive_time_ms", 20_000),  # notice a host whose cable was pulled
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),  # hosts ping while a long window is silent
    ("grpc.keepalive_permit_without_calls", 1),
]


@dataclass
class RunningAgent:
    """An agent that answers.

    Attributes:
        endpoint: Where.
        token: What calls must carry.
        lease: Runs out without a host.
        ending: Why it is ended; calls at work hear it.
    """

    endpoint: Endpoint
    token: str
    lease: Lease
    ending: str = "it was told to"

    def wait(self, stop: threading.Event) -> None:
        """Return once `stop` is set or the lease has run out."""
        while (left_s := self.lease.left_s()) is None or left_s > 0:
            if stop.wait(_BUSY_POLL_S if left_s is None else left_s):
                return
        self.ending = f"no host called for {self.lease.seconds:.0f} s"


@contextmanager
def running(config: AgentConfig, *, clock: Clock | None = None) -> Iterator[RunningAgent]:
    """Run an agent: it answers inside the block and leaves nothing behind after it.

    Args:
        config: How to serve.
        clock: Tells how long items take and hosts are silent.

    Raises:
        DeviceBusyError: Another agent holds the state directory.
        ConfigError: The address or the state directory cannot be used, or the cores have no such governor.
    """
    with ExitStack() as stack:
        held = stack.enter_context(state.held(config.state_dir))
        stack.enter_context(governed(config.governor, config.cores))
        clock = clock or SystemClock()
        lease = Lease(config.lease_s, clock)
        board = Board.create(config.state_dir)
        stack.callback(board.close)
        environ = dict(os.environ)
        supervisor = Supervisor(lambda: start_worker(config, board, environ), board=board, clock=clock)
        token = held.new_token()
        service = ProfilingService(
            sysinfo.describe(config),
            Sensors(cores=config.cores).read,
            supervisor,
            lease,
            meters=config.meters,
            clock=clock,
        )
        server, port = create_server(config, service=service, token=token, lease=lease)
        server.start()
        agent = RunningAgent(_endpoint(config, port, str(held.token_file)), token, lease)
        stack.callback(lambda: _stop(server, supervisor, agent))
        agent.endpoint.save(config.state_dir)
        log.info("serving on %s", agent.endpoint.address)
        yield agent


def create_server(
    config: AgentConfig, *, service: ProfilingService, token: str, lease: Lease
) -> tuple[grpc.Server, int]:
    """Return a server that listens but has not started, and its port.

    Raises:
        ConfigError: The address leaves this machine without TLS, or is taken; or certificates are missing.
    """
    if config.tls is None and not is_loopback(config.host):
        raise ConfigError(
            f"--host {config.host}: without --tls the agent listens on loopback only, for the token would cross the network"
            " readable; reach it through adb forward or ssh -L, or make certificates with `chamnet-host certify`"
        )
    credentials = server_credentials(config.tls) if config.tls else None
    server = grpc.server(
        ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="rpc"),
        interceptors=[TokenInterceptor(token)],
        options=_OPTIONS,
        maximum_concurrent_rpcs=_MOST_CALLS,
    )
    add_ProfilingServicer_to_server(service, server)
    server.add_generic_rpc_handlers((health_handler(lease),))
    address = f"[{config.host}]:{config.port}" if ":" in config.host else f"{config.host}:{config.port}"
    try:
        port = (
            server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        )
    except RuntimeError as error:
        raise ConfigError(
            f"cannot listen on {address}: the port is taken, or not ours; try --port 0"
        ) from error
    return server, port


def _endpoint(config: AgentConfig, port: int, token_file: str) -> Endpoint:
    return Endpoint(
        pid=os.getpid(),
        host=config.host,
        port=port,
        started_unix_ms=round(datetime.now(UTC).timestamp() * 1_000),
        token_file=token_file,
        version=chamnet.__version__,
    )


def _stop(server: grpc.Server, supervisor: Supervisor, agent: RunningAgent) -> None:
    log.info("ending: %s", agent.ending)
    stopped = server.stop(grace=_END_S)  # from here on no new calls
    supervisor.close(agent.ending)
    stopped.wait(_END_S + 1)
