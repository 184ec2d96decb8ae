"""What a call to an agent costs through adb, and how long a bundle takes to a device.

    python benchmarks/adb_overhead.py [--calls 1000] [--rounds 5] [--bundle ~/.cache/chamnet/bundles/android-x86_64-full]

Runs real adbd in namespaces of its own, as the tests do, and on it an agent by this machine's Python. Ways to the same agent code take turns:
this machine's loopback, an adb server's forward, and adb-shell without a server. Wall clock, medians of rounds and their spread.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from adbutils import adb_path
from common import options, write

from chamnet_host.bundles.downloads import default_cache
from chamnet_host.client import DeviceClient
from chamnet_host.transport.adb.transport import AdbTransport
from chamnet_host.transport.local import LocalTransport

sys.path.append(str(Path(__file__).parents[1] / "tests/adbd"))
from adbd_device import AdbdDevice
from adbd_root import adbd_root
from machine_bundle import binds, make_bundle


def main() -> None:
    """Time the ways in turn, then a bundle."""
    parser = options(__doc__)
    parser.add_argument("--calls", type=int, default=1_000, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bundle", type=Path, help="a bundle of `chamnet-host bundle` for this processor")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environ = _private_server(stack, folder)
        template = adbd_root(default_cache(os.environ) / "tests")
        devices = [
            stack.enter_context(AdbdDevice(template, folder / name, binds=binds())) for name in ("one", "two")
        ]
        bundle = make_bundle(folder / "bundle")
        ways = {
            "loopback": LocalTransport(own=True),
            "adb server": AdbTransport(bundle, serial=devices[0].address, way="server", environ=environ, backend="fake"),
            "adb-shell": AdbTransport(bundle, serial=devices[1].address, way="direct", environ=environ, backend="fake"),
        }  # fmt: skip
        clients = {}
        for name, transport in ways.items():
            stack.callback(transport.close)
            connection = transport.open()
            clients[name] = stack.enter_context(
                DeviceClient(connection.address, connection.token, tls=connection.tls)
            )
        taken = {name: [] for name in clients}
        for _ in range(asked.rounds):
            for name, client in clients.items():
                taken[name].append(statistics.median(_call_us(client) for _ in range(asked.calls)))
        for name, us in taken.items():
            ratio = statistics.median(a / b for a, b in zip(us, taken["loopback"], strict=True))
            write(
                f"{name:12} {statistics.median(us):6.0f} µs a call ({min(us):.0f} to {max(us):.0f}), {ratio:.2f} of loopback"
            )
        if asked.bundle:
            _time_bundle(asked.bundle, devices[0].address, environ)


def _private_server(stack: ExitStack, folder: Path) -> dict[str, str]:
    """Return an environment whose adb server is nobody else's."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    stack.callback(subprocess.run, [adb_path(), "-P", port, "kill-server"], check=False, capture_output=True)
    return {"HOME": str(folder), "PATH": os.environ["PATH"], "ANDROID_ADB_SERVER_PORT": port, "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554"}  # fmt: skip


def _call_us(client: DeviceClient) -> float:
    start_ns = time.perf_counter_ns()
    client.health()
    return (time.perf_counter_ns() - start_ns) / 1e3


def _time_bundle(bundle: Path, serial: str, environ: dict[str, str]) -> None:
    for what in ("first", "unchanged"):
        transport = AdbTransport(bundle, serial=serial, environ=environ, folder="/data/local/tmp/timed")
        start_s = time.perf_counter()
        transport.open()
        write(f"{what:12} {time.perf_counter() - start_s:6.1f} s until the bundle's agent answers")
        transport.close()


if __name__ == "__main__":
    main()
