"""Runs adbd as the only device of a small world: process 1 of its own user, process, mount and network namespaces.

Started by `adbd_device.AdbdDevice` through unshare(1). Everything in the cell ends with this process, and this process
ends when its stdin closes: with the tests, however these end. Orders come in as lines:

- `unplug`: cut every connection and refuse new ones;
- `freeze`: keep them, but carry nothing;
- `plug`: carry again.
"""

import argparse
import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

ADBD = "/usr/lib/android-sdk/platform-tools/adbd"
PORT = 15_555
CHUNK = 1 << 18
BINFMT = "proc/sys/fs/binfmt_misc"
CPU = "cortex-a76"  # as in phones since 2018; left to itself, qemu emulates all that any processor has
# Programs for aarch64: the first 20 bytes of an ELF file, and which bits of these count. Flag F opens the emulator now,
# from outside of the root; P hands it the name that the program was called by, which is how busybox knows what to do.
AARCH64 = (
    r":aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:{emulator}:FP"
)
START_S = 60.0
IFF_UP = 1
SIOCSIFFLAGS = 0x8914
MS_REC_SLAVE = 0x4000 | 0x80000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument(
        "listener", type=int, help="file descriptor of a socket that listens outside the cell"
    )
    parser.add_argument(
        "binds", nargs="*", help="SOURCE:TARGET, a folder outside and where it appears inside"
    )
    parser.add_argument("--emulator", type=Path, help="program that runs those for aarch64")
    arguments = parser.parse_args()
    raise_loopback()
    mount(arguments.root, [bind.split(":") for bind in arguments.binds])
    if arguments.emulator:
        emulate(arguments.root, arguments.emulator)
    adbd = start_adbd(arguments.root)
    wait_until_it_listens(adbd)
    cable = Cable(socket.socket(fileno=arguments.listener))
    threading.Thread(target=obey, args=(cable,), daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while os.wait()[0] != adbd:  # what loses its parent in here becomes a child of this process
        pass
    os._exit(1)


def raise_loopback() -> None:
    """Bring up `lo`, the only interface in here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def mount(root: Path, binds: list[list[str]]) -> None:
    """Give the device its own /proc, this machine's /dev, and what the test binds into it, never sysfs."""
    ctypes.CDLL(None, use_errno=True).mount(None, b"/", None, MS_REC_SLAVE, None)
    places = [("--rbind", "/dev", "dev")]
    places += [("--rbind", source, target.lstrip("/")) for source, target in binds]
    for how, source, target in places:
        (root / target).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", how, source, root / target], check=True)
    (root / "proc").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)


def emulate(root: Path, emulator: Path) -> None:
    """Run programs for aarch64 by an emulator, in here and nowhere else."""
    mounting = ["mount", "-t", "binfmt_misc", "binfmt_misc", root / BINFMT]
    done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())
        sys.exit(f"no binfmt_misc in a user namespace, as Linux has it from 6.7: {said}")
    (root / BINFMT / "register").write_text(AARCH64.format(emulator=emulator))


def start_adbd(root: Path) -> int:
    """Return the process id of adbd, which sees nothing but the root."""
    if not (pid := os.fork()):
        become_adbd(root)
    return pid


def become_adbd(root: Path) -> NoReturn:
    os.chroot(root)
    os.chdir("/")
    log = os.open("/adbd.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for inside, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(inside, standard)
    environ = {
        "ADBD_PORT": str(PORT),
        "HOME": "/",
        "PATH": "/system/bin:/bin",
        "TMPDIR": "/data/local/tmp",
        "QEMU_CPU": CPU,  # heeded by an emulator
        "ADB_TRACE": os.environ.get("ADB_TRACE", ""),
    }
    os.execve(ADBD, [ADBD], environ)


def wait_until_it_listens(adbd: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", PORT), timeout=1).close()
        except ConnectionRefusedError:
            if os.waitpid(adbd, os.WNOHANG)[0]:
                sys.exit("adbd ended at once")
            time.sleep(0.005)
        else:
            return
    sys.exit(f"adbd does not listen after {START_S:.0f} s")


def obey(cable: "Cable") -> None:
    for order in sys.stdin:
        getattr(cable, order.strip())()
        sys.stdout.write("done\n")
        sys.stdout.flush()
    os._exit(0)


class Cable:
    """Carries connections from a socket outside the cell to adbd inside."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._open: list[socket.socket] = []
        self._plugged = True
        self._flows = threading.Event()
        self._flows.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def unplug(self) -> None:
        self._plugged = False
        self._flows.set()
        cut, self._open = self._open, []
        for end in cut:
            reset(end)

    def freeze(self) -> None:
        self._flows.clear()

    def plug(self) -> None:
        self._plugged = True
        self._flows.set()

    def _accept(self) -> None:
        while True:
            outside, _ = self._listener.accept()
            if not self._plugged:
                reset(outside)
                continue
            inside = socket.create_connection(("127.0.0.1", PORT))
            for end in (outside, inside):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open += [outside, inside]
            for pair in ((outside, inside), (inside, outside)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := source.recv(CHUNK):
                self._flows.wait()
                sink.sendall(chunk)
        except OSError:
            pass
        for end in (source, sink):
            reset(end)


def reset(end: socket.socket) -> None:
    """End a connection at once, whoever waits on it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


if __name__ == "__main__":
    main()
