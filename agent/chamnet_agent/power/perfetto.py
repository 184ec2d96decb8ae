"""Power rails of a phone that is not rooted: its shell may ask Android's tracing service, Perfetto, for them.

`/system/bin/perfetto` is started with a configuration on its standard input, and ended when the meter is closed.
Android asks the vendor's power-statistics service for the rails at the pace of `battery_poll_ms` (no faster than
100 ms) and writes packets into a file below `/data/misc/perfetto-traces`, which the shell may read while it grows;
without `flush_period_ms` they would wait in a buffer until the end [power]. A packet has the counters of all rails in
µWs, with the time since the start of the phone; the first one names them [rails]. Phones whose maker does not offer
such a service, almost all but Pixels since the Pixel 6, send no packets.

[power]: google/perfetto, src/traced/probes/power/android_power_data_source.cc
[rails]: google/perfetto, protos/perfetto/trace/power/power_rails.proto
"""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from google.protobuf.message import DecodeError

from chamnet.clock import Clock, SystemClock
from chamnet.energy import Rail, Reading
from chamnet.errors import MeterError
from chamnet.records import Component
from chamnet.wire import perfetto_subset_pb2 as pb
from chamnet_agent.power.base import DEFAULT_SETTINGS, MeterSettings
from chamnet_agent.power.pixel import pixel_rail
from chamnet_agent.power.sysfs import check_names, unreadable, why_not

__all__ = ["PerfettoMeter", "whole_packets"]

_PERIOD_MS = 250
_WRITTEN_MS = 500
_LONGEST_MS = 3 * 3_600_000  # an agent that is killed cannot end it
_LARGEST_BYTES = 200_000_000
_CONFIG = f"""
buffers {{ size_kb: 1024 fill_policy: RING_BUFFER }}
data_sources {{
  config {{
    name: "android.power"
    android_power_config {{ battery_poll_ms: {_PERIOD_MS} collect_power_rails: true }}
  }}
}}
write_into_file: true
file_write_period_ms: {_WRITTEN_MS}
flush_period_ms: {_WRITTEN_MS}
max_file_size_bytes: {_LARGEST_BYTES}
duration_ms: {_LONGEST_MS}
"""
_FIRST_S = 8.0  # to the first packet
_POLL_S = 0.1
_END_S = 5.0
_NS_PER_MS = 1_000_000
_SAME_CLOCK_NS = 60 * 1_000_000_000
_PACKET_TAG = 0x0A  # field 1 of a trace, with a length


