"""Behaves like benchmark_model of LiteRT at its edges: flags, exit codes, the two files that it writes for programs.

Reads the operators of the TFLite file, lets a delegate take them or not, and encodes the messages by itself. It runs alone,
with the standard library only, as a program:

    --use_fake=true              the delegate; it takes every operator
    --use_xnnpack=true           XNNPACK asked for by name
    --fake_refuses=RESHAPE,ADD   but for these
    --fake_spares=true           XNNPACK takes what the delegate leaves, as in TensorFlow Lite by default
    --fake_splits=true           the delegate takes each operator as a piece of its own
    --fake_absent=true           the delegate cannot be made: an old tool goes on without, whatever is required
    --fake_needs=NAME            ends at once unless the environment has NAME
    --fake_mean_us=12.5,13       what calls take, run by run
    --fake_incompatible=true     it aborts when it is to use the delegate alone, as LiteRT's own does with --use_cpu=true
    --fake_exit=3, --fake_signal=11, --fake_hangs=FOLDER, --fake_writes=nothing|text|empty
    --fake_only=OPERATOR         of these, only for files that have the operator
"""

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

NAMES = {0: "ADD", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 9: "FULLY_CONNECTED", 22: "RESHAPE", 40: "MEAN"}


def operators(data: bytes) -> list[str]:
    def u32(at: int) -> int:
        return struct.unpack_from("<I", data, at)[0]

    def at_offset(at: int) -> int:
        return at + u32(at)

    def field(table: int, number: int) -> int:
        vtable = table - struct.unpack_from("<i", data, table)[0]
        size = struct.unpack_from("<H", data, vtable)[0]
        entry = 4 + 2 * number
        shift = struct.unpack_from("<H", data, vtable + entry)[0] if entry < size else 0
        return table + shift if shift else 0

    def tables(at: int) -> list[int]:
        vector = at_offset(at)
        return [at_offset(vector + 4 + 4 * i) for i in range(u32(vector))]

    if data[4:8] != b"TFL3":
        raise ValueError("no model")
    model = at_offset(0)
    codes = []
    for code in tables(field(model, 1)):
        new, old = field(code, 3), field(code, 0)
        number = max(struct.unpack_from("<i", data, new)[0] if new else 0, data[old] if old else 0)
        codes.append(NAMES.get(number, f"OP_{number}"))
    graph = tables(field(model, 2))[0]
    found = []
    for node in tables(field(graph, 3)):
        index = field(node, 0)
        found.append(codes[u32(index) if index else 0])
    return found


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def message(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def plan(flags: dict[str, str], names: list[str]) -> tuple[list[tuple[str, str]], list[int], bool]:
    """Return all nodes with their delegates, the places of those that run, and whether one asked for took it all."""
    refused = set(flags.get("fake_refuses", "").split(","))
    wanted = [
        name for flag, name in (("use_fake", "FakeDelegate"), ("use_xnnpack", "TfLiteXNNPackDelegate"))
        if flags.get(flag) == "true" and not (flag == "use_fake" and flags.get("fake_absent"))
    ]  # fmt: skip
    nodes = [(name, "") for name in names]
    if not wanted:
        return [*nodes, ("TfLiteXNNPackDelegate",) * 2], [len(nodes)], bool(flags.get("fake_absent"))
    running, before = [], ""
    for place, name in enumerate(names):
        delegate = (
            wanted[0] if name not in refused else "TfLiteXNNPackDelegate" if flags.get("fake_spares") else ""
        )
        if not delegate:
            running.append(place)
        elif delegate != before or flags.get("fake_splits"):
            running.append(len(nodes))
            nodes.append((delegate, delegate))
        before = delegate
    return nodes, running, len(running) == 1 and nodes[running[0]][1] == wanted[0]


def details(nodes: list[tuple[str, str]], running: list[int]) -> bytes:
    graph = b""
    for index, (name, delegate) in enumerate(nodes):
        node = varint(1 << 3) + varint(index) + message(2, name.encode()) + message(3, b"a type")
        graph += message(3, node + (message(8, message(1, delegate.encode())) if delegate else b""))
    return message(1, b"a model") + message(2, graph + message(4, b"".join(map(varint, running))))


def result(mean_us: float, runs: int) -> bytes:
    times = b"".join(varint(n << 3 | 5) + struct.pack("<f", mean_us / 1_000) for n in range(1, 8))
    misc = varint(1 << 3 | 5) + struct.pack("<f", 0.5) + varint(2 << 3) + varint(runs)
    return message(2, times) + message(4, misc)


def next_mean_us(flags: dict[str, str], graph: Path) -> float:
    means = [float(each) for each in flags.get("fake_mean_us", "100").split(",")]
    counter = graph.with_name("runs")
    done = int(counter.read_text()) if counter.exists() else 0
    counter.write_text(str(done + 1))
    return means[done % len(means)]


def hang(folder: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (folder / "pids.new").write_text(f"{os.getpid()} {child.pid}")
    (folder / "pids.new").rename(folder / "pids")
    time.sleep(600)


def end_early(flags: dict[str, str]) -> None:
    if "fake_incompatible" in flags and flags.get("require_full_delegation") == "true":
        os.abort()
    if "fake_signal" in flags:
        os.kill(os.getpid(), int(flags["fake_signal"]))
    if "fake_hangs" in flags:
        hang(Path(flags["fake_hangs"]))


def main(words: list[str]) -> int:
    flags = dict(word.removeprefix("--").split("=", 1) for word in words)
    print("INFO: this is the log, not for programs: avg=1 us")  # noqa: T201
    if flags.get("fake_needs", "PATH") not in os.environ:
        print(f"CANNOT LINK EXECUTABLE: set {flags['fake_needs']}", file=sys.stderr)  # noqa: T201
        return 1
    graph = Path(flags["graph"])
    try:
        names = operators(graph.read_bytes())
    except (ValueError, struct.error):
        print("ERROR: Failed to load model", file=sys.stderr)  # noqa: T201
        return 1
    if flags.get("fake_only", names[0]) not in names:
        flags = {name: value for name, value in flags.items() if not name.startswith("fake_")}
    if "fake_exit" in flags:
        print("ERROR: Failed to apply the fake delegate.", file=sys.stderr)  # noqa: T201
        return int(flags["fake_exit"])
    end_early(flags)
    nodes, running, whole = plan(flags, names)
    if flags.get("require_full_delegation") == "true" and not whole:
        print("ERROR: Disallowed CPU fallback detected.", file=sys.stderr)  # noqa: T201
        return 1
    mean_us = next_mean_us(flags, graph)
    writes = flags.get("fake_writes", "")
    for path, content in (
        (flags["model_runtime_info_output_file"], details(nodes, running)),
        (flags["result_file_path"], result(mean_us, int(flags["num_runs"]))),
    ):
        if writes != "nothing":
            Path(path).write_bytes({"text": b"avg=1 us\n", "empty": b""}.get(writes, content))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
