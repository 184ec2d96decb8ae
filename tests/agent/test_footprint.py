"""What an idle agent costs; the targets are the project's."""

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chamnet.wire.endpoint import Endpoint, read_token
from chamnet_host.client import DeviceClient

READY_S, IDLE_MB, DESCRIBE_MS = 1.5, 80, 2.0
SLACK = 2  # times: tests run beside other tests; run alone with -s to see the figures


@pytest.fixture
def agent(tmp_path: Path) -> Iterator["tuple[subprocess.Popen[bytes], float]"]:
    """Start an agent; return it and how long it took to answer."""
    began = time.monotonic()
    command = [sys.executable, "-m", "chamnet_agent", "serve", "--state-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while Endpoint.load(tmp_path) is None:
            time.sleep(0.002)
        yield process, time.monotonic() - began
        process.terminate()


@pytest.mark.slow
def test_an_idle_agent_is_small_and_quick(
    agent: "tuple[subprocess.Popen[bytes], float]", tmp_path: Path
) -> None:
    process, ready_s = agent
    endpoint = Endpoint.load(tmp_path)
    assert endpoint is not None
    samples_ms = []
    with DeviceClient(endpoint.address, read_token(tmp_path / "token"), tls=None) as client:
        for _ in range(220):
            began = time.perf_counter_ns()
            client.describe()
            samples_ms.append((time.perf_counter_ns() - began) / 1e6)
    status = Path(f"/proc/{process.pid}/status").read_text()
    rss = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert rss is not None
    idle_mb, describe_ms = int(rss[1]) / 1024, statistics.median(samples_ms[20:])
    sys.stderr.write(f"\nready {ready_s:.2f} s, idle {idle_mb:.0f} MB, Describe {describe_ms:.2f} ms\n")
    assert ready_s < READY_S * SLACK
    assert idle_mb < IDLE_MB
    assert describe_ms < DESCRIBE_MS * SLACK
