import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from adbd_device import AdbdDevice
from adbd_fixtures import AdbServer, DeviceStarter
from machine_bundle import binds, make_bundle, summed_up

from chamnet.errors import BundleError, ConfigError, DeviceBusyError, DeviceUnreachableError
from chamnet.records import Item, Policy
from chamnet_agent import sysinfo
from chamnet_agent.testing import Script
from chamnet_host.app import run
from chamnet_host.client import DeviceClient
from chamnet_host.profiles import DeviceProfile
from chamnet_host.testing import TransportContract
from chamnet_host.transport.adb.transport import AdbTransport
from chamnet_host.transport.base import Connection

FOLDER = "/data/local/tmp/chamnet"
UNIT = "conv:f32:1x8x16x16:o16:k3:relu"
CORE = str(sysinfo.usable_cores()[0])
PATIENCE_S = 90.0  # for what takes a second on an idle machine
# A lease longer than a busy machine takes from an agent's start to its first call; the log says how it ended.
LEASED: dict[str, Any] = {"lease_s": 5, "flags": ("--verbose",)}

Maker = Callable[..., AdbTransport]


@pytest.fixture
def phone(start_device: DeviceStarter) -> AdbdDevice:
    """Return a device that can run this machine's Python."""
    return start_device(binds=binds())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle", Script(run_ns={UNIT: (2_000_000,)}))


@pytest.fixture
def make(phone: AdbdDevice, bundle: Path, environ: dict[str, str]) -> Iterator[Maker]:
    """Return a function that makes a transport to the phone; closed with the test."""
    with ExitStack() as stack:

        def make(**settings) -> AdbTransport:
            settings = {"way": "direct", "backend": "fake", "cores": CORE, **settings}
            transport = AdbTransport(bundle, serial=phone.address, environ=environ, **settings)
            stack.callback(transport.close)
            return transport

        yield make


class TestThroughServer(TransportContract):
    @pytest.fixture
    def transport(self, make: Maker) -> AdbTransport:
        return make(way="server")


class TestWithoutServer(TransportContract):
    @pytest.fixture
    def transport(self, make: Maker) -> AdbTransport:
        return make()


class TestWithKey(TransportContract):
    @pytest.fixture
    def transport(
        self, start_device: DeviceStarter, bundle: Path, environ: dict[str, str], adb_server: AdbServer
    ) -> AdbTransport:
        phone = start_device(auth=True, binds=binds())
        phone.authorise(adb_server.public_key)
        return AdbTransport(bundle, serial=phone.address, environ=environ, backend="fake", cores=CORE)


