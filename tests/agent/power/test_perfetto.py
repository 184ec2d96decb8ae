from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from chamnet.clock import SystemClock
from chamnet.energy import choose, total
from chamnet.energy.recorder import Recorder
from chamnet.errors import MeterError
from chamnet.wire import perfetto_subset_pb2 as pb
from chamnet_agent.power.base import MeterSettings
from chamnet_agent.power.perfetto import PerfettoMeter, whole_packets
from chamnet_agent.power.testing import names

Put = Callable[..., None]


def test_rails_are_told_as_by_the_files_of_a_pixel(put: Put, tmp_path: Path) -> None:
    put("perfetto")
    with closing(PerfettoMeter(MeterSettings(root=tmp_path))) as meter:
        assert names(choose(meter.rails)) == {"S2M_VDD_CPUCL2", "S1M_VDD_MIF"}
        assert total(meter.rails, "device") == ()


def test_energy_is_told_in_the_time_of_the_recorder(put: Put, tmp_path: Path) -> None:
    """The program counts in the time since the start of the phone, and writes packets in two parts."""
    put("perfetto")
    clock = SystemClock()
    with Recorder(PerfettoMeter(MeterSettings(root=tmp_path)), clock=clock, poll_s=0.1) as recorder:
        start_ns = clock.now_ns()
        clock.sleep_s(0.5)
        end_ns = clock.now_ns()
        recorder.settle(end_ns)
        for rail, watt in (("S2M_VDD_CPUCL2", 2), ("VSYS_PWR_MODEM", 1), ("S1M_VDD_MIF", 3)):
            energy_uj = recorder.energy_uj(rail, start_ns, end_ns)
            assert energy_uj == pytest.approx(watt * (end_ns - start_ns) / 1_000, rel=0.02)
    assert not list(tmp_path.rglob("*.pftrace"))


def test_a_phone_without_rails_says_so(put: Put, tmp_path: Path) -> None:
    put("perfetto", [])
    with pytest.raises(MeterError, match="perfetto ended with exit code 0; try: perfetto --query"):
        PerfettoMeter(MeterSettings(root=tmp_path))
    assert not list(tmp_path.rglob("*.pftrace"))


def test_a_program_that_ends_is_noticed(put: Put, tmp_path: Path) -> None:
    put("perfetto")
    with closing(PerfettoMeter(MeterSettings(root=tmp_path))) as meter:
        meter._process.kill()
        meter._process.wait()
        meter.read()  # what it had written comes first
        with pytest.raises(MeterError, match="perfetto ended by itself"):
            meter.read()


def test_a_packet_without_its_end_waits_for_it() -> None:
    trace = pb.Trace(
        packet=[pb.TracePacket(timestamp=number * 2**40) for number in range(3)]
    ).SerializeToString()
    whole, _ = whole_packets(trace)
    assert [packet.timestamp for packet in whole] == [0, 2**40, 2**41]
    for end in range(len(trace)):
        packets, used = whole_packets(trace[:end])
        rest, _ = whole_packets(trace[used:])
        assert [*packets, *rest] == whole


@pytest.mark.parametrize("written", [b"text", b"\x0a\x02\x41\x09"])
def test_what_is_no_trace_is_refused(written: bytes) -> None:
    with pytest.raises(MeterError, match="perfetto wrote something that is no trace"):
        whole_packets(written)
