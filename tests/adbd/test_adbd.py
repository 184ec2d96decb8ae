import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from adbd_device import AdbdDevice
from adbd_fixtures import AdbServer, DeviceStarter

from tests.processes import eventually

adbutils = pytest.importorskip("adbutils")

Adb = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def adb(adb_server: AdbServer) -> Adb:
    """Return a function that runs adb against the private server."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [adbutils.adb_path(), "-P", str(adb_server.port), *arguments]
        environ = {"HOME": str(adb_server.home), "PATH": os.environ["PATH"]}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_a_device_answers_adb(device: AdbdDevice, adb: Adb) -> None:
    adb("connect", device.address)
    done = adb("-s", device.address, "shell", "echo out; echo err >&2; cd /data/local/tmp && pwd; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n/data/local/tmp\n", "err\n")


def test_stubs_answer_as_they_are_told(device: AdbdDevice, adb: Adb) -> None:
    device.answer("getprop ro.product.model", "Test Phone\n")
    device.answer("settings", "")
    adb("connect", device.address)
    assert adb("-s", device.address, "shell", "getprop ro.product.model").stdout == "Test Phone\n"
    assert adb("-s", device.address, "shell", "settings put global airplane_mode_on 1").returncode == 0
    assert "no answer set for: battery" in adb("-s", device.address, "shell", "dumpsys battery").stderr
    assert device.calls()[1] == "settings put global airplane_mode_on 1"


def test_sysfs_is_what_the_test_writes(device: AdbdDevice, adb: Adb) -> None:
    assert list(device.path("/sys").iterdir()) == []
    device.path("/sys/class").mkdir()
    device.path("/sys/class/made_up").write_text("1\n")
    adb("connect", device.address)
    assert adb("-s", device.address, "shell", "ls /sys/class").stdout == "made_up\n"


def test_two_devices_do_not_know_of_each_other(start_device: DeviceStarter, adb: Adb) -> None:
    first, second = start_device(), start_device()
    for each in (first, second):
        adb("connect", each.address)
    adb(
        "-s",
        first.address,
        "shell",
        "touch /data/local/tmp/mine; setsid sleep 1000 >/dev/null 2>&1 </dev/null &",
    )
    assert first.path("/data/local/tmp/mine").exists()
    assert not second.path("/data/local/tmp/mine").exists()
    assert "sleep 1000" in adb("-s", first.address, "shell", "ps -A -o ARGS").stdout
    assert "sleep 1000" not in adb("-s", second.address, "shell", "ps -A -o ARGS").stdout


def test_a_locked_device_wants_a_key(locked_device: AdbdDevice, adb_server: AdbServer, adb: Adb) -> None:
    assert "failed to authenticate" in adb("connect", locked_device.address).stdout
    assert f"{locked_device.address}\tunauthorized" in adb("devices").stdout
    locked_device.authorise(adb_server.public_key)
    adb("disconnect", locked_device.address)
    assert "connected to" in adb("connect", locked_device.address).stdout
    assert adb("-s", locked_device.address, "shell", "echo in").stdout == "in\n"


def test_a_cable_can_be_pulled(device: AdbdDevice, adb: Adb) -> None:
    adb("connect", device.address)
    device.unplug()
    assert adb("-s", device.address, "shell", "echo in").returncode != 0
    device.plug()
    adb("disconnect", device.address)
    adb("connect", device.address)
    assert adb("-s", device.address, "shell", "echo in").stdout == "in\n"


def test_a_device_ends_with_tests_that_are_shot(
    adbd_template: Callable[[str], Path], device: AdbdDevice, tmp_path: Path
) -> None:
    # device: skips where none can run
    template = adbd_template("x86_64")
    code = (
        "import pathlib, sys, time; from adbd_device import AdbdDevice; "
        f"device = AdbdDevice(pathlib.Path({str(template)!r}), pathlib.Path({str(tmp_path / 'root')!r})); "
        "print(device.address, flush=True); time.sleep(60)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environ
    ) as tests:
        assert tests.stdout is not None
        assert tests.stdout.readline()
        assert processes_under(tmp_path / "root")
        tests.send_signal(signal.SIGKILL)
    assert eventually(lambda: not processes_under(tmp_path / "root"))


def processes_under(root: Path) -> list[str]:
    """Return the command lines that name a root, or run inside it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(root) in lines or str((process / "root").readlink()) == str(root):
                found.append(lines)
        except OSError:  # ended meanwhile
            continue
    return found
