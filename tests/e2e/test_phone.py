"""A phone in all but its chip: real adbd, Android's shell, and a bundle; profiled by the command that a user types."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adbd_device import AdbdDevice

from tests.e2e.conftest import PhoneEnv
from tests.e2e.test_kill import SMALL, stored, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

HOST = [sys.executable, "-m", "chamnet_host"]


@pytest.fixture
def phone_env(device: AdbdDevice, env_with: PhoneEnv) -> dict[str, str]:
    """Return the environment of a user with a phone."""
    return env_with(device, "x86_64")


def host(arguments: list[str], folder: Path, env: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [*HOST, *arguments, "--json"], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def profiling(phone_env: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*HOST, "profile", "--target", "phone", "--space", str(SMALL), "--json"],
        cwd=tmp_path, env=phone_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def test_a_pulled_cable_costs_nothing_that_is_stored(
    profiling: subprocess.Popen[str], phone_env: dict[str, str], device: AdbdDevice, tmp_path: Path
) -> None:
    wait_for(lambda: len(stored(tmp_path)) > 40, 400)
    device.unplug()
    before = stored(tmp_path)
    time.sleep(2)  # long enough to be noticed
    assert profiling.poll() is None
    device.plug()
    out, err = profiling.communicate(timeout=400)
    assert profiling.returncode == 0, err
    body = json.loads(out)
    after = stored(tmp_path)
    assert after[: len(before)] == before
    assert len(set(after)) == len(after)
    assert body["reconnects"] >= 1
    assert body["visits"]["stored"] == body["visits"]["planned"]
    assert body["failed"] == 0

    again = host(["profile", "--target", "phone", "--space", str(SMALL)], tmp_path, phone_env)
    assert again["visits"]["stored"] == 0
    (found,) = host(["devices", "show", "phone"], tmp_path, phone_env)["devices"]
    assert found["reachable"]
    assert host(["deploy", "--target", "phone"], tmp_path, phone_env)["bytes_sent"] == 0
    host(["undeploy", "--target", "phone"], tmp_path, phone_env)
    assert not device.path("/data/local/tmp/chamnet").exists()


def test_a_phone_that_is_gone_is_told_with_what_to_do(
    phone_env: dict[str, str], device: AdbdDevice, tmp_path: Path, ask: Callable[..., Any]
) -> None:
    device.unplug()
    done = subprocess.run(
        [*HOST, "deploy", "--target", "phone"], cwd=tmp_path, env=phone_env, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 1
    assert device.address in done.stderr
    assert "Traceback" not in done.stderr
    device.plug()