class PerfettoMeter:
    """The counters of all power rails, as Android's tracing service writes them down."""

    period_s = _PERIOD_MS / 1_000
    shortest_poll_s = 0.1
    on_read = True

    def __init__(self, settings: MeterSettings = DEFAULT_SETTINGS) -> None:
        program = _program(settings.root)
        self._trace = settings.root / f"data/misc/perfetto-traces/chamnet-{uuid4().hex}.pftrace"
        self._position = 0
        self._boot_offset_ns = _boot_offset_ns()
        self._names: dict[int, str] = {}
        self._process = _started(program, self._trace)
        try:
            self.rails, self._pending = self._first(SystemClock())
        except BaseException:
            self.close()
            raise

    @staticmethod
    def describe(settings: MeterSettings = DEFAULT_SETTINGS) -> Component:
        """Return whether this is an Android phone with Perfetto; whether it has rails shows when it is opened."""
        return Component(
            name="perfetto", provider="android.power", why_not=why_not(lambda: _program(settings.root))
        )

    def read(self) -> Sequence[Reading]:
        """Return the packets that were written since the last call.

        Raises:
            MeterError: Perfetto ended, or the file holds no trace.
        """
        readings, self._pending = [*self._pending, *self._new_readings()], []
        if not readings and self._process.poll() is not None:
            raise MeterError(
                f"perfetto ended by itself with exit code {self._process.returncode}: open the meter again"
            )
        return readings

    def close(self) -> None:
        """End the trace and remove its file."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._trace.unlink(missing_ok=True)

    def _first(self, clock: Clock) -> tuple[tuple[Rail, ...], list[Reading]]:
        """Wait for the packet that names the rails."""
        rails: tuple[Rail, ...] = ()
        for _ in range(round(_FIRST_S / _POLL_S)):
            readings = []
            for packet in self._new_packets():
                if packet.power_rails.rail_descriptor and not rails:
                    rails = self._named(packet.power_rails)
                if rails and (reading := self._reading(packet)):
                    readings.append(reading)
            if readings:
                return rails, readings
            if self._process.poll() is not None:
                raise MeterError(
                    f"perfetto ended with exit code {self._process.returncode}; try: perfetto --query, and where it"
                    " says that tracing is off: setprop persist.traced.enable 1"
                )
            clock.sleep_s(_POLL_S)
        raise MeterError(
            f"perfetto told no power rail within {_FIRST_S:.0f} s: this phone's maker offers none"
        )

    def _named(self, rails: pb.PowerRails) -> tuple[Rail, ...]:
        described = sorted(rails.rail_descriptor, key=lambda each: each.index)
        check_names(each.rail_name for each in described)
        self._names = {each.index: each.rail_name for each in described}
        return tuple(pixel_rail(each.rail_name, each.subsys_name) for each in described)

    def _new_readings(self) -> Iterator[Reading]:
        for packet in self._new_packets():
            if reading := self._reading(packet):
                yield reading

    def _reading(self, packet: pb.TracePacket) -> Reading | None:
        """Return a packet's counters; None where it lacks some, as while a channel changes its rail."""
        energies = {data.index: data for data in packet.power_rails.energy_data}
        if not energies.keys() >= self._names.keys():
            return None
        told = [energies[index] for index in self._names]
        boot_ns = max(data.timestamp_ms for data in told) * _NS_PER_MS
        if abs(boot_ns - packet.timestamp) > _SAME_CLOCK_NS:  # some services have a clock of their own
            boot_ns = packet.timestamp
        return Reading(
            tuple(float(data.energy) for data in told),
            t_ns=boot_ns - self._boot_offset_ns,
            stamp=sum(data.timestamp_ms for data in told),
        )

    def _new_packets(self) -> list[pb.TracePacket]:
        try:
            with self._trace.open("rb") as file:
                file.seek(self._position)
                packets, used = whole_packets(file.read())
        except FileNotFoundError:
            return []  # not begun yet
        except OSError as error:
            raise MeterError(unreadable(self._trace, error)) from error
        self._position += used
        return packets


def whole_packets(written: bytes) -> tuple[list[pb.TracePacket], int]:
    """Return the packets at the start of a piece of a trace, and how many bytes they take; the last may lack its end.

    Raises:
        MeterError: These are no packets.
    """
    packets, used = [], 0
    while (framed := _frame(written, used)) is not None:
        begin, end = framed
        try:
            packets.append(pb.TracePacket.FromString(written[begin:end]))
        except DecodeError as error:
            raise MeterError(f"perfetto wrote something that is no trace packet: {error}") from error
        used = end
    return packets, used


def _frame(written: bytes, start: int) -> tuple[int, int] | None:
    """Return where the packet that begins at `start` has its content; None if it is not there yet."""
    if start >= len(written):
        return None
    if written[start] != _PACKET_TAG:
        raise MeterError(f"perfetto wrote something that is no trace: byte {written[start]:#04x}")
    length, shift = 0, 0
    for position in range(start + 1, len(written)):
        length |= (written[position] & 0x7F) << shift
        if written[position] < 0x80:
            begin = position + 1
            return (begin, begin + length) if begin + length <= len(written) else None
        shift += 7
    return None


def _program(root: Path) -> Path:
    program = root / "system/bin/perfetto"
    if not os.access(program, os.X_OK):
        raise MeterError(f"there is no {program}: not an Android phone, or one before Android 9")
    return program


def _started(program: Path, trace: Path) -> subprocess.Popen[bytes]:
    # Android's programs must not meet the libraries that a bundle brings along.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}
    command = [str(program), "--config", "-", "--txt", "--out", str(trace)]
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
    except OSError as error:
        raise MeterError(f"{program} does not start: {error}") from error
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # where it ended at once, its exit code says more
        process.stdin.write(_CONFIG.encode())
    return process


def _boot_offset_ns() -> int:
    """Return by how much the time since the start of the phone is ahead of the monotonic one: what it slept."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