def agents_on(phone: AdbdDevice) -> set[int]:
    """Return the process ids, out here, of the agents that run on a device."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().split(b"\0")
            if b"serve" in line and b"chamnet_agent" in line and (process / "root").readlink() == phone.root:
                found.add(int(process.name))
        except OSError:  # ended meanwhile
            continue
    return found


def wait_until(comes_true: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not comes_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def is_called(pid: int, phone: AdbdDevice) -> bool:
    """Return whether a host is connected to the agent that a process out here is."""
    port = json.loads(phone.path(f"{FOLDER}/var/agent/agent.json").read_text())["port"]
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def written(file: Path) -> bool:
    return file.exists() and bool(file.read_text())


def ended_with_its_lease(phone: AdbdDevice) -> bool:
    """Return, once the agent on a device has ended, whether that was for want of calls, not because it was told to."""
    wait_until(lambda: not agents_on(phone))
    return "ending: no host called" in phone.path(f"{FOLDER}/var/log").read_text()


@pytest.mark.parametrize("way", ["server", "direct"])
def test_units_are_measured_on_the_device(make: Maker, way: str) -> None:
    connection = make(way=way).open()
    with DeviceClient(connection.address, connection.token, tls=connection.tls) as client:
        item = Item(visit_id="1", blocks=(UNIT,))
        (visit,) = client.measure([item], Policy(mode="ring", laps=3))
    assert visit.status == "ok"
    assert min(visit.samples_ns) >= 2_000_000


def test_a_tool_that_the_user_put_on_the_device_is_driven(make: Maker, phone: AdbdDevice) -> None:
    place, script = "/data/local/tmp/benchmark_model", "/data/local/tmp/fake.py"
    tool = phone.root / place[1:]
    tool.write_text(f'#!/system/bin/sh\nexec {FOLDER}/agent-python -S {script} "$@"\n')
    tool.chmod(0o755)
    shutil.copy(Path(__file__).parents[3] / "agent/backends/benchmark_model_fake.py", phone.root / script[1:])
    profile = DeviceProfile(
        name="phone", native_tool=place, native_tool_args="FAKE_LIB=/x --use_fake=true --fake_needs=FAKE_LIB"
    )
    connection = make(flags=profile.agent_flags).open()
    with DeviceClient(connection.address, connection.token, tls=connection.tls) as client:
        item = Item(visit_id="1", blocks=(UNIT,))
        (visit,) = client.measure([item], Policy(mode="loop", laps=2), backend="native-tool")
    assert (visit.status, visit.samples_ns) == ("ok", (100_000, 100_000))


def test_opening_again_sends_nothing(make: Maker) -> None:
    told = []
    for _ in range(2):
        transport = make(progress=lambda done, total, path: told.append(path))
        transport.open()
        transport.close()
    assert told.count("") == 1
    assert told[-1] == ""


def test_its_files_are_for_nobody_else(make: Maker, phone: AdbdDevice) -> None:
    make().open()
    state = phone.path(f"{FOLDER}/var/agent")
    for path in (phone.path(FOLDER), state, state / "token"):
        assert path.stat().st_mode & 0o077 == 0


def shoot_host(bundle: Path, phone: AdbdDevice, environ: dict[str, str], **settings) -> Connection:
    """Open a transport in another process, and kill that; return what it had reached."""
    settings = {"way": "direct", "backend": "fake", "cores": CORE, **settings}
    code = (
        "import pathlib, time; from chamnet_host.transport.adb.transport import AdbTransport; "
        f"AdbTransport(pathlib.Path({str(bundle)!r}), serial={phone.address!r}, **{settings!r}).open(); "
        "print('open', flush=True); time.sleep(60)"
    )
    everything = {**os.environ, **environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=everything
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "open\n"
        host.send_signal(signal.SIGKILL)


def test_the_agent_of_a_host_that_was_shot_is_replaced(
    make: Maker, phone: AdbdDevice, bundle: Path, environ: dict[str, str]
) -> None:
    shoot_host(bundle, phone, environ)
    (stale,) = agents_on(phone)
    wait_until(lambda: not is_called(stale, phone))  # the phone has noticed
    (bundle / "data/added").write_text("another bundle now\n")
    summed_up(bundle)
    transport = make()
    transport.open()
    (running,) = agents_on(phone)
    assert running != stale
    transport.close()
    assert not agents_on(phone)


def test_an_agent_without_a_host_ends_with_its_lease(
    phone: AdbdDevice, bundle: Path, environ: dict[str, str]
) -> None:
    shoot_host(bundle, phone, environ, **LEASED)
    assert ended_with_its_lease(phone)


def test_hosts_share_an_agent_that_is_the_same_for_both(make: Maker, phone: AdbdDevice) -> None:
    first, second = make(), make()
    connection = first.open()
    with DeviceClient(connection.address, connection.token, tls=connection.tls) as client:
        client.health()
        shared = second.open()
        assert shared.token == connection.token
        second.close()
        assert client.health()
    first.close()
    assert not agents_on(phone)


def test_an_agent_at_work_for_another_host_is_left_alone(make: Maker, bundle: Path) -> None:
    connection = make().open()
    with DeviceClient(connection.address, connection.token, tls=connection.tls) as client:
        client.health()
        with pytest.raises(DeviceBusyError, match=r"with other settings works there for another host.*kill "):
            make(cores="auto").open()
        (bundle / "data/added").write_text("another bundle now\n")
        summed_up(bundle)
        with pytest.raises(DeviceBusyError, match="of another bundle"):
            make().open()
        assert client.health()


def test_an_agent_that_another_host_started_meanwhile_is_left_alone(
    make: Maker, bundle: Path, phone: AdbdDevice
) -> None:
    first = make()
    opened: list[Connection] = []

    def meanwhile(done: int, total: int, path: str) -> None:
        if not opened and not path:  # all is sent
            opened.append(first.open())

    late = make(progress=meanwhile)
    with pytest.raises(DeviceBusyError, match="another host has just started an agent; try again"):
        late.open()
    (connection,) = opened
    with DeviceClient(connection.address, connection.token, tls=None) as client:
        assert client.health()
        assert phone.path(f"{FOLDER}/var/agent/agent.json").exists()
        assert "serving on 127.0.0.1" in first.last_words()
        assert late.open().token == connection.token
        late.close()
        assert client.health()


class LettingGo:
    """A clock by which no wait ever takes too long; the first wait makes a file.

    Args:
        file: What somebody else waits for.
    """

    cpu_ns = staticmethod(time.thread_time_ns)

    def __init__(self, file: Path) -> None:
        self._file = file

    def now_ns(self) -> int:
        return 0

    def sleep_s(self, seconds: float) -> None:
        self._file.touch()
        time.sleep(seconds)


def test_an_agent_that_another_host_is_just_starting_is_waited_for(
    make: Maker, bundle: Path, phone: AdbdDevice
) -> None:
    launcher, go = bundle / "agent-python", f"{FOLDER}/var/go"
    waits = f"until [ -e {go} ]; do sleep 0.1; done\n"
    launcher.write_text(launcher.read_text().replace("exec ", f"{waits}exec ", 1))
    summed_up(bundle)
    sender = make(clock=LettingGo(phone.path(go)))
    sender.open()
    sender.close()
    phone.path(go).unlink()
    first, second = make(), make(clock=LettingGo(phone.path(go)))
    joined = threading.Event()

    def work() -> str:
        connection = first.open()
        with DeviceClient(connection.address, connection.token, tls=None) as client:
            client.health()
            joined.wait(PATIENCE_S)
        return connection.token

    with ThreadPoolExecutor(1) as other:
        working = other.submit(work)
        wait_until(lambda: agents_on(phone) and written(phone.path(f"{FOLDER}/var/pid")))
        shared = second.open().token  # its first wait lets the agent start
        joined.set()
        assert shared == working.result()


def test_an_agent_that_cannot_start_as_asked_says_why(make: Maker, phone: AdbdDevice) -> None:
    with pytest.raises(ConfigError, match=f"{phone.address}: .*--backend cuda: unknown; known: "):
        make(backend="cuda").open()
    assert not agents_on(phone)


def with_launcher(bundle: Path, script: str) -> None:
    (bundle / "agent-python").write_text(f"#!/system/bin/sh\n{script}\n")
    summed_up(bundle)


def test_an_agent_that_dies_quotes_its_last_lines(make: Maker, bundle: Path) -> None:
    with_launcher(bundle, "echo no luck today >&2; exit 5")
    with pytest.raises(
        DeviceUnreachableError, match=r"(?s)ended at once, with 5; its last lines:\nno luck today"
    ):
        make().open()


def test_an_agent_that_never_answers_is_given_up_and_ended(
    make: Maker, bundle: Path, phone: AdbdDevice
) -> None:
    with_launcher(bundle, "while :; do sleep 0.1; done")
    with pytest.raises(DeviceUnreachableError, match="did not answer within 0 s, without a word"):
        make(start_s=0.3).open()
    wait_until(lambda: not agents_on(phone))


def test_a_folder_that_is_no_bundle_is_said_before_the_device_is_asked(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        AdbTransport(tmp_path, serial="127.0.0.1:1").open()


@pytest.mark.parametrize("way", ["server", "direct"])
def test_a_device_that_went_away_can_be_closed(make: Maker, phone: AdbdDevice, way: str) -> None:
    transport = make(way=way, **LEASED)
    transport.open()
    phone.unplug()
    assert transport.last_words() == ""
    transport.close()
    assert ended_with_its_lease(phone)  # it did not know before


def test_last_words_are_the_agents(make: Maker) -> None:
    transport = make()
    assert transport.last_words() == ""
    transport.open()
    assert "serving on 127.0.0.1" in transport.last_words()


SETTINGS = """\
#!/system/bin/sh
case $1 in get) cat /stubs/$3 ;; put) echo $4 >/stubs/$3.new && mv /stubs/$3.new /stubs/$3 ;; esac
"""


@pytest.fixture
def stays_on(phone: AdbdDevice) -> Path:
    """Return a file with what the phone has as its setting to stay awake: 2."""
    phone.path("/system/bin/settings").write_text(SETTINGS)
    setting = phone.path("/stubs/stay_on_while_plugged_in")
    setting.write_text("2\n")
    return setting


def becomes(setting: Path, value: str) -> bool:
    wait_until(lambda: setting.read_text().strip() == value)
    return True


def reboot(phone: AdbdDevice) -> None:
    """End everything that ChamNet runs on the phone, first what would put things right."""
    for what in (b"stay_on_while_plugged_in", b"chamnet_agent"):
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if what in (process / "cmdline").read_bytes() and (process / "root").readlink() == phone.root:
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:  # ended meanwhile
                continue


def test_a_phone_is_kept_awake_and_left_as_it_was(make: Maker, phone: AdbdDevice, stays_on: Path) -> None:
    make().open()
    assert stays_on.read_text() == "7\n"
    (pid,) = agents_on(phone)
    os.kill(pid, signal.SIGKILL)  # nobody is left on the host's side to set it back
    assert becomes(stays_on, "2")


def test_a_phone_that_was_rebooted_awake_is_set_back_by_the_next_run(
    make: Maker, phone: AdbdDevice, stays_on: Path
) -> None:
    make().open()
    reboot(phone)
    assert stays_on.read_text() == "7\n"
    again = make()
    again.open()
    assert stays_on.read_text() == "7\n"
    again.close()
    assert becomes(stays_on, "2")


def test_undeploying_sets_a_phone_back_that_was_rebooted_awake(
    make: Maker,
    phone: AdbdDevice,
    stays_on: Path,
    tmp_path: Path,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make().open()
    reboot(phone)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "phone.toml").write_text(
        f'transport = "adb"\nserial = "{phone.address}"\nbundle = "android-x86_64"\n'
    )
    assert run(["undeploy", "--target", "phone", "--profiles", str(tmp_path)]) == 0
    assert stays_on.read_text() == "2\n"
    assert not phone.path(FOLDER).exists()


def test_what_the_user_set_after_a_reboot_stays(make: Maker, phone: AdbdDevice, stays_on: Path) -> None:
    make().open()
    reboot(phone)
    stays_on.write_text("0\n")
    again = make()
    again.open()
    assert stays_on.read_text() == "7\n"
    again.close()
    assert becomes(stays_on, "0")


def test_a_phone_stays_awake_for_the_agent_that_comes_next(
    make: Maker, phone: AdbdDevice, stays_on: Path
) -> None:
    first = make()
    first.open()
    first.close()
    second = make()
    second.open()  # before the first one's end was noticed, or after
    time.sleep(3)
    assert stays_on.read_text() == "7\n"
    second.close()
    assert becomes(stays_on, "2")


def test_a_phone_that_is_set_back_late_stays_awake_for_the_agent_that_came_meanwhile(
    make: Maker, phone: AdbdDevice, stays_on: Path
) -> None:
    late, go, done = (phone.path(f"/stubs/{name}") for name in ("late", "go", "done"))
    waits = "touch /stubs/late; until [ -e /stubs/go ]; do sleep 0.1; done"
    phone.path("/system/bin/settings").write_text(
        SETTINGS.replace("case", f'if [ "$1 $4" = "put 2" ]; then {waits}; fi\ncase', 1)
        + "touch /stubs/done\n"
    )
    first, second = make(), make()
    first.open()
    first.close()
    wait_until(late.exists)  # its end was noticed
    second.open()
    assert stays_on.read_text() == "7\n"
    done.unlink()
    go.touch()
    wait_until(done.exists)
    assert becomes(stays_on, "7")
    second.close()
    assert becomes(stays_on, "2")


def test_a_phone_that_does_not_let_itself_be_asked_is_measured_all_the_same(
    make: Maker, phone: AdbdDevice
) -> None:
    phone.answer("settings get global stay_on_while_plugged_in", "null\n")
    make().open()
    assert not [call for call in phone.calls() if "put" in call]
